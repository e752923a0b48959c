"""Reading: get, keys, agents, namespaces."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def written(ctl):
    """Key k of agent a: {"n": 1}, then {"n": 2}, then deleted; key other stays."""
    ctl("put", "a", "k", '{"n": 1}')
    ctl("put", "a", "k", '{"n": 2}')
    ctl("delete", "a", "k")
    ctl("put", "a", "other/key", '"text"')


@pytest.mark.usefixtures("written")
def test_get_shows_version_commit_and_the_indented_value(ctl):
    shown = ctl("get", "a", "other/key")
    assert shown.code == 0
    assert shown.out.startswith("Key: other/key\nVersion: 1\nCommit TS: 4\n")
    assert shown.out.endswith('Value:\n"text"\n')


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("flag", [["--json-output"], ["-o", "json"]])
def test_get_as_json_is_one_document(ctl, flag):
    shown = json.loads(ctl("get", "a", "k", "--version", "2", *flag).out)
    assert (shown["key"], shown["version"], shown["commit_ts"]) == ("k", 2, 2)
    assert shown["value"] == {"n": 2}


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize(
    ("point", "expected"),
    [
        (["--at", "1"], 1),
        (["--at", "2031-05-01T12:01:30Z"], 2),
        (["--at", "2031-05-01T14:00:30+02:00"], 1),
        (["--version", "1"], 1),
    ],
)
def test_get_reads_any_point_of_history(ctl, point, expected):
    assert json.loads(ctl("get", "a", "k", "-o", "json", *point).out)["value"] == {"n": expected}


@pytest.mark.usefixtures("written")
def test_get_pretty_is_one_line_with_the_time(ctl):
    shown = ctl("get", "a", "other/key", "--pretty").out
    assert shown == '12:03:00Z  other/key  "text"\n'


@pytest.mark.usefixtures("written")
def test_a_deleted_key_is_not_found_and_says_when_it_went(ctl):
    missing = ctl("get", "a", "k")
    assert (missing.code, missing.out) == (1, "")
    assert missing.err == "Key not found: 'k' of agent 'a' was deleted by commit 3, its version 3\n"


def test_a_key_never_written_is_not_found_and_still_valid_json(ctl):
    missing = ctl("get", "a", "nothing", "-o", "json")
    assert missing.code == 1
    assert json.loads(missing.out)["exists"] is False
    assert missing.err.startswith("Key not found")


def test_nested_values_and_raw_bytes_can_be_shown(ctl, tmp_path):
    ctl("put", "a", "deep", '{"a": [{"b": [1, null, 9007199254740993]}]}')
    assert "9007199254740993" in ctl("get", "a", "deep").out
    (tmp_path / "raw").write_bytes(b"\x00\xff")
    ctl("put", "a", "raw", "--bytes-file", str(tmp_path / "raw"))
    assert "Value: 2 bytes" in ctl("get", "a", "raw").out
    assert json.loads(ctl("get", "a", "raw", "-o", "json").out)["value_base64"] == "AP8="


@pytest.mark.usefixtures("written")
def test_keys_lists_the_live_ones_with_a_total(ctl):
    assert ctl("keys", "a").out == "Keys of agent a:\n  • other/key\nTotal: 1\n"
    assert json.loads(ctl("keys", "a", "--at", "2", "-o", "json").out) == ["k"]
    assert json.loads(ctl("keys", "a", "--prefix", "oth", "-o", "json").out) == ["other/key"]


def test_empty_lists_are_sentences_for_people_and_valid_json_for_programs(ctl):
    for command in (["keys", "a"], ["agents"], ["namespaces"]):
        empty = ctl(*command)
        assert (empty.code, empty.out.endswith(".\n")) == (0, True)
        assert json.loads(ctl(*command, "-o", "json").out) == []


@pytest.mark.usefixtures("written")
def test_agents_and_namespaces_are_listed(ctl):
    ctl("--namespace", "other", "put", "b", "k", "1")
    assert ctl("agents").out == "a\n"
    assert ctl("agents", "--namespace", "other").out == "b\n"
    assert ctl("namespaces").out == "default\nother\n"
