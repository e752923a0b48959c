"""Bad histories in which all is well committed, and what clients are told of it is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from tests.checkers.forging import (
    LINEARIZABILITY,
    ORDER,
    Kinds,
    commits_of,
    doubtful_keys,
    gets_of,
    keys_of,
    pick,
    precedes,
    served,
)
from tests.checkers.history import OK, Commit, Event, Get, Replay, Row, Scan
from tests.checkers.traffic import Recorded
from tests.checkers.worlds import answered, renumbered, sent, store_of, swapped

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from tests.checkers.history import Operation

KINDS = Kinds()


# -- Reads at the wrong place


@KINDS.seen_by(ORDER, LINEARIZABILITY)
def stale_read(rng: random.Random, run: Recorded) -> Recorded | None:
    """A read from the leader does not see what had returned before it was called."""
    pair = pick(
        rng,
        (
            (get, one)
            for get in gets_of(run)
            for one in commits_of(run)
            if precedes(one, get) and keys_of(one) & set(get.keys)
        ),
    )
    return pair and served(run, pair[0], pair[1].commit_ts - 1)


@KINDS.seen_by(ORDER, LINEARIZABILITY)
def read_goes_back(rng: random.Random, run: Recorded) -> Recorded | None:
    """What one read has seen the next does not, though no commit was told of it yet."""
    found = []
    gets = gets_of(run)
    for before in gets:
        for after in gets:
            if precedes(before, after):
                shared = (row.commit_ts or 0 for row in before.rows if row.key in after.keys)
                if newest := max(shared, default=0):
                    found.append((after, newest - 1))
    choice = pick(rng, found)
    return choice and served(run, *choice)


@KINDS.seen_by(ORDER, LINEARIZABILITY)
def read_of_the_future(rng: random.Random, run: Recorded) -> Recorded | None:
    """A read returns what was sent only after it had returned."""
    doubtful = doubtful_keys(run)
    pair = pick(
        rng,
        (
            (get, one)
            for get in gets_of(run)
            for one in commits_of(run)
            if precedes(get, one) and (keys_of(one) - doubtful) & set(get.keys)
        ),
    )
    return pair and served(run, pair[0], pair[1].commit_ts)


@KINDS.seen_by(ORDER)
def session_goes_back(rng: random.Random, run: Recorded) -> Recorded | None:
    """A client does not see its own last commit, in a moment too short for the clock."""
    found = []
    for before, after in _neighbours(run):
        if isinstance(before, Commit) and isinstance(after, Get) and after.at is None:
            earlier = replace(after, called_at_ns=before.returned_at_ns or 0)
            if not after.stale and before.outcome == OK:
                found.append((before.commit_ts - 1, after, earlier))
    choice = pick(rng, found)
    if choice is None:
        return None
    served_at, old, earlier = choice
    told = answered(store_of(sent(run.events)), replace(earlier, served_at=served_at))
    return swapped(run, old, told)


def _neighbours(run: Recorded) -> list[tuple[Operation, Operation]]:
    """Each two operations that one client made, one directly after the other."""
    last: dict[str, Operation] = {}
    found = []
    for one in run.history:
        if one.client in last:
            found.append((last[one.client], one))
        last[one.client] = one
    return found


# -- What reads tell


@KINDS.seen_by(ORDER, LINEARIZABILITY)
def value_from_nowhere(rng: random.Random, run: Recorded) -> Recorded | None:
    """A read tells a value nobody wrote."""
    victim = pick(rng, gets_of(run))
    if victim is None:
        return None
    return swapped(run, victim, _with_row(victim, replace(victim.rows[0], value="nowhere")))


@KINDS.seen_by(ORDER)
def wrong_commit_ts_of_row(rng: random.Random, run: Recorded) -> Recorded | None:
    """A read tells the right value, and a wrong commit that wrote it."""
    victim = pick(rng, gets_of(run))
    if victim is None:
        return None
    wrong = replace(victim.rows[0], commit_ts=(victim.rows[0].commit_ts or 0) + 1)
    return swapped(run, victim, _with_row(victim, wrong))


def _with_row(one: Get, row: Row) -> Get:
    rows = tuple(row if each.key == row.key else each for each in one.rows)
    return replace(one, rows=rows)


@KINDS.seen_by(ORDER)
def time_travel(rng: random.Random, run: Recorded) -> Recorded | None:
    """A read at a point tells the state of another point."""
    return _elsewhere(rng, run, gets_of(run, past=True))


@KINDS.seen_by(ORDER)
def stale_lie(rng: random.Random, run: Recorded) -> Recorded | None:
    """A stale read tells another state than that of the commit_ts it speaks for."""
    return _elsewhere(
        rng,
        run,
        [one for one in run.history if isinstance(one, Get) and one.stale and one.at is None],
    )


def _elsewhere(rng: random.Random, run: Recorded, victims: list[Get]) -> Recorded | None:
    store = store_of(sent(run.events))
    found = []
    for one in victims:
        for point in range(len(run.events) + 1):
            rows = tuple(store.get(key, point) for key in one.keys)
            if rows != one.rows:
                found.append((one, rows))
    choice = pick(rng, found)
    return choice and swapped(run, choice[0], replace(choice[0], rows=choice[1]))


@KINDS.seen_by(ORDER)
def torn_transaction(rng: random.Random, run: Recorded) -> Recorded | None:
    """A read of two keys sees one write of a commit and not the other."""
    store = store_of(sent(run.events))
    found = []
    for one in gets_of(run):
        for row in one.rows:
            others = [each for each in one.rows if each.commit_ts == row.commit_ts]
            if row.commit_ts and len(others) > 1:
                found.append((one, store.get(row.key, row.commit_ts - 1)))
    choice = pick(rng, found)
    return choice and swapped(run, choice[0], _with_row(*choice))


@KINDS.seen_by(ORDER)
def scan_misses_a_row(rng: random.Random, run: Recorded) -> Recorded | None:
    """A scan leaves out a live key."""
    victim = pick(rng, (one for one in run.history if isinstance(one, Scan) and one.rows))
    if victim is None:
        return None
    gone = rng.choice(victim.rows)
    return swapped(
        run, victim, replace(victim, rows=tuple(row for row in victim.rows if row is not gone))
    )


@KINDS.seen_by(ORDER)
def scan_out_of_order(rng: random.Random, run: Recorded) -> Recorded | None:
    """A scan tells its rows in another order than that of the keys."""
    victim = pick(rng, (one for one in run.history if isinstance(one, Scan) and len(one.rows) > 1))
    if victim is None:
        return None
    return swapped(run, victim, replace(victim, rows=victim.rows[::-1]))


@KINDS.seen_by(ORDER)
def beyond_the_log(rng: random.Random, run: Recorded) -> Recorded | None:
    """A read speaks for a commit_ts that does not exist."""
    last = len(run.events)
    victim = pick(rng, (one for one in gets_of(run) if one.served_at == last))
    if victim is None:
        return None
    return swapped(run, victim, replace(victim, served_at=last + 1))


@KINDS.seen_by(ORDER)
def future_point_served(rng: random.Random, run: Recorded) -> Recorded | None:
    """A read at a point yet to come is answered, and not refused."""
    victim = pick(rng, (one for one in gets_of(run) if one.served_at < len(run.events)))
    if victim is None:
        return None
    asked = replace(victim, at=victim.served_at + 1)
    return swapped(run, victim, answered(store_of(sent(run.events)), asked))


# -- The log


@KINDS.seen_by(ORDER, LINEARIZABILITY)
def version_gap(rng: random.Random, run: Recorded) -> Recorded | None:
    """A version of a key is missing, and everybody is told so."""
    doubtful = doubtful_keys(run)
    choice = pick(
        rng,
        (
            (key, one.commit_ts)
            for one in commits_of(run)
            for key in sorted(keys_of(one) - doubtful)
        ),
    )
    return choice and _shifted_versions(run, *choice)


def _shifted_versions(run: Recorded, key: str, commit_ts: int) -> Recorded:
    """Every version of the key from a commit on is one more."""

    def of_event(event: Event) -> Event:
        if event.commit_ts < commit_ts:
            return event
        writes = (replace(each, version=each.version + (each.key == key)) for each in event.writes)
        return replace(event, writes=tuple(writes))

    def of_operation(one: Operation) -> Operation:
        if isinstance(one, Commit):
            if one.outcome != OK or one.commit_ts < commit_ts:
                return one
            told = zip(one.writes, one.versions, strict=True)
            return replace(
                one, versions=tuple(version + (write.key == key) for write, version in told)
            )
        if isinstance(one, Replay):
            return replace(one, events=tuple(map(of_event, one.events)))
        rows = (
            replace(row, version=row.version + 1)
            if row.key == key and (row.commit_ts or 0) >= commit_ts
            else row
            for row in one.rows
        )
        return replace(one, rows=tuple(rows))

    return Recorded(list(map(of_operation, run.history)), list(map(of_event, run.events)))


@KINDS.seen_by(ORDER)
def log_gap(rng: random.Random, run: Recorded) -> Recorded | None:
    """A commit_ts was given to nothing."""
    place = rng.randint(1, len(run.events))
    return renumbered(run, lambda old: old + (old >= place))


@KINDS.seen_by(ORDER)
def log_repeats_a_number(rng: random.Random, run: Recorded) -> Recorded | None:
    """Two events have one commit_ts."""
    place = rng.randrange(1, len(run.events))
    events = list(run.events)
    events[place] = replace(events[place], commit_ts=events[place - 1].commit_ts)
    return Recorded(run.history, events)


@KINDS.seen_by(ORDER)
def clock_goes_back(rng: random.Random, run: Recorded) -> Recorded | None:
    """An event's committed_at is before that of the event before."""
    place = rng.randrange(1, len(run.events))
    us = run.events[place - 1].committed_at_us - rng.choice((1, 3_600_000_000))
    events = list(run.events)
    events[place] = replace(events[place], committed_at_us=us)
    untold = [
        replace(one, events=tuple(replace(each, committed_at_us=0) for each in one.events))
        if isinstance(one, Replay)
        else one
        for one in run.history
    ]
    return Recorded(untold, events)


