"""Owns the op ids of one client: who it is, which sequences are open, what it will never ask again.

An op id stays open until its outcome is known to the program (or the program dropped the
transaction). `acknowledged_through` is the last sequence below the lowest open one: the cluster may
forget the receipts up to there. When the cluster has forgotten the client itself, `renew` starts a
new identity. Thread-safe; knows nothing of the wire.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from typing import Final, NamedTuple

CLIENT_ID_BYTES: Final = 16


class Identity:
    """One client id and its sequences. Its owner, `OpIds`, guards it."""

    def __init__(self, born_at: int) -> None:
        self.client_id = secrets.token_bytes(CLIENT_ID_BYTES)
        self.born_at = born_at
        self.acknowledged_through = 0
        self._last = 0
        self._closed: set[int] = set()

    def open(self) -> int:
        self._last += 1
        return self._last

    def close(self, sequence: int) -> None:
        closed = self._closed
        if sequence == self.acknowledged_through + 1 and not closed:
            self.acknowledged_through = sequence
            return
        if sequence <= self.acknowledged_through:
            return
        closed.add(sequence)
        while self.acknowledged_through + 1 in closed:
            self.acknowledged_through += 1
            closed.remove(self.acknowledged_through)


class Op(NamedTuple):
    """One op id, open until it is closed."""

    identity: Identity
    sequence: int


class OpIds:
    """Hands out op ids. `born_at`, a commit_ts the cluster had reached, is told to `begin`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._identity: Identity | None = None
        self._forgotten = False
        self._dropped: deque[Op] = deque()

    @property
    def was_forgotten(self) -> bool:
        """Whether the cluster has forgotten an identity of this client, now or ever."""
        return self._forgotten

    @property
    def needs_birth(self) -> bool:
        """Whether `begin` must be called before `open`."""
        return self._identity is None

    def begin(self, born_at: int) -> None:
        """Makes an identity; without effect when another thread was faster."""
        with self._lock:
            if self._identity is None:
                self._identity = Identity(born_at)

    def open(self) -> Op | None:
        """A new op id; None when there is no identity: call `begin` first."""
        with self._lock:
            self._close_dropped()
            if self._identity is None:
                return None
            return Op(self._identity, self._identity.open())

    def acknowledged_through(self, op: Op) -> int:
        """What may be forgotten as this op is sent; always below its own sequence."""
        if self._dropped:
            with self._lock:
                self._close_dropped()
        return op.identity.acknowledged_through

    def close(self, op: Op) -> None:
        """The outcome is known; nobody will ask about this op id again."""
        with self._lock:
            op.identity.close(op.sequence)

    def drop(self, op: Op) -> None:
        """As `close`, from a finalizer: these run at any point, so they must not take a lock."""
        self._dropped.append(op)

    def renew(self, forgotten: Identity) -> None:
        """The cluster has forgotten this identity; the next `open` needs a new one."""
        with self._lock:
            self._forgotten = True
            if self._identity is forgotten:
                self._identity = None

    def _close_dropped(self) -> None:
        while self._dropped:
            op = self._dropped.popleft()
            op.identity.close(op.sequence)
