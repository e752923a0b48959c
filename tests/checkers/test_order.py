from __future__ import annotations

import random
import sys

import pytest
from msgspec.structs import replace

from tests.checkers import oracle, order, traffic
from tests.checkers.forgeries import FORGERIES
from tests.checkers.history import (
    FAILED,
    OK,
    Commit,
    Event,
    Get,
    Precondition,
    Replay,
    Row,
    Scan,
    Write,
    Written,
)

# Which kind of bad history shows best that a rule is needed.
ONLY = {
    order.real_time: "reordered",
    order.sessions: "session_goes_back",
    order.log_is_dense: "log_gap",
    order.time_never_decreases: "clock_goes_back",
    order.versions_are_dense: "version_gap",
    order.log_accounts_for_commits: "failed_took_effect",
    order.reads_within_the_log: "beyond_the_log",
    order.reads_are_the_state: "time_travel",
    order.replays_are_the_log: "replay_gap",
    order.preconditions_held: "precondition_ignored",
    order.refusals_had_a_reason: "refused_for_nothing",
}


@pytest.mark.parametrize("rule", order.RULES, ids=lambda rule: rule.__name__)
def test_each_rule_sees_what_no_other_does(rule):
    others = [other for other in order.RULES if other is not rule]
    for seed in range(200):
        rng = random.Random(seed)
        made = traffic.make(rng, traffic.Traffic(preconditions=0.0))
        bad = FORGERIES[ONLY[rule]].forge(rng, made)
        if bad is not None and not order.check(*bad, others):
            found = order.check(*bad)
            assert {violation.rule for violation in found} == {rule.__name__}
            return
    raise AssertionError(f"without {rule.__name__} every {ONLY[rule]} is still seen")


# -- By hand

EVENTS = [
    Event(1, "t1", (Written("a/x", 1, "1"), Written("a/y", 1, "1")), 100, "c1"),
    Event(2, "t2", (Written("b/x", 1, "2"),), 100, "c2"),
    Event(3, "t3", (Written("a/x", 2, None), Written("a/x", 3, "3")), 105, "c3"),
]


def done(client, called, returned):
    return {
        "client": client,
        "called_at_ns": called,
        "returned_at_ns": returned,
        "outcome": OK,
    }


def committed(event, client, called, returned):
    return Commit(
        **done(client, called, returned),
        txn_id=event.txn_id,
        writes=tuple(Write(write.key, write.value) for write in event.writes),
        commit_ts=event.commit_ts,
        versions=tuple(write.version for write in event.writes),
    )


COMMITS = [
    committed(EVENTS[0], "c1", 0, 10),
    committed(EVENTS[1], "c1", 20, 30),
    committed(EVENTS[2], "c1", 40, 50),
]


def broken(*more, history=COMMITS, events=EVENTS):
    """The rules that the history, with more operations, breaks."""
    found = order.check([*history, *more], events)
    return sorted({violation.rule for violation in found})


def get(called, returned, served_at, *rows, **other):
    keys = tuple(row.key for row in rows)
    return Get(**done("r", called, returned), keys=keys, served_at=served_at, rows=rows, **other)


def scan(called, returned, served_at, prefix, *rows, **other):
    return Scan(
        **done("r", called, returned), prefix=prefix, served_at=served_at, rows=rows, **other
    )


def replay(called, returned, served_at, events, **other):
    return Replay(**done("r", called, returned), served_at=served_at, events=tuple(events), **other)


