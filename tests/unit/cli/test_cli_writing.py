"""Writing: put and delete, what they store, and what must hold when they do."""

from __future__ import annotations

import json

import pytest
from statehouse_sdk.errors import OutcomeUnknownError


@pytest.mark.parametrize(
    ("arguments", "stored"),
    [
        (['{"a": [1, 2.5, null]}'], {"a": [1, 2.5, None]}),
        (["9007199254740993"], 9007199254740993),
        (["--json", "true"], True),
        (["--string", "true"], "true"),
        (["--string", ""], ""),
    ],
)
def test_put_stores_the_value_as_told(ctl, fake, arguments, stored):
    assert ctl("put", "a", "k", *arguments).code == 0
    assert fake.events[0].operations[0].value == stored


def test_put_reads_standard_input(ctl, fake):
    assert ctl("put", "a", "k", "-", stdin='{"from": "stdin"}').code == 0
    assert ctl("put", "a", "s", "-", "--string", stdin="ä text\n").code == 0
    assert [event.operations[0].value for event in fake.events] == [{"from": "stdin"}, "ä text\n"]


def test_put_tells_version_and_commit(ctl):
    assert ctl("put", "a", "k", "1").out == "wrote k: version 1, commit_ts 1\n"
    told = json.loads(ctl("put", "a", "k", "2", "-o", "json").out)
    assert told == {"agent_id": "a", "key": "k", "version": 2, "commit_ts": 2}


def test_put_keeps_who_and_why(ctl, fake):
    ctl("put", "a", "k", "1", "--reason", "mended by hand")
    assert fake.events[0].metadata.actor == "statehousectl"
    assert fake.events[0].metadata.reason == "mended by hand"


@pytest.mark.parametrize("condition", [["--if-absent"], ["--if-version", "7"]])
def test_a_condition_that_does_not_hold_writes_nothing(ctl, fake, condition):
    ctl("put", "a", "k", "1")
    refused = ctl("put", "a", "k", "2", *condition)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("Error: ")
    assert len(fake.events) == 1


def test_conditions_that_hold_write(ctl):
    assert ctl("put", "a", "k", "1", "--if-absent").code == 0
    assert ctl("put", "a", "k", "2", "--if-version", "1").code == 0
    assert ctl("delete", "a", "k", "--if-version", "2").code == 0
    assert ctl("put", "a", "k", "3", "--if-absent").code == 0


def test_delete_leaves_a_tombstone(ctl, fake):
    ctl("put", "a", "k", "1")
    assert ctl("delete", "a", "k").out == "deleted k: version 2, commit_ts 2\n"
    assert fake.events[1].operations[0].deleted


def test_deleting_what_is_not_there_is_exit_code_one_and_writes_nothing(ctl, fake):
    missing = ctl("delete", "a", "k")
    assert missing.code == 1
    assert "Key not found" in missing.err
    assert fake.events == []


def test_an_unknown_outcome_says_how_to_learn_it(ctl, fake, monkeypatch):
    def lost(_):
        raise OutcomeUnknownError("commit the same object again")

    monkeypatch.setattr("fake_client.FakeTransaction.commit", lost)
    ended = ctl("put", "a", "k", "1")
    assert (ended.code, ended.out) == (1, "")
    assert "may or may not" in ended.err
    assert "statehousectl get a k" in ended.err
