"""The simplest state machine there is, for scripts: the list of all commands as applied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from statehouse_cluster.interfaces import Position

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from statehouse_cluster.interfaces import Entry

    from tests.simulation.checker import Checker

    Snapshot = tuple[Position, bytes, tuple[bytes, ...]]


def commands_of(payload: bytes) -> list[bytes]:
    """What `ListMachine.group` put together."""
    return msgspec.msgpack.decode(payload, type=list[bytes])


class ListMachine:
    """`statehouse_cluster.interfaces.StateMachine`; `shelf` holds the checkpoints of all nodes."""

    def __init__(self, name: str, checker: Checker, shelf: dict[Path, Snapshot]) -> None:
        self.name = name
        self.commands: list[bytes] = []
        self._checker = checker
        self._shelf = shelf
        self._position = Position(0, 0)
        self._configuration = b""

    def position(self) -> Position:
        return self._position

    def configuration(self) -> bytes:
        return self._configuration

    def group(self, commands: Sequence[bytes]) -> bytes:
        return msgspec.msgpack.encode(list(commands))

    def apply(
        self, entries: Sequence[Entry], position: Position, configuration: bytes | None
    ) -> list[Sequence[object]]:
        results: list[Sequence[object]] = []
        for entry in entries:
            self._checker.applied(self.name, entry)
            commands = commands_of(entry.payload)
            place = len(self.commands)
            self.commands.extend(commands)
            results.append(range(place, place + len(commands)))
        self._position = position
        if configuration is not None:
            self._configuration = configuration
        self._checker.reached(self.name, position, tuple(self.commands))
        return results

    def sync(self) -> None:
        """What is here stays: scripts end processes, and leave the machines running."""

    def checkpoint(self, directory: Path) -> None:
        self._shelf[directory] = self._position, self._configuration, tuple(self.commands)

    def install(self, directory: Path) -> None:
        self._position, self._configuration, commands = self._shelf[directory]
        self.commands = list(commands)
        self._checker.reached(self.name, self._position, commands)
