"""Writers that remember what they were told, and the check that the record agrees with them."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from statehouse import OutcomeUnknownError, ReplayEvent, Statehouse, StatehouseError

if TYPE_CHECKING:
    from collections.abc import Iterable

AGENT = "workload"


@dataclass
class Notes:
    """What one writer saw: values that were acknowledged (with commit_ts), refused, or unknown."""

    acknowledged: dict[int, int] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)


class Writers:
    """`count` threads, each writing 1, 2, 3, ... to a key of its own until stopped."""

    def __init__(self, client: Statehouse, count: int) -> None:
        self.notes = {f"writer-{number}": Notes() for number in range(count)}
        self._client = client
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(key, notes), name=key)
            for key, notes in self.notes.items()
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Lets each writer end its write, then returns."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), f"{thread.name} never came back from a write"

    @property
    def acknowledged_count(self) -> int:
        return sum(len(notes.acknowledged) for notes in self.notes.values())

    def _write(self, key: str, notes: Notes) -> None:
        value = 0
        while not self._stop.is_set():
            value += 1
            tx = self._client.begin_transaction()
            tx.write(AGENT, key, {"value": value})
            try:
                notes.acknowledged[value] = tx.commit()
            except OutcomeUnknownError:
                notes.unknown.add(value)
            except StatehouseError:
                notes.refused.add(value)


def check_record(client: Statehouse, notes: dict[str, Notes]) -> None:
    """Compares the replicated record with what the writers were told; AssertionError says what."""
    events = list(client.replay(AGENT))
    told = Counter(
        (operation.key, operation.value["value"])
        for event in events
        for operation in event.operations
    )
    at = {
        (operation.key, operation.value["value"]): event.commit_ts
        for event in events
        for operation in event.operations
    }
    doubled = [entry for entry, times in told.items() if times > 1]
    assert doubled == [], f"written more than once: {doubled[:5]}"
    for key, seen in notes.items():
        lost = [value for value in seen.acknowledged if (key, value) not in told]
        assert lost == [], f"{key}: acknowledged and lost: {lost[:5]}"
        moved = {v: ts for v, ts in seen.acknowledged.items() if at[key, v] != ts}
        assert moved == {}, f"{key}: acknowledged at another commit_ts: {moved}"
        ghosts = [value for value in seen.refused if (key, value) in told]
        assert ghosts == [], f"{key}: refused and yet written: {ghosts[:5]}"
    _check_order(events)


def _check_order(events: Iterable[ReplayEvent]) -> None:
    versions: Counter[str] = Counter()
    before = 0
    for event in events:
        assert event.commit_ts > before, "commit_ts did not grow"
        before = event.commit_ts
        for operation in event.operations:
            versions[operation.key] += 1
            assert operation.version == versions[operation.key], "versions are not dense"
