"""Bad histories in which a commit went wrong: lost, doubled, torn, out of order, not allowed."""

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
    inserted,
    keys_of,
    pick,
    precedes,
    told_after,
)
from tests.checkers.history import FAILED, OK, UNKNOWN, Commit, Precondition, Write
from tests.checkers.traffic import Recorded
from tests.checkers.worlds import retold, sent, swapped

if TYPE_CHECKING:
    import random

KINDS = Kinds()


# -- Writes


@KINDS.seen_by(ORDER, LINEARIZABILITY)
def lost_write(rng: random.Random, run: Recorded) -> Recorded | None:
    """Acknowledged, and then the world goes on as if it had never been."""
    gets = gets_of(run)
    doubtful = doubtful_keys(run)
    victim = pick(
        rng,
        (
            one
            for one in commits_of(run)
            if any(precedes(one, get) and (keys_of(one) - doubtful) & set(get.keys) for get in gets)
        ),
    )
    if victim is None:
        return None
    log = [one for one in sent(run.events) if one[0] != victim.txn_id]
    return retold(run, log, lambda old: old - (old >= victim.commit_ts))


@KINDS.seen_by(ORDER, LINEARIZABILITY)
def applied_twice(rng: random.Random, run: Recorded) -> Recorded | None:
    """An acknowledged commit is applied again later, as by a retry that doubles."""
    return _doubled(rng, run, commits_of(run))


@KINDS.seen_by(ORDER, LINEARIZABILITY)
def unknown_applied_twice(rng: random.Random, run: Recorded) -> Recorded | None:
    """A commit nobody knows the end of has taken effect two times."""
    return _doubled(rng, run, commits_of(run, UNKNOWN))


def _doubled(rng: random.Random, run: Recorded, victims: list[Commit]) -> Recorded | None:
    places = {event.txn_id: event.commit_ts for event in run.events}
    found = []
    for one in victims:
        sure = keys_of(one) - doubtful_keys(run, but=one)
        first = places.get(one.txn_id, len(run.events))
        found += [
            (one, place)
            for place in range(first, len(run.events))
            if any(told_after(run, key, place) for key in sure)
        ]
    choice = pick(rng, found)
    return choice and inserted(run, choice[1], choice[0].txn_id, choice[0].writes)


@KINDS.seen_by(ORDER, LINEARIZABILITY)
def failed_took_effect(rng: random.Random, run: Recorded) -> Recorded | None:
    """A commit that was refused for certain is in the log, and seen."""
    found = []
    for one in commits_of(run, FAILED):
        sure = keys_of(one) - doubtful_keys(run)
        found += [
            (one, place)
            for place in range(len(run.events))
            if any(told_after(run, key, place) for key in sure)
        ]
    choice = pick(rng, found)
    return choice and inserted(run, choice[1], choice[0].txn_id, choice[0].writes)


@KINDS.seen_by(ORDER)
def nobody_sent_it(rng: random.Random, run: Recorded) -> Recorded | None:
    """The log has a commit that no client made."""
    place = rng.randint(0, len(run.events))
    return inserted(run, place, "stranger", (Write("a/0", "stranger"),))


@KINDS.seen_by(ORDER, LINEARIZABILITY)
def split_brain(rng: random.Random, run: Recorded) -> Recorded | None:
    """Two leaders each give the same commit_ts and version away."""
    victim = pick(rng, commits_of(run))
    if victim is None:
        return None
    key, version = victim.writes[-1].key, victim.versions[-1]
    other = Commit(
        client="minority",
        called_at_ns=victim.called_at_ns,
        returned_at_ns=victim.returned_at_ns,
        outcome=OK,
        txn_id="minority",
        writes=(Write(key, "minority"),),
        commit_ts=victim.commit_ts,
        versions=(version,),
    )
    return Recorded([*run.history, other], run.events)


@KINDS.seen_by(ORDER)
def half_applied(rng: random.Random, run: Recorded) -> Recorded | None:
    """Of a commit's writes only some are in the log."""
    victim = pick(rng, (one for one in commits_of(run) if len(one.writes) > 1))
    if victim is None:
        return None
    log = [
        (txn_id, writes[:-1] if txn_id == victim.txn_id else writes)
        for txn_id, writes in sent(run.events)
    ]
    return retold(run, log, lambda old: old)


@KINDS.seen_by(ORDER)
def other_content(rng: random.Random, run: Recorded) -> Recorded | None:
    """The log has another value than was sent."""
    victim = pick(rng, commits_of(run))
    if victim is None:
        return None
    wrong = (*victim.writes[:-1], Write(victim.writes[-1].key, "wrong"))
    log = [
        (txn_id, wrong if txn_id == victim.txn_id else writes)
        for txn_id, writes in sent(run.events)
    ]
    return retold(run, log, lambda old: old)


@KINDS.seen_by(ORDER)
def told_wrong_version(rng: random.Random, run: Recorded) -> Recorded | None:
    """A commit is told versions which are not those it made."""
    victim = pick(rng, commits_of(run))
    if victim is None:
        return None
    wrong = tuple(version + rng.choice((-1, 1)) for version in victim.versions)
    return swapped(run, victim, replace(victim, versions=wrong))


@KINDS.seen_by(ORDER)
def told_wrong_commit_ts(rng: random.Random, run: Recorded) -> Recorded | None:
    """A commit is told a commit_ts that is not its own."""
    victim = pick(rng, commits_of(run))
    if victim is None:
        return None
    wrong = victim.commit_ts + 1 if victim.commit_ts == 1 else victim.commit_ts - 1
    return swapped(run, victim, replace(victim, commit_ts=wrong))


# -- Order


@KINDS.seen_by(ORDER, LINEARIZABILITY)
def reordered(rng: random.Random, run: Recorded) -> Recorded | None:
    """Two commits of one key stand in the log against real time."""
    by_ts = {one.commit_ts: one for one in commits_of(run)}
    pair = pick(
        rng,
        (
            (one, by_ts[one.commit_ts + 1])
            for one in by_ts.values()
            if one.commit_ts + 1 in by_ts
            and precedes(one, by_ts[one.commit_ts + 1])
            and keys_of(one) & keys_of(by_ts[one.commit_ts + 1])
        ),
    )
    if pair is None:
        return None
    log = sent(run.events)
    place = pair[0].commit_ts - 1
    log[place], log[place + 1] = log[place + 1], log[place]
    return retold(run, log, lambda old: old)


# -- Preconditions


@KINDS.seen_by(ORDER, LINEARIZABILITY)
def precondition_ignored(rng: random.Random, run: Recorded) -> Recorded | None:
    """A commit was applied although what it demanded was not so."""
    victim = pick(rng, commits_of(run))
    if victim is None:
        return None
    demands = (Precondition(victim.writes[0].key, "version", 1_000_000),)
    return swapped(run, victim, replace(victim, preconditions=demands))


@KINDS.seen_by(ORDER, LINEARIZABILITY)
def refused_for_nothing(rng: random.Random, run: Recorded) -> Recorded | None:
    """A commit was refused although what it demanded was so all the time."""
    victim = pick(rng, commits_of(run, FAILED))
    if victim is None:
        return None
    demands = (Precondition("never written", rng.choice(("absent", "version"))),)
    return swapped(run, victim, replace(victim, preconditions=demands, conflict=True))
