"""The second opinion: is there any order at all that explains what clients saw, key by key?

It believes no commit_ts and takes no order from the system. Wing and Gong's search with Lowe's
memory: place, one after the other, an operation that no unplaced operation wholly precedes and that
the key, a register that counts its writes, allows; remember each situation met, so that none is
tried twice. Versions are not believed either: the register counts, and what clients were told must
equal its count. Each key is searched alone (linearizability is local); that whole transactions are
atomic only the linear-time checker (order.py) sees. Left out are stale reads, reads of the past,
replays.
"""

from __future__ import annotations

import itertools
import time
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tests.checkers.history import FAILED, OK, UNKNOWN, Commit, Get, Operation, Scan
from tests.checkers.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.checkers.history import Event, Precondition

NEVER = float("inf")


@dataclass(frozen=True)
class Limits:
    """When the search of one key, or of all, gives up: undecided, which is not "ok"."""

    situations_max: int = 2_000_000
    """Of one key."""
    time_s_max: float = 60.0
    """Of all keys together."""


LIMITS = Limits()


@dataclass(frozen=True)
class Result:
    violations: tuple[Violation, ...]
    undecided: tuple[str, ...]
    """Keys the limits did not allow to decide."""

    @property
    def ok(self) -> bool:
        return not self.violations and not self.undecided


class Step(NamedTuple):
    """What one operation does to one key, or saw of it."""

    called_at_ns: int
    returned_at_ns: float
    """NEVER: it may be placed at any time after the call, or not at all."""
    written: tuple[str | None, ...]
    """The values it leaves, one after the other; empty: it only looks."""
    demands: tuple[Precondition, ...]
    """Must hold before it."""
    refused: bool
    """It was not allowed to write: a demand must not hold, and it only looks."""
    version: int | None
    """Told of the state after it; None: not told."""
    reads_value: bool
    value: str | None
    """What a read was told."""
    operation: Operation


State = tuple[int, str | None]
"""Version and value of a key."""

BLANK: State = (0, None)


def after(step: Step, state: State) -> State | None:
    """The state a step leaves, or None if it cannot happen in this one."""
    version, value = state
    holds = all(_holds(demand, version, value) for demand in step.demands)
    if holds == step.refused:
        return None
    if step.written:
        version += len(step.written)
        value = step.written[-1]
    if step.version is not None and step.version != version:
        return None
    if step.reads_value and step.value != value:
        return None
    return version, value


def _holds(demand: Precondition, version: int, value: str | None) -> bool:
    return version == demand.number if demand.expectation == "version" else value is None


# -- From histories to steps


def resolve(history: Iterable[Operation], events: Iterable[Event]) -> list[Operation]:
    """Leaves out the unknown commits that the log, in the end, does not have.

    The log is asked only whether they happened, not when. Fewer guesses, a quicker search.
    """
    logged = {event.txn_id for event in events}
    return [
        one
        for one in history
        if not isinstance(one, Commit) or one.outcome != UNKNOWN or one.txn_id in logged
    ]


def steps_by_key(history: Sequence[Operation]) -> dict[str, list[Step]]:
    """Each key's steps in the order they were called."""
    steps: defaultdict[str, list[Step]] = defaultdict(list)
    keys = sorted({key for one in history for key in _named(one)})
    for one in history:
        if isinstance(one, Commit):
            found = _steps_of_commit(one)
        elif isinstance(one, Get | Scan):
            found = _steps_of_read(one, keys)
        else:
            continue
        for key, step in found:
            steps[key].append(step)
    for of_key in steps.values():
        of_key.sort(key=lambda step: step.called_at_ns)
    return dict(steps)


def _named(one: Operation) -> Iterator[str]:
    if isinstance(one, Commit):
        yield from (write.key for write in one.writes)
    elif isinstance(one, Get):
        yield from one.keys
    elif isinstance(one, Scan):
        yield from (row.key for row in one.rows)


def _steps_of_commit(one: Commit) -> Iterator[tuple[str, Step]]:
    # unchanged_since speaks of a commit_ts, which is not believed here.
    demands = [wanted for wanted in one.preconditions if wanted.expectation != "unchanged_since"]
    if one.outcome == FAILED:
        # Of several preconditions it is not known which one was broken.
        if one.conflict and len(one.preconditions) == 1 and demands:
            yield demands[0].key, _step(one, demands=tuple(demands), refused=True)
        return
    for key in {*(write.key for write in one.writes), *(wanted.key for wanted in demands)}:
        places = [place for place, write in enumerate(one.writes) if write.key == key]
        yield (
            key,
            _step(
                one,
                written=tuple(one.writes[place].value for place in places),
                demands=tuple(wanted for wanted in demands if wanted.key == key),
                version=one.versions[places[-1]] if places and one.versions else None,
            ),
        )


