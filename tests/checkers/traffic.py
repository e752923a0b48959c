"""Makes good histories: clients that overlap at random on a store that is right by construction.

Each operation takes effect in one instant between call and return; an unknown commit at any time
after its call, or never. The store is its own, so that an error in the oracle does not excuse
itself.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tests.checkers.history import (
    FAILED,
    OK,
    Commit,
    Event,
    Get,
    Operation,
    Precondition,
    Replay,
    Row,
    Scan,
    Write,
    Written,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

BEGIN_US = 1_700_000_000_000_000


class Recorded(NamedTuple):
    """What a run leaves behind."""

    history: list[Operation]
    events: list[Event]


class Store:
    """All versions of all keys, and the log."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._versions: dict[str, list[Row]] = {}

    @property
    def last_ts(self) -> int:
        return len(self.events)

    def commit(self, txn_id: str, writes: Iterable[Write]) -> Event:
        commit_ts = self.last_ts + 1
        written = []
        for write in writes:
            versions = self._versions.setdefault(write.key, [])
            versions.append(Row(write.key, len(versions) + 1, write.value, commit_ts))
            written.append(Written(write.key, len(versions), write.value))
        event = Event(
            commit_ts, txn_id, tuple(written), BEGIN_US + commit_ts // 2, f"{commit_ts:x}"
        )
        self.events.append(event)
        return event

    def get(self, key: str, at: int) -> Row:
        versions = self._versions.get(key, [])
        place = bisect_right(versions, at, key=attrgetter("commit_ts"))
        return versions[place - 1] if place else Row(key, 0, None, 0)

    def scan(self, prefix: str, at: int) -> tuple[Row, ...]:
        keys = sorted(key for key in self._versions if key.startswith(prefix))
        rows = (self.get(key, at) for key in keys)
        return tuple(row for row in rows if row.value is not None)

    def replay(self, after: int, through: int, prefix: str) -> tuple[Event, ...]:
        told = []
        for event in self.events[after:through]:
            writes = tuple(write for write in event.writes if write.key.startswith(prefix))
            if writes:
                told.append(msgspec.structs.replace(event, writes=writes))
        return tuple(told)

    def allows(self, wanted: Precondition) -> bool:
        row = self.get(wanted.key, self.last_ts)
        match wanted.expectation:
            case "version":
                return row.version == wanted.number
            case "absent":
                return row.value is None
            case _:
                return row.commit_ts is not None and row.commit_ts <= wanted.number


@dataclass(frozen=True)
class Traffic:
    """How many do what; the shares are probabilities."""

    clients: int = 5
    operations: int = 80
    keys: int = 4
    tick_ns: int = 1
    """The grain of the clock; a coarse one often sees call and return at one moment."""
    commits: float = 0.5
    preconditions: float = 0.3
    unknown: float = 0.1
    failed: float = 0.1
    stale: float = 0.1
    at: float = 0.2


