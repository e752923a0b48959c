"""The schedule of a seed, and the judgement of what a run left behind."""

from __future__ import annotations

from itertools import islice

from tests.chaos import verdict
from tests.chaos.nemesis import BY_KIND, KINDS, Struck, schedule
from tests.checkers.history import Commit, Event, Write, Written, write_history

SECOND_NS = 1_000_000_000


def told(seed):
    return [
        (fault.kind, dict(vars(fault)))
        for fault in islice(schedule(seed, list(KINDS)), 3 * len(KINDS))
    ]


def test_a_seed_gives_the_same_schedule_again_and_another_seed_another():
    assert told(5) == told(5)
    assert told(5) != told(6)


def test_every_kind_comes_before_any_comes_again():
    kinds = [kind for kind, _ in told(5)]
    assert set(kinds[: len(KINDS)]) == set(BY_KIND) == {kind.kind for kind in KINDS}
    assert len(BY_KIND) == len(KINDS)


def commit(number: int) -> Commit:
    return Commit(
        client="p0.0",
        called_at_ns=number * SECOND_NS // 200,
        returned_at_ns=number * SECOND_NS // 200 + 1,
        outcome="ok",
        txn_id=f"t{number}",
        writes=(Write("a/k", str(number)),),
        commit_ts=number,
        versions=(number,),
    )


def event(number: int) -> Event:
    return Event(number, f"t{number}", (Written("a/k", number, str(number)),), number, f"{number}")


PAUSE = Struck("pause", "n1", 2, 3, 0.1, 2 * SECOND_NS, 3 * SECOND_NS)
LATE = Struck("pause", "n1", 8, 9, 0.1, 8 * SECOND_NS, 9 * SECOND_NS)


def judge(folder, events, struck=(PAUSE,), other=None, troubles=()):
    write_history(folder / "history-p0.jsonl", [commit(number) for number in range(1, 1001)])
    logs = {"n1": events, "n2": events if other is None else other}
    return verdict.judge(folder, struck, logs, troubles, 5.0)


EVENTS = [event(number) for number in range(1, 1001)]


def test_a_good_run_is_green_and_counted(tmp_path):
    found = judge(tmp_path, EVENTS)
    assert found.violations == []
    assert (found.operations, found.faults, found.events) == (1000, 1, 1000)
    assert found.longest_silence_s < 0.1


def test_a_lost_write_is_red(tmp_path):
    assert judge(tmp_path, EVENTS[:-1]).violations


def test_a_node_that_tells_another_log_is_red(tmp_path):
    forged = [*EVENTS[:-1], Event(1000, "t1000", EVENTS[-1].writes, 1000, "forged")]
    assert judge(tmp_path, EVENTS, other=forged).violations


def test_a_clock_that_went_back_is_red(tmp_path):
    events = [*EVENTS[:-1], Event(1000, "t1000", EVENTS[-1].writes, 5, "1000")]
    assert judge(tmp_path, events).violations


def test_what_must_not_happen_to_a_client_is_red(tmp_path):
    (tmp_path / "surprises-p0.txt").write_text("ServerError")
    assert judge(tmp_path, EVENTS).violations == ["surprises-p0.txt: ServerError"]
    assert judge(tmp_path, EVENTS, troubles=["n1 ended by itself"]).violations[0] == (
        "n1 ended by itself"
    )


def test_doing_nothing_is_red(tmp_path):
    assert judge(tmp_path, EVENTS, struck=()).violations == ["too little: no fault"]
    [silent] = judge(tmp_path, EVENTS, struck=(PAUSE, LATE)).violations
    assert silent == "too little: 0 answers in the time of pause at 8 s"