def _steps_of_read(one: Get | Scan, keys: list[str]) -> Iterator[tuple[str, Step]]:
    if one.outcome != OK or one.stale or one.at is not None:
        return
    for row in one.rows:
        yield row.key, _step(one, version=row.version, reads_value=True, value=row.value)
    if isinstance(one, Scan):
        seen = {row.key for row in one.rows}
        for place in range(bisect_left(keys, one.prefix), len(keys)):
            if not keys[place].startswith(one.prefix):
                break
            if keys[place] not in seen:
                yield keys[place], _step(one, reads_value=True)


def _step(
    one: Operation,
    *,
    written: tuple[str | None, ...] = (),
    demands: tuple[Precondition, ...] = (),
    refused: bool = False,
    version: int | None = None,
    reads_value: bool = False,
    value: str | None = None,
) -> Step:
    returned_at_ns = NEVER if one.outcome == UNKNOWN else one.returned_at_ns
    if returned_at_ns is None:
        raise ValueError(f"it ended, but not when: {one}")
    return Step(
        one.called_at_ns,
        returned_at_ns,
        written,
        demands,
        refused,
        version,
        reads_value,
        value,
        one,
    )


# -- The search


class Situation(NamedTuple):
    """How far a search has come: which steps are placed, and the state they left."""

    low: int
    """Every known step before this one is placed."""
    window: int
    """Bits of the known steps from `low` on that are placed as well; bit 0 never is."""
    guessed: int
    """Bits of the unknown steps that are placed."""
    state: State


class Undecided(Exception):
    """The limits were reached."""


def search(steps: Sequence[Step], situations_max: int, deadline_s: float) -> Step | None:
    """None if an order exists; else the step at whose return every order has failed.

    What had returned before that step did is explained by some order, with it by none: the steps
    called until then are the smallest bad beginning. Raises Undecided. `steps` as by steps_by_key.
    """
    known = [step for step in steps if step.returned_at_ns != NEVER]
    unknown = [step for step in steps if step.returned_at_ns == NEVER]
    start = Situation(0, 0, 0, BLANK)
    met = {start}
    stack = [start]
    furthest: Step | None = None
    for tried in itertools.count():
        if not stack:
            break
        if len(met) > situations_max or (tried % 256 == 0 and time.monotonic() > deadline_s):
            raise Undecided
        situation = stack.pop()
        if situation.low == len(known):
            return None
        first = _first_to_return(known, situation)
        if furthest is None or first.returned_at_ns > furthest.returned_at_ns:
            furthest = first
        for following in _followers(known, unknown, situation, first.returned_at_ns):
            if following not in met:
                met.add(following)
                stack.append(following)
    return furthest


def _first_to_return(known: Sequence[Step], situation: Situation) -> Step:
    """Of the steps not placed, the one that returned first."""
    low, window = situation.low, situation.window
    first = known[low]
    for place in range(low + 1, len(known)):
        step = known[place]
        if step.called_at_ns > first.returned_at_ns:
            break
        if not window >> (place - low) & 1 and step.returned_at_ns < first.returned_at_ns:
            first = step
    return first


def _followers(
    known: Sequence[Step], unknown: Sequence[Step], situation: Situation, bound_ns: float
) -> list[Situation]:
    """The situations after one more step, the most promising last."""
    low, window, guessed, state = situation
    found: list[Situation] = []
    for place, step in enumerate(unknown):
        if step.called_at_ns > bound_ns:
            break
        if not guessed >> place & 1 and (left := after(step, state)) is not None:
            found.append(Situation(low, window, guessed | 1 << place, left))
    for place in range(low, len(known)):
        step = known[place]
        if step.called_at_ns > bound_ns:
            break
        if not window >> (place - low) & 1 and (left := after(step, state)) is not None:
            following = _placed(situation, place, left)
            if not step.written:
                # What only looks, and may look now, loses nothing by looking now.
                return [following]
            found.append(following)
    return found


def _placed(situation: Situation, place: int, state: State) -> Situation:
    low = situation.low
    window = situation.window | 1 << (place - low)
    while window & 1:
        window >>= 1
        low += 1
    return Situation(low, window, situation.guessed, state)


def check(
    history: Sequence[Operation],
    limits: Limits = LIMITS,
) -> Result:
    """Searches every key for an order."""
    deadline_s = time.monotonic() + limits.time_s_max
    violations: list[Violation] = []
    undecided: list[str] = []
    for key, steps in steps_by_key(history).items():
        try:
            failed = search(steps, limits.situations_max, deadline_s)
        except Undecided:
            undecided.append(key)
            continue
        if failed is not None:
            violations.append(Violation("linearizability", _told(key, steps, failed)))
    return Result(tuple(violations), tuple(undecided))


def _told(key: str, steps: Sequence[Step], failed: Step) -> str:
    """The step that cannot be placed, and what was under way or just done beside it."""
    beside = [
        step
        for step in steps
        if step is not failed
        and step.called_at_ns <= failed.returned_at_ns
        and step.returned_at_ns >= failed.called_at_ns
    ]
    told = [msgspec.json.encode(step.operation).decode() for step in (failed, *beside[:10])]
    return f"key {key!r}: no order explains {told[0]}, beside {'; '.join(told[1:]) or 'nothing'}"