@pytest.mark.parametrize(
    "one",
    [
        get(60, 70, 3, Row("a/x", 3, "3", 3), Row("b/x", 1, "2", 2), Row("z", 0, None, 0)),
        get(60, 70, 3, Row("a/x", 3, "3"), Row("z", 0, None)),
        get(60, 70, 3, Row("a/x", 1, "1", 1), at=2),
        get(60, 70, 1, Row("a/x", 1, "1", 1), stale=True),
        get(60, 70, 3, Row("a/x", 0, None, 0), at=0),
        get(25, 70, 1, Row("a/x", 1, "1", 1)),
        get(50, 70, 2, Row("a/x", 1, "1", 1)),
        get(0, 10, 0, Row("a/x", 0, None, 0)),
        scan(60, 70, 3, "a/", Row("a/x", 3, "3", 3), Row("a/y", 1, "1", 1)),
        scan(60, 70, 3, "c"),
        scan(60, 70, 3, "", Row("a/x", 1, "1"), Row("a/y", 1, "1"), at=1),
        replay(60, 70, 3, EVENTS, after=0),
        replay(60, 70, 3, EVENTS[2:], after=2),
        replay(60, 70, 3, [EVENTS[0], EVENTS[2]], after=0, prefix="a/"),
        replay(60, 70, 3, [Event(2, "t2", EVENTS[1].writes)], after=1, prefix="b/"),
        replay(60, 70, 3, [], after=3),
        replay(60, 70, 1, EVENTS[:1], after=0, stale=True),
    ],
)
def test_a_true_answer_is_accepted(one):
    assert broken(one) == []


@pytest.mark.parametrize(
    ("one", "rule"),
    [
        (get(51, 70, 2, Row("a/x", 1, "1", 1)), "real_time"),
        (get(0, 39, 3, Row("a/x", 3, "3", 3)), "real_time"),
        (get(0, 39, 3, Row("a/x", 3, "3", 3), stale=True), "real_time"),
        (replay(51, 70, 2, EVENTS[:2], after=0), "real_time"),
        (get(60, 70, 3, Row("a/x", 2, None, 3)), "reads_are_the_state"),
        (get(60, 70, 3, Row("a/x", 3, "3", 1)), "reads_are_the_state"),
        (get(60, 70, 3, Row("a/x", 3, "4")), "reads_are_the_state"),
        (get(60, 70, 3, Row("a/x", 2, "3")), "reads_are_the_state"),
        (get(60, 70, 3, Row("z", 1, None, 0)), "reads_are_the_state"),
        (get(60, 70, 3, Row("a/x", 3, "3", 3), at=2), "reads_are_the_state"),
        (get(60, 70, 2, Row("a/x", 3, "3", 3), stale=True), "reads_are_the_state"),
        (scan(60, 70, 3, "a/", Row("a/x", 3, "3", 3)), "reads_are_the_state"),
        (scan(60, 70, 3, "b/x", Row("b/x", 1, "9")), "reads_are_the_state"),
        (get(60, 70, 4, Row("a/x", 3, "3", 3)), "reads_within_the_log"),
        (replay(60, 70, 4, EVENTS, after=0), "reads_within_the_log"),
        (get(60, 70, 3, Row("a/x", 3, "3", 3), at=4), "reads_within_the_log"),
        (replay(60, 70, 3, EVENTS, after=1), "replays_are_the_log"),
        (replay(60, 70, 3, EVENTS[:2], after=0), "replays_are_the_log"),
        (replay(60, 70, 3, EVENTS, after=0, prefix="a/"), "replays_are_the_log"),
        (replay(60, 70, 3, [EVENTS[0]] * 3, after=0), "replays_are_the_log"),
        (
            replay(60, 70, 3, [replace(EVENTS[2], committed_at_us=99)], after=2),
            "replays_are_the_log",
        ),
        (replay(60, 70, 3, [replace(EVENTS[2], chain="c2")], after=2), "replays_are_the_log"),
        (replay(60, 70, 3, [replace(EVENTS[2], txn_id="t2")], after=2), "replays_are_the_log"),
    ],
)
def test_a_false_answer_is_rejected(one, rule):
    assert broken(one) == [rule]


