"""Owns one client of a chaos run: each method is one thing a program does, done and recorded.

Keys are few and change every few seconds, so that clients meet at them, and yet no key's story
gets too long for a checker that tries orders. An error that a cluster in trouble may cause is an
outcome; any other is raised.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any, TypeVar

from statehouse import (
    ConflictError,
    OutcomeUnknownError,
    Statehouse,
    TransactionAbortedError,
    UnavailableError,
)
from tests.checkers import history
from tests.checkers.history import now_ns

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Sequence

    from statehouse import ReplayEvent, StateResult, Transaction

Answer = TypeVar("Answer")

AGENTS = ("ada", "bob", "cyd")
KEYS = 12
ERA_S = 4.0
TEXT_MAX = 120
PAD_BYTES = (0, 0, 0, 40, 40, 400, 1500, 1500, 6000, 40_000)
REPLAY_EVENTS_MAX = 20
ASK_AGAIN_SHARE = 0.6


class Client:
    """One sequential client, and what it has seen."""

    def __init__(
        self,
        name: str,
        endpoints: str,
        timeout_s: float,
        draw: random.Random,
        recorder: history.Recorder,
    ) -> None:
        self._name = name
        self._endpoints = endpoints
        self._timeout_s = timeout_s
        self._draw = draw
        self._recorder = recorder
        self._count = 0
        self._seen_ts = 0
        self._statehouse = Statehouse(endpoints, timeout=timeout_s)

    def close(self) -> None:
        self._statehouse.close()

    def reconnect(self) -> None:
        """As a new process of the same program would begin."""
        self._statehouse.close()
        self._statehouse = Statehouse(self._endpoints, timeout=self._timeout_s)

    # -- commits

    def write(self) -> None:
        tx = self._statehouse.begin_transaction()
        self._commit(tx, [self._put(tx, *self._place())])

    def write_several(self) -> None:
        """Several keys, perhaps one of them twice, some deleted."""
        tx = self._statehouse.begin_transaction()
        places = [self._place() for _ in range(self._draw.randint(2, 4))]
        self._commit(
            tx,
            [
                self._remove(tx, *place) if self._draw.random() < 0.2 else self._put(tx, *place)
                for place in places
            ],
        )

    def delete(self) -> None:
        tx = self._statehouse.begin_transaction()
        self._commit(tx, [self._remove(tx, *self._place())])

    def read_and_write(self) -> None:
        """What is written depends on what was read, of this key and of another one."""
        tx = self._statehouse.begin_transaction()
        places = list(dict.fromkeys([self._place(), self._place()]))
        read = [self._read_in(tx, *place) for place in places]
        if None not in read:
            self._commit(tx, [self._put(tx, *places[0])], [one for one in read if one])

    def write_if(self) -> None:
        """A write that demands something that may not be so."""
        agent, key = self._place()
        flat = _flat(agent, key)
        wanted = self._draw.choice(
            [
                history.Precondition(flat, "version", self._draw.randint(0, 3)),
                history.Precondition(flat, "absent"),
                history.Precondition(flat, "unchanged_since", self._past()),
            ]
        )
        absent = wanted.expectation == "absent"
        demand: dict[str, Any] = {wanted.expectation: True if absent else wanted.number}
        tx = self._statehouse.begin_transaction()
        tx.require(agent, key, **demand)
        self._commit(tx, [self._put(tx, agent, key)], [wanted])

    # -- reads

    def get(self) -> None:
        agent, key = self._place()
        self._get([_flat(agent, key)], lambda: [self._statehouse.get_state(agent, key)])

    def get_at(self) -> None:
        """What was true then may be asked of the past only, so it is told as a stale read is."""
        agent, key = self._place()
        at = self._past()
        if at:
            self._get(
                [_flat(agent, key)],
                lambda: [self._statehouse.get_state(agent, key, at=at)],
                at=at,
                stale=True,
            )

    def get_stale(self) -> None:
        agent, key = self._place()
        self._get(
            [_flat(agent, key)],
            lambda: [self._statehouse.get_state(agent, key, stale=True)],
            stale=True,
        )

    def get_many(self) -> None:
        agent, key = self._place()
        keys = list(dict.fromkeys([key, self._place()[1], self._place()[1]]))
        self._get(
            [_flat(agent, key) for key in keys],
            lambda: list(self._statehouse.get_many(agent, keys).values()),
        )

    def scan(self) -> None:
        agent, prefix = self._draw.choice(AGENTS), f"{_era()}-"
        called_at_ns = now_ns()
        told = self._ask(lambda: self._statehouse.scan_prefix(agent, prefix))
        if told:
            self._note(
                history.Scan(
                    prefix=_flat(agent, prefix),
                    served_at=told[0].served_at,
                    rows=tuple(_row(_flat(agent, one.key), one) for one in told),
                    **self._times(called_at_ns, history.OK),
                )
            )

    def replay(self) -> None:
        """The last events this client can know of, and those after them."""
        after = max(self._seen_ts - self._draw.randint(1, REPLAY_EVENTS_MAX), 0)
        called_at_ns = now_ns()
        told = self._ask(
            lambda: list(self._statehouse.replay(start_ts=after + 1, limit=REPLAY_EVENTS_MAX))
        )
        if told:
            self._note(
                history.Replay(
                    after=after,
                    stale=True,
                    served_at=told[-1].commit_ts,
                    events=tuple(event_of(one) for one in told),
                    **self._times(called_at_ns, history.OK),
                )
            )

    # -- what they share

    def _commit(
        self,
        tx: Transaction,
        writes: list[history.Write],
        preconditions: Sequence[history.Precondition] = (),
    ) -> None:
        told: dict[str, Any] = {
            "txn_id": tx.txn_id,
            "writes": tuple(writes),
            "preconditions": tuple(preconditions),
        }
        called_at_ns = now_ns()
        outcome = self._outcome(tx)
        if outcome == "conflict":
            told["conflict"] = True
            outcome = history.FAILED
        if tx.commit_ts is not None:
            told |= {"commit_ts": tx.commit_ts, "versions": tuple(tx.versions)}
            self._seen_ts = max(self._seen_ts, tx.commit_ts)
        self._note(history.Commit(**told, **self._times(called_at_ns, outcome)))

    def _outcome(self, tx: Transaction) -> str:
        """How the commit ended; in doubt, the client often asks until it knows."""
        while True:
            try:
                tx.commit()
            except ConflictError:
                return "conflict"
            except TransactionAbortedError as error:
                if not isinstance(error.cause, UnavailableError):
                    raise
                return history.FAILED
            except OutcomeUnknownError:
                if self._draw.random() >= ASK_AGAIN_SHARE:
                    return history.UNKNOWN
            else:
                return history.OK

    def _read_in(self, tx: Transaction, agent: str, key: str) -> history.Precondition | None:
        told: list[StateResult] = []

        def ask() -> list[StateResult]:
            told.append(tx.get(agent, key))
            return told

        self._get([_flat(agent, key)], ask)
        return history.Precondition(_flat(agent, key), "version", told[0].version) if told else None

    def _get(
        self,
        keys: list[str],
        ask: Callable[[], list[StateResult]],
        *,
        at: int | None = None,
        stale: bool = False,
    ) -> None:
        called_at_ns = now_ns()
        told = self._ask(ask)
        times = self._times(called_at_ns, history.FAILED if told is None else history.OK)
        asked: dict[str, Any] = {"keys": tuple(keys), "at": at, "stale": stale}
        if told is not None:
            rows = tuple(_row(key, one) for key, one in zip(keys, told, strict=True))
            asked |= {"served_at": told[0].served_at, "rows": rows}
            if not stale:
                self._seen_ts = max(self._seen_ts, told[0].served_at)
        self._note(history.Get(**asked, **times))

    @staticmethod
    def _ask(ask: Callable[[], Answer]) -> Answer | None:
        try:
            return ask()
        except UnavailableError:
            return None

    def _put(self, tx: Transaction, agent: str, key: str) -> history.Write:
        self._count += 1
        pad = "." * self._draw.choice(PAD_BYTES)
        value = {"by": self._name, "n": self._count, "pad": pad}
        tx.write(agent, key, value)
        return history.Write(_flat(agent, key), text_of(value))

    @staticmethod
    def _remove(tx: Transaction, agent: str, key: str) -> history.Write:
        tx.delete(agent, key)
        return history.Write(_flat(agent, key), None)

    def _place(self) -> tuple[str, str]:
        return self._draw.choice(AGENTS), f"{_era()}-{self._draw.randrange(KEYS)}"

    def _past(self) -> int:
        """A commit_ts the cluster has reached, as this client knows."""
        return max(self._seen_ts - self._draw.randrange(50), 0)

    def _times(self, called_at_ns: int, outcome: str) -> dict[str, Any]:
        returned_at_ns = None if outcome == history.UNKNOWN else now_ns()
        times = {"called_at_ns": called_at_ns, "returned_at_ns": returned_at_ns}
        return {"client": self._name, "outcome": outcome, **times}

    def _note(self, operation: history.Operation) -> None:
        self._recorder.add(operation)


def text_of(value: object) -> str:
    """A value as a history holds it: its JSON text, or what stands for a long one."""
    text = json.dumps(value, sort_keys=True)
    if len(text) <= TEXT_MAX:
        return text
    return f"{len(text)} characters {hashlib.sha256(text.encode()).hexdigest()}"


def event_of(event: ReplayEvent) -> history.Event:
    """A replayed event as a history holds it."""
    return history.Event(
        commit_ts=event.commit_ts,
        txn_id=event.txn_id,
        writes=tuple(_written(event.operations)),
        committed_at_us=_us(event),
        chain=event.hash.hex(),
    )


def _written(operations: Iterable[Any]) -> Iterable[history.Written]:
    for one in operations:
        value = None if one.deleted else text_of(one.value)
        yield history.Written(_flat(one.agent_id, one.key), one.version, value)


def _us(event: ReplayEvent) -> int:
    return 0 if event.committed_at is None else int(event.committed_at.timestamp() * 1_000_000)


def _row(key: str, told: StateResult) -> history.Row:
    value = text_of(told.value) if told.exists else None
    return history.Row(key, told.version, value, told.commit_ts if told.version else None)


def _flat(agent: str, key: str) -> str:
    return f"{agent}/{key}"


def _era() -> int:
    return int(time.monotonic() / ERA_S)
