"""The two stores a simulated node may keep its state in: rows in memory, or the real RocksDB.

Both run the real engine and give the real views. A store outlives the process of its node: `kill`
ends the process, after which the machine still holds what was written; `lose_power` keeps what was
synced, and of what was written after that the beginning, as long as chance will have it.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Protocol

from statehouse_cluster.interfaces import Position

from statehouse.core import codec
from statehouse.core.codec import Head
from statehouse.core.engine import Engine
from statehouse.storage.state_store import StateStore
from statehouse.storage.views import StateView
from tests.simulation.rows import MemoryRows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from random import Random

    from statehouse_cluster.interfaces import Entry, StateMachine

    from statehouse.core.keys import Table
    from statehouse.core.model import Answer

    class Store(StateMachine, Protocol):
        """A state machine with views, and a process that can end."""

        @property
        def head(self) -> Head: ...

        def view(self) -> StateView: ...

        def start(self) -> None: ...

        def kill(self) -> None: ...

        def lose_power(self, random: Random) -> None: ...


class Shelf:
    """Where the checkpoints of all memory stores lie, under the path they would have."""

    def __init__(self) -> None:
        self.copies: dict[Path, tuple[list[dict[bytes, bytes]], _Step]] = {}


_Step = tuple[Position, Head, bytes]
"""Position, head and configuration after one batch."""


class MemoryStore:
    """As StateStore, with dictionaries for a database."""

    def __init__(self, shelf: Shelf, now_us: Callable[[], int]) -> None:
        self.rows = MemoryRows()
        self._shelf = shelf
        self._now_us = now_us
        self._steps: list[_Step] = [(Position(0, 0), Head(), b"")]
        """The last durable one, then one for each batch since."""

    @property
    def head(self) -> Head:
        return self._steps[-1][1]

    def view(self) -> StateView:
        return StateView(self.rows, self.head, lambda: None)

    def position(self) -> Position:
        return self._steps[-1][0]

    def configuration(self) -> bytes:
        return self._steps[-1][2]

    def group(self, commands: Sequence[bytes]) -> bytes:
        time_us = max(self._now_us(), self.head.committed_at_us)
        return codec.encode_group(time_us, commands)

    def apply(
        self, entries: Sequence[Entry], position: Position, configuration: bytes | None
    ) -> list[Sequence[Answer]]:
        engine = Engine(_EngineView(self.rows, self.head))
        answers = [engine.apply(codec.decode_group(e.payload), e.index) for e in entries]
        puts, deletes, head = engine.effects()
        self.rows.write(puts, deletes)
        if configuration is None:
            configuration = self.configuration()
        self._steps.append((position, head, configuration))
        return answers

    def sync(self) -> None:
        self.rows.sync()
        del self._steps[:-1]

    def checkpoint(self, directory: Path) -> None:
        self._shelf.copies[directory] = self.rows.copy(), self._steps[-1]

    def install(self, directory: Path) -> None:
        tables, step = self._shelf.copies[directory]
        self.rows.replace(tables)
        self._steps = [step]

    def start(self) -> None:
        """Nothing to open."""

    def kill(self) -> None:
        """Nothing to close."""

    def lose_power(self, random: Random) -> None:
        self.rows.take_back(random.randint(0, self.rows.unsynced))
        del self._steps[self.rows.unsynced + 1 :]


class _EngineView:
    def __init__(self, rows: MemoryRows, head: Head) -> None:
        self.get: Callable[[Table, bytes], bytes | None] = rows.get
        self.first = rows.first
        self._head = head

    def head(self) -> Head:
        return self._head


class RocksStore(StateStore):
    """The product's own store; opened and closed with its node's process.

    A power loss cuts the write-ahead log somewhere behind what was synced of it, in the middle of a
    record or not.
    """

    def __init__(self, directory: Path, now_us: Callable[[], int]) -> None:
        self._home = directory
        self._is_open = True
        self._wal_synced: tuple[Path | None, int] = (None, 0)
        super().__init__(directory, now_us=now_us)

    def sync(self) -> None:
        super().sync()
        self._wal_synced = self._wal()

    def checkpoint(self, directory: Path) -> None:
        directory.parent.mkdir(parents=True, exist_ok=True)
        super().checkpoint(directory)

    def install(self, directory: Path) -> None:
        # The fetched copy is moved away; others may fetch the same checkpoint still.
        fetched = self._home.with_suffix(".fetched")
        shutil.copytree(directory, fetched)
        super().install(fetched)

    def start(self) -> None:
        if not self._is_open:
            self.__init__(self._home, self._now_us)

    def kill(self) -> None:
        if self._is_open:
            self._is_open = False
            self._database.release()

    def lose_power(self, random: Random) -> None:
        self.kill()
        path, size_bytes = self._wal()
        if path is not None:
            synced_path, synced_bytes = self._wal_synced
            least = synced_bytes if path == synced_path else 0
            with path.open("r+b") as file:
                file.truncate(random.randint(min(least, size_bytes), size_bytes))

    def _wal(self) -> tuple[Path | None, int]:
        logs = sorted(self._directory.database.glob("*.log"))
        return (logs[-1], logs[-1].stat().st_size) if logs else (None, 0)
