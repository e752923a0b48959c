"""Owns what views ask of a table of rows, so that they can be tested on another than RocksDB's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from statehouse.core.keys import Table

Row = tuple[bytes, bytes]
"""A key and what it holds."""


class Rows(Protocol):
    """Ordered tables. An iterator sees at least what was written before it was made."""

    def get(self, table: Table, key: bytes) -> bytes | None:
        """One row."""

    def some(
        self, table: Table, keys: Iterable[bytes], backward: bool = False
    ) -> Iterator[bytes | None]:
        """As `get` of each key, lazily; it is for keys that ascend (backward: descend) closely."""

    def first(self, table: Table, key: bytes) -> Row | None:
        """The row with the least key that is not below `key`."""

    def last(self, table: Table, key: bytes) -> Row | None:
        """The row with the greatest key that is not above `key`."""

    def forward(self, table: Table, start: bytes, prefix: bytes) -> Iterator[Row]:
        """Rows from `start` up, while their keys begin with `prefix`; lazily."""

    def batches(self, table: Table, start: bytes, prefix: bytes) -> Iterator[list[Row]]:
        """As `forward`, a few rows in each list, which is the caller's and never empty.

        For who walks far: it costs a third less. start: begins with `prefix`.
        """

    def backward(self, table: Table, start: bytes, prefix: bytes) -> Iterator[Row]:
        """Rows from `start` down, while their keys begin with `prefix`; lazily."""