def test_an_answer_that_failed_or_never_came_tells_nothing():
    nothing = get(60, 70, 0, Row("a/x", 9, "9", 9))
    failed = replace(nothing, outcome=FAILED)
    unknown = replace(nothing, outcome="unknown", returned_at_ns=None, called_at_ns=80)
    assert broken(failed, unknown) == []


def test_a_commit_strictly_follows_what_returned_before_it_was_called():
    two_at_once = [COMMITS[0], replace(COMMITS[1], client="c2"), COMMITS[2]]
    seen = get(11, 19, 2, Row("b/x", 1, "2", 2))
    assert broken(seen, history=two_at_once) == ["real_time"]
    assert broken(replace(seen, returned_at_ns=20), history=two_at_once) == []


def test_an_unknown_commit_in_the_log_was_called_before_it():
    unknown = replace(
        COMMITS[1],
        client="c2",
        outcome="unknown",
        returned_at_ns=None,
        commit_ts=0,
        versions=(),
    )
    history = [COMMITS[0], unknown, COMMITS[2]]
    assert broken(history=history) == []
    too_late = replace(unknown, called_at_ns=51)
    assert broken(history=[COMMITS[0], too_late, COMMITS[2]]) == ["real_time"]
    assert broken(history=history[:2], events=EVENTS[:1]) == []


def test_a_client_commits_after_all_it_has_seen():
    swapped = [replace(COMMITS[0], called_at_ns=30, returned_at_ns=30), COMMITS[2]]
    second = replace(COMMITS[1], called_at_ns=30, returned_at_ns=30)
    assert broken(history=[second, *swapped]) == ["sessions"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"outcome": FAILED, "commit_ts": 0, "versions": ()}, "failed for certain"),
        ({"writes": (Write("b/x", "2"), Write("b/y", "2")), "versions": ()}, "not all of it"),
        ({"writes": (Write("b/x", "other"),)}, "other writes"),
        ({"writes": (Write("b/y", "2"),)}, "other writes"),
        ({"versions": (2,)}, "other versions"),
        ({"txn_id": "t4", "outcome": FAILED}, "nobody sent it"),
    ],
)
def test_the_log_is_held_against_what_each_commit_was_told(change, words):
    found = order.check([COMMITS[0], replace(COMMITS[1], **change), COMMITS[2]], EVENTS)
    assert [violation.rule for violation in found] == ["log_accounts_for_commits"]
    assert words in found[0].told


def test_versions_that_were_not_told_are_no_lie():
    assert broken(history=[replace(one, versions=()) for one in COMMITS]) == []


def test_a_stale_read_does_not_make_a_client_forget():
    second = replace(COMMITS[1], returned_at_ns=20)
    behind = replace(get(20, 20, 1, Row("a/x", 1, "1", 1), stale=True), client="c1")
    last = replace(get(20, 20, 1, Row("a/x", 1, "1", 1)), client="c1")
    assert broken(history=[COMMITS[0], second, behind, COMMITS[2]]) == []
    assert broken(history=[COMMITS[0], second, behind, last, COMMITS[2]]) == ["sessions"]


def test_a_lost_commit_is_told():
    found = order.check(COMMITS, EVENTS[:2])
    assert [str(violation).split(":")[0] for violation in found] == ["log_accounts_for_commits"]
    assert "acknowledged and not in the log" in str(found[0])


def test_preconditions_speak_of_the_state_before_the_commit():
    good = [
        Precondition("a/x", "version", 1),
        Precondition("z", "absent"),
        Precondition("b/x", "unchanged_since", 2),
        Precondition("z", "unchanged_since", 0),
    ]
    bad = [
        Precondition("a/x", "version", 3),
        Precondition("a/y", "absent"),
        Precondition("b/x", "unchanged_since", 1),
    ]
    for wanted in good:
        last = replace(COMMITS[2], preconditions=(wanted,))
        assert broken(history=[*COMMITS[:2], last]) == [], wanted
    for wanted in bad:
        last = replace(COMMITS[2], preconditions=(*good, wanted))
        assert broken(history=[*COMMITS[:2], last]) == ["preconditions_held"], wanted


