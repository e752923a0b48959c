"""Owns what the engine asks of a store and what it hands back: point reads in, rows out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from statehouse.core.codec import Head
    from statehouse.core.keys import Table


class View(Protocol):
    """The stored state before an apply; it does not change while the apply runs."""

    def head(self) -> Head:
        """Where the history stands."""

    def get(self, table: Table, key: bytes) -> bytes | None:
        """One row."""

    def first(self, table: Table, key: bytes) -> tuple[bytes, bytes] | None:
        """The row with the least key that is not below `key`, and that key."""


Put = tuple["Table", bytes, bytes]
Delete = tuple["Table", bytes]


class Effects(NamedTuple):
    """What an apply changes: to be written as one, puts in order, no key both put and deleted."""

    puts: list[Put]
    deletes: list[Delete]
    head: Head
