"""Readable history: the pretty lines users know, the verbose ones, and JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from statehouse_sdk import Metadata, Operation, ReplayEvent
from statehouse_sdk import formatting as f

MOMENT = datetime(2026, 3, 4, 5, 6, 7, 890, tzinfo=UTC)


def event(*operations, **facts):
    facts = {"agent_id": "agent-1", "committed_at": MOMENT} | facts
    return ReplayEvent("0123456789abcdef", 34, list(operations), **facts)


def pretty(*operations, **facts):
    return list(f.format_event_pretty(event(*operations, **facts)))


def test_a_line_has_time_agent_operation_key_version_and_summary():
    assert pretty(Operation("memory", {"x": 1}, 2)) == [
        '05:06:07Z  agent=agent-1  WRITE  key=memory                v=2  {"x":1}'
    ]


def test_a_delete_has_no_summary_and_a_padded_word():
    assert pretty(Operation("k", None, 3, deleted=True)) == [
        "05:06:07Z  agent=agent-1  DEL    key=k                     v=3"
    ]


def test_a_written_none_has_one():
    assert pretty(Operation("k", None, 1))[0].endswith("v=1  null")


def test_a_namespace_is_told_unless_it_is_the_default():
    assert pretty(Operation("k", 1, 1), namespace="prod")[0].startswith(
        "05:06:07Z  ns=prod  agent=agent-1  WRITE"
    )


def test_a_long_agent_is_cut():
    assert "agent=aaaaaaaaaaaaaaaaa...  " in pretty(Operation("k", 1, 1), agent_id="a" * 21)[0]
    assert f"agent={'a' * 20}  " in pretty(Operation("k", 1, 1), agent_id="a" * 20)[0]


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("tool/x", "TOOL "),
        ("note/x", "NOTE "),
        ("annotation/x", "NOTE "),
        ("final/x", "FINAL"),
        ("answer/x", "FINAL"),
        ("tools", "WRITE"),
    ],
)
def test_the_prefix_of_a_key_gives_the_word_even_to_a_delete(key, word):
    assert f"  {word}  key={key}" in pretty(Operation(key, 1, 1))[0]
    if word != "WRITE":
        assert f"  {word}  key={key}" in pretty(Operation(key, None, 1, deleted=True))[0]


def test_the_time_is_utc_wherever_the_moment_was_told():
    assert f.format_ts(MOMENT.astimezone(timezone(timedelta(hours=5)))) == "05:06:07Z"
    assert f.format_ts(None) == "--:--:--Z"


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("k" * 48, "k" * 48),
        ("k" * 49, "k" * 45 + "..."),
        ("first/" + "m" * 60 + "/last", "first/.../last"),
        ("first/" + "m" * 60, "first/" + "m" * 39 + "..."),
        ("f" * 40 + "/m/" + "l" * 20, "f" * 40 + "/m/ll..."),
    ],
)
def test_a_long_key_is_cut_or_keeps_its_ends(key, shown):
    assert f.format_key(key) == shown
    assert len(shown) <= 48


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        (7, "7"),
        (1.5, "1.5"),
        ("a\nb\r\tc", '"a\\nb\\r\\tc"'),
        ("x" * 200, '"' + "x" * 114 + '..."'),
        ([1, 2], "[1,2]"),
        ({"a": [1]}, '{"a":[1]}'),
        ("ä", '"ä"'),
        (b"\x00\x01", "<2 bytes>"),
        (list(range(100)), "[0, 1, ...] len=100"),
        (["x" * 120, {"y": 1}], '["' + "x" * 40 + '...", {...}]'),
        ({f"name{n}": "x" * 50 for n in range(5)}, '{"name0":..., "name1":...} n_fields=5'),
        ({"a": "x" * 200}, '{"a":...}'),
        ([[], {}, "x" * 200], "[[], {}, ...] len=3"),
    ],
)
def test_a_summary_is_one_short_line(value, shown):
    assert f.format_value_summary(value) == shown
    assert "\n" not in shown


def test_verbose_tells_transaction_index_and_the_whole_value():
    lines = list(
        f.format_event_verbose(
            event(Operation("tool/x", {"a": [1]}, 2), Operation("k", None, 3, deleted=True))
        )
    )
    assert lines == [
        "05:06:07Z  agent=agent-1  WRITE  key=tool/x  v=2  txn=0123456789ab  event=0\n"
        '  payload: {\n    "a": [\n      1\n    ]\n  }',
        "05:06:07Z  agent=agent-1  DELETE  key=k  v=3  txn=0123456789ab  event=1",
    ]


def test_printing_an_event_gives_its_lines():
    told = event(Operation("k", 1, 1), Operation("l", 2, 1))
    assert repr(told).splitlines() == list(f.format_event_pretty(told))
    assert "0123456789abcdef" in repr(event())


def test_json_is_one_line_with_the_documented_fields():
    told = event(
        Operation("k", {"x": "ä"}, 1),
        Operation("raw", b"\xff", 2),
        metadata=Metadata(actor="me"),
        hash=b"\x01",
    )
    text = f.format_event_json(told)
    assert "\n" not in text
    assert json.loads(text) == {
        "txn_id": "0123456789abcdef",
        "commit_ts": 34,
        "committed_at": "2026-03-04T05:06:07.000890+00:00",
        "namespace": "default",
        "agent_id": "agent-1",
        "metadata": {"actor": "me"},
        "hash": "01",
        "operations": [
            {"key": "k", "value": {"x": "ä"}, "version": 1, "deleted": False},
            {"key": "raw", "value": None, "value_base64": "/w==", "version": 2, "deleted": False},
        ],
    }


def test_a_replay_wider_than_an_agent_tells_each_operations_own():
    told = event(Operation("k", 1, 1, namespace="n", agent_id="b"), agent_id="")
    assert told.to_dict()["operations"][0]["agent_id"] == "b"
    assert "agent=b" in repr(told)
