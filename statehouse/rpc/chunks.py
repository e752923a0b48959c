"""Owns how rows become bounded messages: by bytes and by count, yielding to other calls between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from statehouse.core import limits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

Row = TypeVar("Row")

_ROW_OVERHEAD_BYTES = 32


async def chunked(
    rows: Iterable[Row | None], size: Callable[[Row], int]
) -> AsyncGenerator[list[Row], None]:
    """Lists of rows, none empty; `size` is a row's bytes without its fixed fields.

    A list ends with the row that reaches CHUNK_BYTES_MAX or CHUNK_ROWS_MAX, so a message of it
    holds at most that and one row more. A row that is None only gives others their turn.
    """
    chunk: list[Row] = []
    size_bytes = 0
    for row in rows:
        if row is None:
            await asyncio.sleep(0)
            continue
        chunk.append(row)
        size_bytes += size(row) + _ROW_OVERHEAD_BYTES
        if size_bytes >= limits.CHUNK_BYTES_MAX or len(chunk) >= limits.CHUNK_ROWS_MAX:
            yield chunk
            await asyncio.sleep(0)
            chunk, size_bytes = [], 0
    if chunk:
        yield chunk
