"""Owns the news that more was applied: from the raft thread to those who wait on the event loop.

A waiter registers before it looks at the state, so nothing applied in between is missed; many
applied rounds make one pulse. With nobody waiting, a round costs one look at an integer.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from statehouse_cluster.interfaces import Entry, Position, StateMachine


class Pulse:
    """Wakes all that wait; `send` comes from any thread, the rest runs on the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiters = 0
        self._sent = False
        self._event = asyncio.Event()

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        """Returns when `holds()`, which is asked now and after each pulse; it may raise."""
        self._waiters += 1
        try:
            while True:
                event = self._event
                if holds():
                    return
                await event.wait()
        finally:
            self._waiters -= 1

    def send(self) -> None:
        """Something changed."""
        if self._waiters and not self._sent:
            self._sent = True
            # A loop that is closed has nobody waiting any more.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._beat)

    def _beat(self) -> None:
        self._sent = False
        event, self._event = self._event, asyncio.Event()
        event.set()


class PulsingMachine:
    """A state machine that tells when it applied or installed something."""

    def __init__(self, machine: StateMachine, pulse: Pulse) -> None:
        self._machine = machine
        self._pulse = pulse
        self.position = machine.position
        self.configuration = machine.configuration
        self.group = machine.group
        self.sync = machine.sync
        self.prepare_checkpoint = machine.prepare_checkpoint
        self.checkpoint = machine.checkpoint

    def apply(
        self, entries: Sequence[Entry], position: Position, configuration: bytes | None
    ) -> Sequence[Sequence[object]]:
        """As the machine does, then the pulse."""
        results = self._machine.apply(entries, position, configuration)
        if entries:
            self._pulse.send()
        return results

    def install(self, directory: Path) -> None:
        """As the machine does, then the pulse."""
        self._machine.install(directory)
        self._pulse.send()
