"""A state machine in memory that knows which part of it is on its disk.

It keeps the list of all commands in the order applied. What was applied since the last sync is
lost or kept at a power loss, step by step from the oldest, as a write-ahead log is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from statehouse_cluster.interfaces import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from random import Random

    from statehouse_cluster.interfaces import Entry

    from tests.simulation.checker import Checker


class Step(NamedTuple):
    """The state after one atomic step: so many commands of the list."""

    position: Position
    configuration: bytes
    length: int


class Snapshot(NamedTuple):
    """A checkpoint, wherever its directory is thought to lie."""

    step: Step
    commands: tuple[bytes, ...]


class SimulatedMachine:
    """`statehouse_cluster.interfaces.StateMachine`; `shelf` holds the checkpoints of all nodes."""

    def __init__(self, name: str, checker: Checker, shelf: dict[Path, Snapshot]) -> None:
        self.name = name
        self.commands: list[bytes] = []
        self._checker = checker
        self._shelf = shelf
        self._steps = [Step(Position(0, 0), b"", 0)]
        self.after_install: Callable[[], None] = lambda: None
        """Called when a snapshot is in place and durable, before the log is told."""

    def position(self) -> Position:
        return self._steps[-1].position

    def configuration(self) -> bytes:
        return self._steps[-1].configuration

    def group(self, commands: Sequence[bytes]) -> bytes:
        return msgspec.msgpack.encode(list(commands))

    def apply(
        self, entries: Sequence[Entry], position: Position, configuration: bytes | None
    ) -> list[Sequence[object]]:
        results: list[Sequence[object]] = []
        for entry in entries:
            commands = msgspec.msgpack.decode(entry.payload, type=list[bytes])
            place = len(self.commands)
            self._checker.applied(self.name, entry, place, commands)
            self.commands.extend(commands)
            results.append(range(place, place + len(commands)))
        self._checker.reached(self.name, position)
        if configuration is None:
            configuration = self.configuration()
        self._steps.append(Step(position, configuration, len(self.commands)))
        return results

    def sync(self) -> None:
        del self._steps[:-1]

    def checkpoint(self, directory: Path) -> None:
        self._shelf[directory] = Snapshot(self._steps[-1], tuple(self.commands))

    def install(self, directory: Path) -> None:
        snapshot = self._shelf[directory]
        self._checker.reached(self.name, snapshot.step.position)
        self.commands = list(snapshot.commands)
        self._steps = [snapshot.step]
        self.after_install()

    def lose_power(self, random: Random) -> None:
        """Keeps what was synced and a random part of what followed."""
        del self._steps[random.randrange(len(self._steps)) + 1 :]
        del self.commands[self._steps[-1].length :]
