"""Owns the breaking off of streams whose node has gone quiet; knows no gRPC, only a `cancel`.

gRPC has a deadline for a whole stream, which may rightly take hours, but none for its next message.
One thread serves all streams of a client and runs only while there are any.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

CHECK_EVERY_S: Final = 0.25


class Watched:
    """One stream. The time counts only inside ``with``: a slow consumer is no stall."""

    def __init__(self, cancel: Callable[[], object], quiet_s: float | None) -> None:
        self._cancel = cancel
        self._quiet_s = quiet_s
        self._waiting_since_s: float | None = None
        self.broken_off = False

    def __enter__(self) -> None:
        self._waiting_since_s = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._waiting_since_s = None

    def check(self, now_s: float) -> None:
        """Breaks the stream off if it has waited too long."""
        since_s = self._waiting_since_s
        if self._quiet_s is None or since_s is None or now_s - since_s < self._quiet_s:
            return
        self.broken_off = True
        self._cancel()


class StallWatch:
    """The watched streams and their thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._streams: set[Watched] = set()
        self._running = False

    def add(self, cancel: Callable[[], object], quiet_s: float | None) -> Watched:
        """Watches a stream until `remove`; `quiet_s` None: only keeps its book."""
        watched = Watched(cancel, quiet_s)
        if quiet_s is None:
            return watched
        with self._changed:
            self._streams.add(watched)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="statehouse-stalls", daemon=True).start()
        return watched

    def remove(self, watched: Watched) -> None:
        """Ends the watch; the last one to go ends the thread."""
        with self._changed:
            self._streams.discard(watched)
            if not self._streams:
                self._changed.notify_all()

    def close(self) -> None:
        """Forgets all streams."""
        with self._changed:
            self._streams.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._streams:
                    self._running = False
                    return
                self._changed.wait(CHECK_EVERY_S)
                streams = list(self._streams)
            now_s = time.monotonic()
            for watched in streams:
                watched.check(now_s)
