"""Owns the load: callers that ask, wait for the answer and ask again, and what each answer took.

Callers run through a warm-up, then a window in which answers count, without a stop between the two.
The next request of a caller leaves when its answer is there (a closed loop), so a slow system gets
less load, not a queue. It knows calls only as functions, and no system.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Call = Callable[[], Awaitable[object]]
BlockingCall = Callable[[], object]

CALLERS_END_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Window:
    """When answers count, and what those that came in it took."""

    warm_up_s: float
    measure_s: float
    on_edge: Callable[[], None] = lambda: None
    """Called as the window opens and as it closes."""
    counts: bool = False
    over: bool = False
    opened_s: float = 0.0
    closed_s: float = 0.0
    took_s: list[float] = field(default_factory=list)

    @property
    def lasted_s(self) -> float:
        return self.closed_s - self.opened_s

    def run(self) -> Iterator[float]:
        """Opens and closes; yields how long to wait before it is asked on."""
        yield self.warm_up_s
        self.on_edge()
        self.counts, self.opened_s = True, time.perf_counter()
        yield self.measure_s
        self.counts, self.closed_s = False, time.perf_counter()
        self.on_edge()
        self.over = True


async def by_tasks(calls: list[Call], window: Window) -> None:
    """Runs each call as a task over and over; the first that fails ends all, with its error."""

    async def timer() -> None:
        for wait_s in window.run():
            await asyncio.sleep(wait_s)

    async with asyncio.TaskGroup() as group:
        group.create_task(timer())
        for call in calls:
            group.create_task(_ask(call, window))


async def _ask(call: Call, window: Window) -> None:
    while not window.over:
        asked_s = time.perf_counter()
        await call()
        if window.counts:
            window.took_s.append(time.perf_counter() - asked_s)


def by_threads(calls: list[BlockingCall], window: Window) -> None:
    """Runs each call in a thread over and over; the first error is raised when all have ended."""
    errors: list[Exception] = []

    def ask(call: BlockingCall) -> None:
        try:
            while not window.over:
                asked_s = time.perf_counter()
                call()
                if window.counts:
                    window.took_s.append(time.perf_counter() - asked_s)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for wait_s in window.run():
        time.sleep(wait_s)
    for thread in threads:
        thread.join(CALLERS_END_TIMEOUT_S)
        if thread.is_alive():
            raise TimeoutError(f"a caller got no answer in {CALLERS_END_TIMEOUT_S:g} s")
    if errors:
        raise errors[0]