@dataclass
class _Run:
    rng: random.Random
    traffic: Traffic
    store: Store = field(default_factory=Store)
    history: list[Operation] = field(default_factory=list)
    now_ns: int = 0
    _agenda: list[tuple[int, int, Callable[[], object]]] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _started: int = 0

    def run(self) -> Recorded:
        for number in range(self.traffic.clients):
            self._later(1_000, partial(self._next, f"c{number}"))
        while self._agenda:
            self.now_ns, _, act = heapq.heappop(self._agenda)
            act()
        return Recorded(self.history, self.store.events)

    def _later(self, most_ns: int, act: Callable[[], object]) -> None:
        at_ns = self.now_ns + self.rng.randint(1, most_ns)
        heapq.heappush(self._agenda, (at_ns, next(self._numbers), act))

    def _chance(self, share: float) -> bool:
        return self.rng.random() < share

    def _seen_ns(self) -> int:
        return self.now_ns // self.traffic.tick_ns * self.traffic.tick_ns

    def _key(self) -> str:
        return f"{self.rng.choice('ab')}/{self.rng.randrange((self.traffic.keys + 1) // 2)}"

    # -- One operation: called, effective, returned

    def _next(self, client: str) -> None:
        if self._started == self.traffic.operations:
            return
        self._started += 1
        if self._chance(self.traffic.commits):
            self._call_commit(client)
        else:
            self._call_read(client)

    def _return(self, one: Operation) -> None:
        one.returned_at_ns = self._seen_ns()
        self.history.append(one)
        self._later(300, lambda: self._next(one.client))

    def _call_commit(self, client: str) -> None:
        txn_id = f"t{self._started}"
        keys = [self._key() for _ in range(self.rng.choice((1, 1, 2, 3)))]
        values = [None if self._chance(0.2) else f"{txn_id}.{place}" for place in range(len(keys))]
        one = Commit(
            client=client,
            called_at_ns=self._seen_ns(),
            txn_id=txn_id,
            writes=tuple(map(Write, keys, values)),
            preconditions=self._preconditions(),
        )
        if self._chance(self.traffic.unknown):
            if self._chance(0.6):
                self._later(4_000, lambda: self._apply(one))
            self._later(1_500, lambda: self._give_up(one))
        elif self._chance(self.traffic.failed):
            one.outcome = FAILED
            self._later(500, lambda: self._return(one))
        else:
            self._later(500, lambda: self._commit(one))

    def _preconditions(self) -> tuple[Precondition, ...]:
        if not self._chance(self.traffic.preconditions):
            return ()
        wanted = []
        for _ in range(self.rng.choice((1, 1, 2))):
            row = self.store.get(self._key(), self.store.last_ts)
            wanted.append(
                self.rng.choice(
                    (
                        Precondition(row.key, "version", row.version),
                        Precondition(row.key, "absent"),
                        Precondition(row.key, "unchanged_since", self.store.last_ts),
                    )
                )
            )
        return tuple(wanted)

    def _apply(self, one: Commit) -> Event | None:
        if all(map(self.store.allows, one.preconditions)):
            return self.store.commit(one.txn_id, one.writes)
        return None

    def _give_up(self, one: Commit) -> None:
        self.history.append(one)
        self._later(300, lambda: self._next(one.client))

    def _commit(self, one: Commit) -> None:
        event = self._apply(one)
        if event is None:
            one.outcome = FAILED
            one.conflict = True
        else:
            one.outcome = OK
            one.commit_ts = event.commit_ts
            one.versions = tuple(write.version for write in event.writes)
        self._later(500, lambda: self._return(one))

    def _call_read(self, client: str) -> None:
        called_at_ns = self._seen_ns()
        self._later(500, lambda: self._read(client, called_at_ns))

    def _read(self, client: str, called_at_ns: int) -> None:
        store, rng = self.store, self.rng
        stale = self._chance(self.traffic.stale)
        served_at = (
            rng.randint(max(0, store.last_ts - 5), store.last_ts) if stale else store.last_ts
        )
        at = rng.randint(0, served_at) if self._chance(self.traffic.at) else None
        point = served_at if at is None else at
        prefix = rng.choice(("", "a/", "b/"))
        one: Operation
        match rng.choice("ggggsr"):
            case "g":
                keys = tuple(dict.fromkeys(self._key() for _ in range(rng.choice((1, 1, 2, 3)))))
                one = Get(client=client, called_at_ns=called_at_ns, keys=keys, at=at)
                one.rows = tuple(store.get(key, point) for key in keys)
            case "s":
                one = Scan(client=client, called_at_ns=called_at_ns, prefix=prefix, at=at)
                one.rows = store.scan(prefix, point)
            case _:
                after = rng.randint(max(0, served_at - 20), served_at)
                one = Replay(client=client, called_at_ns=called_at_ns, after=after, prefix=prefix)
                one.events = store.replay(after, served_at, prefix)
        one.stale, one.served_at, one.outcome = stale, served_at, OK
        self._later(500, lambda: self._return(one))


def make(rng: random.Random, traffic: Traffic) -> Recorded:
    """A good history, and the log it left."""
    return _Run(rng, traffic).run()


def mixed(rng: random.Random) -> Traffic:
    """A traffic of any sort: crowded or not, a fine or a coarse clock, more or less in doubt."""
    return Traffic(
        clients=rng.choice((1, 2, 5, 9)),
        operations=rng.choice((40, 80, 120)),
        keys=rng.choice((2, 4, 8)),
        tick_ns=rng.choice((1, 1, 100, 400)),
        commits=rng.choice((0.3, 0.5, 0.7)),
        preconditions=rng.choice((0.0, 0.3)),
        unknown=rng.choice((0.0, 0.05, 0.2)),
    )
