from __future__ import annotations

import itertools
import random

import pytest
from msgspec.structs import replace

from tests.checkers import linearizability, traffic
from tests.checkers.history import FAILED, OK, UNKNOWN, Commit, Get, Precondition, Row, Scan, Write
from tests.checkers.linearizability import BLANK, NEVER, Limits, after, steps_by_key

numbers = itertools.count()


def put(called, returned, *writes, outcome=OK, **other):
    """A commit; each write "key=value", or "key" for a delete."""
    number = next(numbers)
    parted = (write.partition("=") for write in writes)
    return Commit(
        client=f"w{number}",
        called_at_ns=called,
        returned_at_ns=returned,
        outcome=outcome,
        txn_id=f"t{number}",
        writes=tuple(Write(key, value if equals else None) for key, equals, value in parted),
        commit_ts=1 if outcome == OK else 0,
        **other,
    )


def unknown(called, *writes, **other):
    return put(called, None, *writes, outcome=UNKNOWN, **other)


def refused(called, returned, *wanted):
    return put(called, returned, "k=no", outcome=FAILED, conflict=True, preconditions=tuple(wanted))


def get(called, returned, *rows, **other):
    return Get(
        client=f"r{next(numbers)}",
        called_at_ns=called,
        returned_at_ns=returned,
        outcome=OK,
        keys=tuple(row.key for row in rows),
        rows=rows,
        **other,
    )


def scan(called, returned, prefix, *rows, **other):
    return Scan(
        client=f"r{next(numbers)}",
        called_at_ns=called,
        returned_at_ns=returned,
        outcome=OK,
        prefix=prefix,
        rows=rows,
        **other,
    )


def saw(version, value):
    return Row("k", version, value)


def explained(*history):
    result = linearizability.check(history)
    assert not result.undecided
    return result.ok


def test_a_read_sees_the_last_write_before_it():
    assert explained()
    assert explained(get(0, 1, saw(0, None)))
    assert explained(put(0, 1, "k=1"), get(2, 3, saw(1, "1")))
    assert not explained(put(0, 1, "k=1"), get(2, 3, saw(0, None)))
    assert not explained(put(0, 1, "k=1"), get(2, 3, saw(1, "2")))
    assert not explained(get(0, 1, saw(1, "1")), put(2, 3, "k=1"))


def test_what_overlaps_may_come_in_either_order():
    for seen in (saw(0, None), saw(1, "1")):
        assert explained(put(0, 10, "k=1"), get(5, 15, seen))
        assert explained(put(0, 10, "k=1"), get(10, 15, seen)), "one moment is no order"
        assert explained(put(5, 15, "k=1"), get(0, 5, seen)), "one moment is no order"


def test_two_reads_do_not_disagree_about_the_order():
    writes = [put(0, 100, "k=1"), put(0, 100, "k=2")]
    assert explained(*writes, get(10, 20, saw(1, "2")), get(30, 40, saw(2, "1")))
    assert not explained(*writes, get(10, 20, saw(2, "2")), get(30, 40, saw(1, "1")))
    assert not explained(*writes, get(10, 20, saw(1, "2")), get(30, 40, saw(2, "2")))
    assert not explained(*writes, get(10, 20, saw(1, "2")), get(30, 40, saw(1, "1")))


def test_versions_are_counted_and_not_believed():
    assert not explained(put(0, 1, "k=1"), get(2, 3, saw(2, "1")))
    assert not explained(put(0, 1, "k=1", versions=(2,)))
    assert not explained(put(0, 9, "k=1", versions=(1,)), put(0, 9, "k=2", versions=(1,)))
    assert not explained(put(0, 1, "k=1", versions=(2,)), put(2, 3, "k=2", versions=(1,)))
    assert explained(put(0, 2, "k=1", versions=(2,)), put(2, 3, "k=2", versions=(1,)))


def test_a_commit_is_one_step_of_each_key_it_writes():
    both = put(0, 1, "k=1", "l=1", "k=2", versions=(1, 1, 2))
    assert explained(both, get(2, 3, saw(2, "2"), Row("l", 1, "1")))
    assert not explained(both, get(2, 3, saw(1, "1")))
    assert not explained(both, get(2, 3, Row("l", 0, None)))
    assert not explained(replace(both, versions=(1, 1, 3)))


def test_a_delete_is_a_version_without_a_value():
    gone = [put(0, 1, "k=1"), put(2, 3, "k")]
    assert explained(*gone, get(4, 5, saw(2, None)))
    assert not explained(*gone, get(4, 5, saw(1, "1")))
    assert not explained(*gone, get(4, 5, saw(0, None)))


