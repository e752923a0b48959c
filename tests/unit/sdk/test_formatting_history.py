"""Explanations as trees, and marks as lines."""

from __future__ import annotations

from statehouse_sdk import (
    CursorMark,
    ExplainedCommit,
    Explanation,
    ForkMark,
    LabelMark,
    Metadata,
    Operation,
    Read,
    ReplayEvent,
)
from statehouse_sdk.formatting import format_event_pretty, format_event_verbose
from statehouse_sdk.models import datetime_of_us


def commit(commit_ts, *reads, key="goal", value=1, distance=0, **metadata):
    return ExplainedCommit(
        commit_ts,
        datetime_of_us(1_700_000_000_000_000),
        f"t{commit_ts}",
        Metadata(**metadata),
        (Operation(key, value, 3, agent_id="a"),),
        reads,
        distance,
    )


def explained(*commits, truncated=False):
    by_number = {one.commit_ts: one for one in commits}
    root = commits[0] if commits else None
    return Explanation("n", "a", "goal", root, by_number, truncated, 90)


def read(key, version, commit_ts):
    return Read("n", "a", key, version, commit_ts)


WHOLE = explained(
    commit(
        9,
        read("plan", 2, 7),
        read("stock", 1, 7),
        read("gone", 0, 0),
        actor="navigator",
        reason="shortest\nway",
        caused_by=(8, 5),
    ),
    commit(8, read("plan", 1, 5), key="plan", run_id="run-1", tool_call_id="call-2"),
    commit(7, key="plan"),
    commit(5, key="plan"),
)


def test_a_tree_shows_causes_and_reads_and_each_commit_once():
    assert WHOLE.tree() == [
        "a/goal was set by 9  22:13:20Z  navigator: shortest\\nway  a/goal v3 = 1",
        "├─ caused by 8  22:13:20Z  run=run-1  tool=call-2  a/plan v3",
        "│  └─ had read a/plan v1 of 5  22:13:20Z  a/plan v3",
        "├─ caused by 5 (above)",
        "├─ had read a/plan v2, a/stock v1 of 7  22:13:20Z  a/plan v3",
        "└─ had read a/gone (not there)",
    ]


def test_what_is_left_out_is_told():
    cut = explained(commit(9, caused_by=(8,)), truncated=True)
    assert cut.tree()[1:] == [
        "└─ caused by 8 (left out)",
        "... and what lies further back: ask with a higher limit",
    ]


def test_a_key_never_written_has_nothing_to_explain():
    nothing = explained()
    assert nothing.root is None
    assert nothing.tree() == ["a/goal was not written by commit_ts 90"]


def test_a_long_chain_of_causes_is_shown():
    links = [commit(number, caused_by=(number - 1,)) for number in range(1500, 1, -1)]
    assert len(explained(*links, commit(1)).tree()) == 1500


def test_a_commit_of_many_keys_shows_some():
    many = tuple(Operation(f"k{place}", None, 1, agent_id="a") for place in range(9))
    root = commit(9)
    root = ExplainedCommit(9, root.committed_at, "t", Metadata(), (*many, *root.operations), (), 0)
    (line,) = explained(root).tree()
    assert "a/goal v3 = 1  a/k0 v1  a/k1 v1  a/k2 v1  and 6 more" in line


def test_causes_and_reads_can_be_walked():
    assert [one.commit_ts for one in WHOLE.causes_of(9)] == [8, 5]
    assert [(one.key, made.commit_ts if made else None) for one, made in WHOLE.reads_of(9)] == [
        ("plan", 7),
        ("stock", 7),
        ("gone", None),
    ]
    assert WHOLE.causes_of(WHOLE.commits[7]) == []
    told = WHOLE.to_dict()
    assert [one["commit_ts"] for one in told["commits"]] == [9, 8, 7, 5]
    assert told["commits"][0]["reads"][0]["key"] == "plan"


def test_marks_have_lines_of_their_own():
    marks = [
        LabelMark("then", 5),
        LabelMark("then", 0),
        ForkMark("parent", 4),
        CursorMark("mailer", 9),
        CursorMark("mailer", 0, deleted=True),
    ]
    event = ReplayEvent("t", 9, [Operation("", None, 1, agent_id="a", mark=mark) for mark in marks])
    assert [line.partition("MARK")[2].strip() for line in format_event_pretty(event)] == [
        "label then -> 5",
        "label then deleted",
        "fork of parent at 4",
        "cursor mailer -> 9",
        "cursor mailer deleted",
    ]
    assert all("txn=t" in line for line in format_event_verbose(event))
    assert event.operations[0].to_dict() == {
        "mark": {"kind": "label", "name": "then", "commit_ts": 5},
        "version": 1,
    }
