"""Owns what a fork of the process means to gRPC: no thread is inside it then, or the child is told.

gRPC prepares itself for a fork only while no other thread is inside it. Else the child inherits it
in the middle of something, and its calls wait for ever or kill it. Inside are not only those who
call: each open stream has a thread of gRPC's that waits there, and goes on for a moment after the
stream was cancelled and its reader has left. So all who use gRPC for a client of threads pass
through the gate: a fork closes it, cancels the streams, and waits until every thread is out. Calls
under way get their time. If a thread stays, this client's or that of other users of gRPC, the child
is refused gRPC in words.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import weakref
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from statehouse_sdk.errors import StatehouseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

WAIT_S: Final = 1.0
"""How long a fork waits for the threads inside."""

LOOK_EVERY_S: Final = 0.001

_OFF: Final = ("0", "f", "false", "n", "no")
"""What switches gRPC's preparations off, as the value of GRPC_ENABLE_FORK_SUPPORT."""

_OF_ASYNCIO: Final = ("grpc._cython.cygrpc.AioChannel", "grpc._cython.cygrpc.AioServer")
"""What keeps gRPC's thread for asyncio running, as gRPC names it."""


class Gate:
    """Who is inside gRPC, and whether one may enter; thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: Counter[int] = Counter()
        self._streams: weakref.WeakSet[Any] = weakref.WeakSet()
        self._forking: int | None = None
        self._cancelling = False
        """A fork has looked for streams, and cancels them."""
        self._prepared = True
        self._registered = False
        self.lost = False
        """Whether gRPC did not come over the fork that made this process."""

    def check(self) -> None:
        """Raises StatehouseError where gRPC is lost."""
        if self.lost:
            raise StatehouseError(
                "gRPC did not survive the fork that made this process, for it was in use by a"
                " thread that did not leave it in time; start processes by spawn or forkserver, or"
                " fork before the first call"
            )

    @contextmanager
    def passage(self) -> Iterator[None]:
        """To be inside gRPC; waits while another thread forks. Raises as `check`."""
        self.check()
        me = threading.get_ident()
        with self._changed:
            while self._forking not in (None, me) and me not in self._inside:
                self._changed.wait()
            self._inside[me] += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside[me] -= 1
                if not self._inside[me]:
                    del self._inside[me]
                if not self._registered:
                    self._register()

    def opened(self, stream: Any) -> None:
        """This stream has been opened, by one who is inside: a fork has to cancel it."""
        with self._changed:
            self._streams.add(stream)
            too_late = self._cancelling
        if too_late:
            # The fork began after the opener had entered.
            stream.cancel()

    def end(self, end: Callable[[], object]) -> None:
        """Lets something of gRPC's go; where gRPC is lost, so is that."""
        if not self.lost:
            with self.passage():
                end()

    def before_fork(self) -> None:
        """Ends with every thread outside, or knowing that one is not."""
        with self._changed:
            while self._forking is not None:
                self._changed.wait()
            self._forking = threading.get_ident()
        if _hopeless():
            self._prepared = False
            return
        with self._changed:
            self._cancelling = True
            streams = list(self._streams)
        for stream in streams:
            stream.cancel()
        deadline_s = time.monotonic() + WAIT_S
        with self._changed:
            while not (empty := self._empty()) and time.monotonic() < deadline_s:
                self._changed.wait(LOOK_EVERY_S)
        self._prepared = empty

    def after_in_parent(self) -> None:
        """Lets those who wait enter."""
        with self._changed:
            self._forking, self._cancelling = None, False
            self._changed.notify_all()

    def after_in_child(self) -> None:
        """Begins anew: the other threads, and what they held, are not here."""
        self.lost = self.lost or not self._prepared
        self._changed = threading.Condition()
        self._inside.clear()
        self._streams.clear()
        self._forking, self._cancelling = None, False

    def _register(self) -> None:
        # Only now, after the first channel: with GRPC_ENABLE_FORK_SUPPORT=1 gRPC has registered a
        # wait for its threads with it, and who registers last comes first.
        self._registered = True
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self.before_fork,
                after_in_parent=self.after_in_parent,
                after_in_child=self.after_in_child,
            )

    def _empty(self) -> bool:
        if self._inside or _asyncio_polls():
            return False
        # Of its own threads gRPC tells nothing, but Python knows in which code each thread is.
        me = threading.get_ident()
        # Named "debugging" in Python's manual; in CPython, which gRPC needs, it is always there.
        frames = sys._current_frames()
        return not any(_in_grpc(frame) for ident, frame in frames.items() if ident != me)


def _hopeless() -> bool:
    """Whether a fork cannot be prepared for, however long one waits."""
    if os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "").lower() in _OFF:
        return True
    if not _asyncio_polls():
        return False
    # What is closed but still garbage holds the thread too; once that is gone, the thread ends.
    gc.collect()
    if gc.get_freeze_count():
        # What was frozen is not listed.
        return _asyncio_polls()
    kinds = {type(thing) for thing in gc.get_objects()}
    return any(f"{kind.__module__}.{kind.__name__}" in _OF_ASYNCIO for kind in kinds)


def _asyncio_polls() -> bool:
    """Whether gRPC's thread for asyncio runs: it is inside while there are channels, closed or not.

    No frame of Python's shows that, but a thread is called after its function.
    """
    return any("_poll_wrapper" in thread.name for thread in threading.enumerate())


def _in_grpc(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] == "grpc":
            return True
        frame = frame.f_back
    return False


gate: Final = Gate()
"""The one of this process."""
