"""The state machine of one simulated node: a store, and the checker's eyes on all it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from random import Random

    from statehouse_cluster.interfaces import Entry, Position

    from statehouse.core.codec import Head
    from statehouse.core.model import Answer
    from statehouse.storage.views import StateView
    from tests.simulation.checker import Checker
    from tests.simulation.stores import Store


class SimulatedMachine:
    """`statehouse_cluster.interfaces.StateMachine`."""

    def __init__(self, name: str, checker: Checker, store: Store) -> None:
        self.name = name
        self.store = store
        self._checker = checker
        self.after_install: Callable[[], None] = lambda: None
        """Called when a snapshot is in place and durable, before the log is told."""
        self.position = store.position
        self.configuration = store.configuration
        self.group = store.group
        self.sync = store.sync
        self.checkpoint = store.checkpoint

    @property
    def head(self) -> Head:
        return self.store.head

    def view(self) -> StateView:
        return self.store.view()

    def apply(
        self, entries: Sequence[Entry], position: Position, configuration: bytes | None
    ) -> list[Sequence[Answer]]:
        for entry in entries:
            self._checker.applied(self.name, entry)
        answers = self.store.apply(entries, position, configuration)
        self._checker.reached(self.name, position, self.store.head)
        return answers

    def install(self, directory: Path) -> None:
        self.store.install(directory)
        self._checker.reached(self.name, self.store.position(), self.store.head)
        self.after_install()

    def start(self) -> None:
        self.store.start()

    def kill(self) -> None:
        self.store.kill()

    def lose_power(self, random: Random) -> None:
        self.store.lose_power(random)