def refused(called, returned, *wanted):
    return Commit(
        **{**done("r", called, returned), "outcome": FAILED},
        txn_id="r",
        writes=(Write("a/x", "r"),),
        preconditions=wanted,
        conflict=True,
    )


@pytest.mark.parametrize(
    ("one", "rules"),
    [
        (refused(60, 70, Precondition("a/x", "version", 1)), []),
        (refused(60, 70, Precondition("a/x", "version", 3)), ["refusals_had_a_reason"]),
        (refused(45, 70, Precondition("a/x", "version", 3)), []),
        (refused(31, 45, Precondition("a/x", "version", 1)), []),
        (refused(31, 39, Precondition("a/x", "version", 1)), ["refusals_had_a_reason"]),
        (refused(31, 39, Precondition("a/x", "absent")), []),
        (refused(5, 8, Precondition("a/x", "version", 0)), []),
        (refused(5, 8, Precondition("a/x", "version", 1)), []),
        (refused(5, 8, Precondition("z", "absent")), ["refusals_had_a_reason"]),
        (
            refused(60, 70, Precondition("z", "absent"), Precondition("a/y", "absent")),
            [],
        ),
        (refused(60, 70), ["refusals_had_a_reason"]),
    ],
)
def test_a_refusal_needs_a_conflict_while_it_was_under_way(one, rules):
    assert broken(one) == rules


def test_nobody_meets_what_was_only_inside_a_commit():
    event = Event(1, "t1", (Written("k", 1, "1"), Written("k", 2, None)))
    history = [committed(event, "c", 0, 10), refused(0, 20, Precondition("k", "absent"))]
    assert broken(history=history, events=[event]) == ["refusals_had_a_reason"]
    late = refused(0, 20, Precondition("k", "version", 0))
    assert broken(history=[history[0], late], events=[event]) == []


def test_a_commit_that_failed_for_another_reason_needs_no_conflict():
    one = replace(refused(60, 70, Precondition("z", "absent")), conflict=False)
    assert broken(one) == []


def test_a_broken_run_is_told_in_few_words():
    lies = [get(60 + n, 60 + n, 3, Row("a/x", 7, "x" * 5_000)) for n in range(100)]
    found = order.check([*COMMITS, *lies], EVENTS)
    assert len(found) == order.VIOLATIONS_MAX
    assert all(len(str(violation)) < 1_500 for violation in found)
    assert all("Row(key='a/x', version=7" in violation.told for violation in found)


def test_replicas_may_lag_and_may_not_differ():
    assert list(order.replicas_agree({"n1": EVENTS, "n2": EVENTS[:1], "n3": EVENTS[1:]})) == []
    other = [EVENTS[0], replace(EVENTS[1], chain="other"), replace(EVENTS[2], chain="other")]
    found = list(order.replicas_agree({"n1": EVENTS, "n2": EVENTS[:1], "n3": other}))
    assert len(found) == 1
    assert "n1 has" in found[0].told
    assert "n3 has" in found[0].told


def lines_run(history, events):
    """How many lines of the checker's own code a check runs; time would tell of the machine."""
    files = {order.__file__, oracle.__file__}
    count = 0

    def trace(frame, event, _):
        nonlocal count
        if frame.f_code.co_filename not in files:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        assert order.check(history, events) == []
    finally:
        sys.settrace(before)
    return count


def test_the_work_grows_as_the_history_does():
    def lines_an_operation(operations):
        busy = traffic.Traffic(operations=operations, keys=8, clients=10)
        made = traffic.make(random.Random(1), busy)
        return lines_run(*made) / len(made.history)

    few, many = lines_an_operation(1_000), lines_an_operation(8_000)
    assert few < 120
    assert many < 1.1 * few
