"""What all forgers share: how a kind of bad history is registered, and how victims are found.

A forger takes a good run and returns a bad one, or None if this run offers it no victim. What it
returns is bad for certain: the victim is chosen so that no order can excuse it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from tests.checkers.history import OK, UNKNOWN, Commit, Get
from tests.checkers.traffic import Recorded
from tests.checkers.worlds import answered, retold, sent, store_of, swapped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.checkers.history import Operation, Read, Write


Thing = TypeVar("Thing")

Forger = Callable[[random.Random, Recorded], Recorded | None]

ORDER = "order"
LINEARIZABILITY = "linearizability"


@dataclass(frozen=True)
class Forgery:
    """A kind of bad history, and who must reject it."""

    forge: Forger
    seen_by: tuple[str, ...]


class Kinds(dict[str, Forgery]):
    """Kinds of bad histories by the names of their forgers."""

    def seen_by(self, *checkers: str) -> Callable[[Forger], Forger]:
        """Registers the forger below it."""

        def registered(forger: Forger) -> Forger:
            self[forger.__name__] = Forgery(forger, checkers)
            return forger

        return registered


# -- Choosing victims


def pick(rng: random.Random, found: Iterable[Thing]) -> Thing | None:
    among = list(found)
    return rng.choice(among) if among else None


def commits_of(run: Recorded, outcome: str = OK) -> list[Commit]:
    return [one for one in run.history if isinstance(one, Commit) and one.outcome == outcome]


def gets_of(run: Recorded, *, past: bool = False) -> list[Get]:
    """Gets by default: those of now, from the leader."""
    return [
        one
        for one in run.history
        if isinstance(one, Get)
        and one.outcome == OK
        and (one.at is not None if past else one.at is None and not one.stale)
    ]


def precedes(one: Operation, other: Operation) -> bool:
    return one.returned_at_ns is not None and one.returned_at_ns < other.called_at_ns


def keys_of(one: Commit) -> set[str]:
    return {write.key for write in one.writes}


def doubtful_keys(run: Recorded, but: Commit | None = None) -> set[str]:
    """Keys of unknown commits, which could stand in for a write that never was."""
    return {key for one in commits_of(run, UNKNOWN) if one is not but for key in keys_of(one)}


def told_after(run: Recorded, key: str, commit_ts: int) -> bool:
    """Whether someone was told the key's version, as of a later commit or a later read."""
    return any(key in keys_of(one) and one.commit_ts > commit_ts for one in commits_of(run)) or any(
        key in one.keys and one.served_at > commit_ts for one in gets_of(run)
    )


def inserted(run: Recorded, place: int, txn_id: str, writes: tuple[Write, ...]) -> Recorded:
    """The world in which the log holds one commit more, after commit_ts `place`."""
    log = sent(run.events)
    log.insert(place, (txn_id, writes))
    return retold(run, log, lambda old: old + 1 if old > place else old)


def served(run: Recorded, one: Read, served_at: int) -> Recorded:
    return swapped(
        run, one, answered(store_of(sent(run.events)), replace(one, served_at=served_at))
    )