def test_an_unknown_commit_takes_effect_once_after_its_call_or_never():
    assert explained(unknown(0, "k=1"), get(2, 3, saw(0, None)))
    assert explained(unknown(0, "k=1"), get(2, 3, saw(1, "1")))
    assert explained(unknown(0, "k=1"), get(2, 3, saw(0, None)), get(4, 5, saw(1, "1")))
    assert explained(unknown(2, "k=1"), get(0, 2, saw(1, "1"))), "one moment is no order"
    assert not explained(unknown(4, "k=1"), get(2, 3, saw(1, "1")))
    assert not explained(unknown(0, "k=1"), get(2, 3, saw(1, "1")), get(4, 5, saw(0, None)))
    assert not explained(unknown(0, "k=1"), put(2, 3, "k=2"), get(4, 5, saw(3, "1")))
    assert not explained(
        unknown(0, "k=1"),
        get(2, 3, saw(1, "1")),
        put(4, 5, "k=2"),
        get(6, 7, saw(3, "1")),
    )


def test_a_failed_commit_never_takes_effect():
    failed = put(0, 9, "k=1", outcome=FAILED)
    assert explained(failed, get(2, 3, saw(0, None)))
    assert not explained(failed, get(2, 3, saw(1, "1")))


def test_a_commit_is_made_only_where_its_preconditions_hold():
    absent, first = Precondition("k", "absent"), Precondition("k", "version", 1)
    for wanted, ok_first in ((absent, True), (first, False)):
        assert explained(put(0, 1, "k=1", preconditions=(wanted,))) is ok_first
        assert (
            explained(put(0, 1, "k=1"), put(2, 3, "k=2", preconditions=(wanted,))) is not ok_first
        )
        assert explained(put(0, 9, "k=1"), put(0, 9, "k=2", preconditions=(wanted,)))
    other = put(2, 3, "l=2", preconditions=(first,))
    assert explained(put(0, 1, "k=1"), other)
    assert not explained(other)
    assert explained(put(0, 1, "k=1", preconditions=(Precondition("k", "unchanged_since", 0),)))


def test_a_refusal_needs_a_conflict_while_it_was_under_way():
    absent = Precondition("k", "absent")
    assert not explained(refused(0, 1, absent))
    assert explained(put(0, 1, "k=1"), refused(2, 3, absent))
    assert explained(put(0, 9, "k=1"), refused(2, 3, absent))
    assert not explained(refused(0, 1, absent), put(2, 9, "k=1"))
    assert explained(put(0, 1, "k=1"), refused(2, 3, absent), get(4, 5, saw(1, "1")))
    # Which of two was broken nobody tells, and of unchanged_since only the commit_ts could.
    assert explained(refused(0, 1, absent, Precondition("l", "absent")))
    assert explained(refused(0, 1, Precondition("k", "unchanged_since", 5)))


def test_a_scan_reads_the_keys_it_does_not_tell_as_well():
    two = [put(0, 1, "a/x=1"), put(0, 1, "b/x=1")]
    assert explained(*two, scan(2, 3, "a/", Row("a/x", 1, "1")))
    assert explained(*two, scan(2, 3, "", Row("a/x", 1, "1"), Row("b/x", 1, "1")))
    assert not explained(*two, scan(2, 3, "a/"))
    assert not explained(*two, scan(2, 3, "", Row("a/x", 1, "1")))
    assert explained(*two, put(2, 3, "a/x"), scan(4, 5, "a/"))


def test_stale_reads_reads_of_the_past_and_unanswered_reads_tell_nothing():
    written = put(0, 1, "k=1")
    old = saw(0, None)
    assert explained(written, get(2, 3, old, stale=True), get(2, 3, old, at=0))
    assert explained(written, scan(2, 3, "", stale=True), scan(2, 3, "", at=0))
    assert explained(written, replace(get(2, 3, old), outcome=FAILED))


def test_the_operation_that_cannot_be_placed_is_named():
    history = [
        put(0, 1, "k=1"),
        get(2, 3, saw(1, "1")),
        put(4, 5, "k=2"),
        get(6, 9, saw(1, "1")),
        put(7, 8, "k=3"),
        get(10, 11, saw(3, "3")),
    ]
    result = linearizability.check(history)
    assert [violation.rule for violation in result.violations] == ["linearizability"]
    told = result.violations[0].told
    assert "key 'k'" in told
    wrong, _, beside = told.partition("beside")
    assert history[3].client in wrong
    assert history[4].client in beside
    assert not any(one.client in told for one in (history[0], history[1], history[5]))


def test_the_smallest_bad_beginning_ends_where_the_search_says():
    found = 0
    for seed in range(300):
        steps = random_steps(random.Random(seed), most=6)
        failed = linearizability.search(steps, 10**6, float("inf"))
        if failed is None:
            continue
        found += 1
        cut = failed.returned_at_ns
        assert not by_brute_force(until(steps, cut, with_it=True)), f"seed {seed}"
        assert by_brute_force(until(steps, cut, with_it=False)), f"seed {seed}"
    assert found >= 50


