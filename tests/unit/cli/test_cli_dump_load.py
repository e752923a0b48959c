"""dump and load: one point of history out, and the same state in, each key once."""

from __future__ import annotations

import json

import pytest
from fake_client import FakeClient
from statehouse_sdk.cli.load import BATCH_KEYS_MAX


@pytest.fixture
def written(ctl, tmp_path):
    ctl("put", "a", "one", '{"deep": [1, {"x": null}]}')
    ctl("put", "a", "two", "9007199254740993")
    (tmp_path / "raw").write_bytes(b"\x00\xff")
    ctl("put", "a", "raw", "--bytes-file", str(tmp_path / "raw"))


@pytest.mark.usefixtures("written")
def test_dump_maps_each_key_to_value_version_and_commit_at_one_point(ctl):
    dumped = json.loads(ctl("dump", "a").out)
    assert list(dumped) == ["one", "raw", "two"]
    assert dumped["two"] == {
        "value": 9007199254740993,
        "version": 1,
        "commit_ts": 2,
        "served_at": 3,
    }
    assert dumped["raw"]["value_base64"] == "AP8="


@pytest.mark.usefixtures("written")
def test_dump_goes_to_a_file_and_says_which_point_it_is(ctl, tmp_path):
    ended = ctl("dump", "a", "-o", str(tmp_path / "dump.json"))
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == "3 keys of a at commit_ts 3\n"
    assert len(json.loads((tmp_path / "dump.json").read_text())) == 3


@pytest.mark.usefixtures("written")
def test_dump_can_go_back(ctl):
    assert list(json.loads(ctl("dump", "a", "--at", "1").out)) == ["one"]


@pytest.mark.usefixtures("written")
def test_dump_as_text_has_a_line_a_key(ctl):
    lines = ctl("dump", "a", "--format", "text").out.splitlines()
    assert lines[0] == "# agent a, namespace default, commit_ts 3"
    assert len(lines) == 4


def test_the_dump_of_nobody_is_an_empty_map(ctl):
    assert ctl("dump", "nobody").out == "{}\n"


def test_a_dump_that_fails_leaves_the_old_file(ctl, tmp_path, monkeypatch):
    (tmp_path / "dump.json").write_text("old")

    def fails(*_):
        raise OSError("disk on fire")

    monkeypatch.setattr(FakeClient, "records", fails)
    ended = ctl("dump", "a", "-o", str(tmp_path / "dump.json"))
    assert (ended.code, ended.err) == (1, "Error: disk on fire\n")
    assert (tmp_path / "dump.json").read_text() == "old"


@pytest.mark.usefixtures("written")
def test_load_restores_what_dump_wrote(ctl):
    dumped = ctl("dump", "a").out
    assert ctl("load", "b", "-", stdin=dumped).out == "wrote 3 keys to b, 0 were so already\n"
    restored = json.loads(ctl("dump", "b").out)
    assert {key: record["value"] for key, record in restored.items()} == {
        key: record["value"] for key, record in json.loads(dumped).items()
    }
    assert restored["raw"]["value_base64"] == "AP8="


@pytest.mark.usefixtures("written")
def test_load_refuses_an_agent_that_has_keys(ctl, fake):
    before = len(fake.events)
    refused = ctl("load", "a", "-", stdin='{"new": {"value": 1}}')
    assert refused.code == 1
    assert "--merge" in refused.err
    assert len(fake.events) == before


@pytest.mark.usefixtures("written")
def test_merging_writes_only_what_differs(ctl, fake):
    dump = '{"two": {"value": 9007199254740993}, "one": {"value": 1.0}, "new": {"value": true}}'
    told = json.loads(ctl("load", "a", "-", "--merge", "-o", "json", stdin=dump).out)
    assert (told["keys"], told["written"]) == (3, 2)
    assert sorted(op.key for op in fake.events[-1].operations) == ["new", "one"]
    again = ctl("load", "a", "-", "--merge", stdin=dump)
    assert again.out == "wrote 0 keys to a, 3 were so already\n"


def test_merging_tells_equal_numbers_of_different_types_apart(ctl, fake):
    ctl("put", "a", "k", "1")
    ctl("load", "a", "-", "--merge", stdin='{"k": {"value": 1.0}}')
    assert repr(fake.events[-1].operations[0].value) == "1.0"


def test_a_large_load_goes_in_bounded_transactions(ctl, fake):
    many = {f"k{number}": {"value": number} for number in range(BATCH_KEYS_MAX + 1)}
    told = json.loads(ctl("load", "a", "-", "-o", "json", stdin=json.dumps(many)).out)
    assert told["commits"] == [1, 2]
    assert [len(event.operations) for event in fake.events] == [BATCH_KEYS_MAX, 1]


def test_large_values_go_in_transactions_of_their_own(ctl, fake):
    large = {f"k{number}": {"value": "x" * 600_000} for number in range(3)}
    assert ctl("load", "a", "-", stdin=json.dumps(large)).code == 0
    assert len(fake.events) == 3


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"k": 1}', '{"k": {}}', '{"k": {"value": null, "value_base64": "*"}}']
)
def test_what_is_not_a_dump_is_refused_before_anything_is_written(ctl, fake, text):
    refused = ctl("load", "a", "-", stdin=text)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("Error: ")
    assert fake.events == []
