"""Owns waiting: which file descriptors the raft thread watches, and how another thread wakes it.

One `Poller` belongs to one thread; only `Wakeup.set` may be called from others. Events that epoll
returned together are one batch: a callback that was removed or replaced by an earlier callback of
its batch is not called for the old event, even when the kernel gave its number to a new file.
Level-triggered: what a callback leaves unread comes again. Must not know what a descriptor is for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
from collections.abc import Callable
from typing import Final

READ: Final = 1
WRITE: Final = 2
ERROR: Final = 4
"""The other side is gone or the descriptor failed; reported without being asked for."""

EventCallback = Callable[[int, int], None]
"""Called with the descriptor and a mask of READ, WRITE and ERROR."""

_GONE: Final = (errno.EBADF, errno.ENOENT, errno.EPERM)


class _Registration:
    """Compared by identity: a second subscription of a descriptor is another registration."""

    __slots__ = ("callback", "mask")

    def __init__(self, callback: EventCallback, mask: int) -> None:
        self.callback = callback
        self.mask = mask


class Poller:
    """A set of watched descriptors; an exception of a callback leaves through `poll`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._registered: dict[int, _Registration] = {}

    def subscribe(self, descriptor: int, callback: EventCallback, mask: int) -> None:
        """Watches a descriptor; replaces an earlier subscription of the same number."""
        try:
            self._epoll.register(descriptor, _epoll_mask(mask))
        except FileExistsError:
            self._epoll.modify(descriptor, _epoll_mask(mask))
        self._registered[descriptor] = _Registration(callback, mask)

    def modify(self, descriptor: int, mask: int) -> None:
        """Changes what a subscribed descriptor is watched for; KeyError if it is not subscribed."""
        registration = self._registered[descriptor]
        if registration.mask != mask:
            self._epoll.modify(descriptor, _epoll_mask(mask))
            registration.mask = mask

    def unsubscribe(self, descriptor: int) -> None:
        """Ends watching a descriptor; nothing if it is not watched. Call it before closing."""
        if self._registered.pop(descriptor, None) is None:
            return
        try:
            self._epoll.unregister(descriptor)
        except OSError as error:
            if error.errno not in _GONE:
                raise

    def poll(self, timeout_s: float) -> None:
        """Waits for events, at most timeout_s seconds, and calls back for one batch of them."""
        events = self._epoll.poll(max(0.0, timeout_s))
        batch = [
            (descriptor, mask, self._registered.get(descriptor)) for descriptor, mask in events
        ]
        for descriptor, mask, registration in batch:
            if registration is not None and self._registered.get(descriptor) is registration:
                registration.callback(descriptor, _mask(mask))

    def close(self) -> None:
        """Ends all watching; the descriptors stay open."""
        self._registered.clear()
        self._epoll.close()


class WaitGate:
    """A poller's `poll` with a say before it: what ended is handed out first, and with work left
    it does not wait."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self.before_wait: Callable[[], bool] = lambda: False
        """Called before each wait; True: there is work left."""

    def poll(self, timeout_s: float) -> None:
        """As `Poller.poll`."""
        self._poller.poll(0.0 if self.before_wait() else timeout_s)


class Wakeup:
    """Wakes the thread that polls: any number of `set` before it looks make one call."""

    def __init__(self, poller: Poller, on_wake: Callable[[], None]) -> None:
        self._poller = poller
        self._on_wake = on_wake
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._closed = False
        poller.subscribe(self._descriptor, self._on_event, READ)

    def set(self) -> None:
        """Makes `on_wake` be called in the next poll; from any thread; nothing once closed."""
        # The lock keeps a late caller from writing to a number that another file has by then; a
        # counter that is full is as good as set.
        with self._lock, contextlib.suppress(BlockingIOError):
            if not self._closed:
                os.eventfd_write(self._descriptor, 1)

    def close(self) -> None:
        """Ends it; on the thread that polls. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._poller.unsubscribe(self._descriptor)
            os.close(self._descriptor)

    def _on_event(self, descriptor: int, _mask: int) -> None:
        # Taken back before the call: what is set during the call wakes again.
        os.eventfd_read(descriptor)
        self._on_wake()


def _epoll_mask(mask: int) -> int:
    return (select.EPOLLIN if mask & READ else 0) | (select.EPOLLOUT if mask & WRITE else 0)


def _mask(epoll_mask: int) -> int:
    return (
        (READ if epoll_mask & select.EPOLLIN else 0)
        | (WRITE if epoll_mask & select.EPOLLOUT else 0)
        | (ERROR if epoll_mask & (select.EPOLLERR | select.EPOLLHUP) else 0)
    )