# -- Replays


@KINDS.seen_by(ORDER)
def replay_gap(rng: random.Random, run: Recorded) -> Recorded | None:
    """A replay leaves out an event."""
    return _replayed(rng, run, 1, lambda told, place: [*told[:place], *told[place + 1 :]])


@KINDS.seen_by(ORDER)
def replay_repeat(rng: random.Random, run: Recorded) -> Recorded | None:
    """A replay tells an event twice, as after a careless reconnect."""
    return _replayed(rng, run, 1, lambda told, place: [*told[: place + 1], *told[place:]])


@KINDS.seen_by(ORDER)
def replay_out_of_order(rng: random.Random, run: Recorded) -> Recorded | None:
    """A replay tells its events in another order."""
    return _replayed(rng, run, 2, lambda told, _: told[::-1])


@KINDS.seen_by(ORDER)
def replay_of_another_past(rng: random.Random, run: Recorded) -> Recorded | None:
    """A replay tells an event with another chain."""

    def rewritten(told: Sequence[Event], place: int) -> list[Event]:
        other = replace(told[place], chain="another")
        return [*told[:place], other, *told[place + 1 :]]

    return _replayed(rng, run, 1, rewritten)


def _replayed(
    rng: random.Random,
    run: Recorded,
    least: int,
    change: Callable[[Sequence[Event], int], Sequence[Event]],
) -> Recorded | None:
    replays = (one for one in run.history if isinstance(one, Replay))
    victim = pick(rng, (one for one in replays if len(one.events) >= least))
    if victim is None:
        return None
    told = tuple(change(victim.events, rng.randrange(len(victim.events))))
    return swapped(run, victim, replace(victim, events=told))
