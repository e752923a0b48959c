"""Owns the op ids under which a node commits the v1 transactions staged on it.

The v1 protocol knows none, so the node is the client: one identity with a random id, sequences from
1, and what it will never ask about again. The randomness is handed in. An identity that the cluster
let go, after an hour without a commit, is replaced by a new one for op ids taken from then on.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Identity:
    """One client of the cluster; `born_at` is a commit_ts it had reached before the first op id."""

    client_id: bytes
    born_at: int
    _last: int = 0
    _open: set[int] = field(default_factory=set)

    def take(self) -> OpId:
        """The next op id; release it once its end is known, or nobody will ask for it."""
        self._last += 1
        self._open.add(self._last)
        return OpId(self, self._last)

    def release(self, sequence: int) -> None:
        self._open.discard(sequence)

    def acknowledged_through(self) -> int:
        """Every sequence up to this one has been released."""
        return min(self._open) - 1 if self._open else self._last


@dataclass(frozen=True, slots=True)
class OpId:
    """One commit's op id."""

    identity: Identity
    sequence: int

    def release(self) -> None:
        self.identity.release(self.sequence)