def until(steps, cut, *, with_it):
    """The steps called up to a return, those that return later left open."""
    kept = []
    for step in steps:
        if step.called_at_ns <= cut:
            ended = step.returned_at_ns <= cut if with_it else step.returned_at_ns < cut
            if ended:
                kept.append(step)
            elif step.written:
                kept.append(step._replace(returned_at_ns=NEVER))
    return kept


# -- Against a search so dumb that it cannot be wrong


def by_brute_force(steps):
    """Tries every order of every choice of steps that may be left out."""
    sure = [step for step in steps if step.returned_at_ns != NEVER]
    maybe = [step for step in steps if step.returned_at_ns == NEVER]
    return any(
        respects_time(tried) and runs(tried)
        for count in range(len(maybe) + 1)
        for chosen in itertools.combinations(maybe, count)
        for tried in itertools.permutations([*sure, *chosen])
    )


def respects_time(tried):
    return not any(
        later.returned_at_ns < earlier.called_at_ns
        for earlier, later in itertools.combinations(tried, 2)
    )


def runs(tried):
    state = BLANK
    for step in tried:
        state = after(step, state)
        if state is None:
            return False
    return True


def random_steps(rng, most):
    """A few operations on one key with answers that may be true."""
    history = []
    for number in range(rng.randint(1, most)):
        called = rng.randint(0, 12)
        returned = called + rng.randint(0, 8)
        value = rng.choice(("1", "2", None))
        wanted = Precondition("k", rng.choice(("absent", "version")), rng.randint(0, 2))
        write = f"k={number}" if rng.random() < 0.8 else "k"
        told = {"versions": (rng.randint(1, 3),)} if rng.random() < 0.3 else {}
        match rng.choice("pppggguur"):
            case "p":
                demands = (wanted,) if rng.random() < 0.3 else ()
                history.append(put(called, returned, write, preconditions=demands, **told))
            case "u":
                history.append(unknown(called, write))
            case "r":
                history.append(refused(called, returned, wanted))
            case _:
                value = rng.choice((None, *map(str, range(number + 1))))
                history.append(get(called, returned, saw(rng.randint(0, 3), value)))
    return steps_by_key(history).get("k", [])


def test_the_search_agrees_with_trying_every_order():
    verdicts = {True: 0, False: 0}
    for seed in range(3_000):
        steps = random_steps(random.Random(f"small {seed}"), most=5)
        verdict = linearizability.search(steps, 10**6, float("inf")) is None
        assert verdict == by_brute_force(steps), f"seed {seed}: {steps}"
        verdicts[verdict] += 1
    assert min(verdicts.values()) >= 300, verdicts


# -- Limits


def crowd(clients):
    """Writers all at once, and then a read that none of their orders explains."""
    return [*(put(0, 100, f"k={number}") for number in range(clients)), get(200, 201, saw(1, "0"))]


def test_a_search_that_takes_too_long_is_undecided_which_is_not_ok():
    assert not linearizability.check(crowd(5)).ok
    assert not linearizability.check(crowd(5)).undecided
    by_count = linearizability.check(crowd(12), Limits(situations_max=500))
    by_time = linearizability.check(crowd(12), Limits(time_s_max=0.0))
    for result in (by_count, by_time):
        assert result.undecided == ("k",)
        assert result.violations == ()
        assert not result.ok


def test_an_undecided_key_does_not_hide_a_violation_of_another():
    wrong = [put(0, 1, "l=1"), get(2, 3, Row("l", 0, None))]
    result = linearizability.check([*crowd(12), *wrong], Limits(situations_max=500))
    assert result.undecided == ("k",)
    assert len(result.violations) == 1


def test_unknown_commits_the_log_does_not_have_are_left_out():
    history, events = traffic.make(random.Random(3), traffic.Traffic(unknown=0.5))
    logged = {event.txn_id for event in events}
    resolved = linearizability.resolve(history, events)
    gone = [one for one in history if one not in resolved]
    assert gone
    assert all(one.outcome == UNKNOWN and one.txn_id not in logged for one in gone)
    assert any(one.outcome == UNKNOWN for one in resolved)


@pytest.mark.parametrize("seed", range(3))
def test_doubt_in_every_fifth_commit_is_searched_in_time(seed):
    busy = traffic.Traffic(operations=3_000, keys=6, clients=10, unknown=0.2)
    made = traffic.make(random.Random(seed), busy)
    assert linearizability.check(linearizability.resolve(*made), Limits(time_s_max=60.0)).ok
