"""Owns how rows become bounded messages: by bytes and by count, yielding to other calls between.

A row that is None is a breath: the walk has looked at many rows and found nothing to tell, and only
gives others their turn. No breath is ever counted or told; but where a client waits for a page, one
is sent now and then as far as it is, even empty, so that long looking is not taken for a lost node.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, TypeVar

from statehouse.core import limits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator

Row = TypeVar("Row")

_ROW_OVERHEAD_BYTES = 32

QUIET_S = 0.5
"""How long a client may wait for a page while rows are looked at; it leaves after 1.5 s."""


async def chunked(
    rows: Iterable[Row | None], size: Callable[[Row], int], quiet_s: float = math.inf
) -> AsyncGenerator[list[Row], None]:
    """Lists of rows, none empty; `size` is a row's bytes without its fixed fields.

    A list ends with the row that reaches CHUNK_BYTES_MAX or CHUNK_ROWS_MAX, so a message of it
    holds at most that and one row more. At a breath, `quiet_s` after the last, it ends as it is.
    """
    clock = asyncio.get_running_loop().time
    told_at_s = clock()
    chunk: list[Row] = []
    size_bytes = 0
    for row in rows:
        if row is None:
            await asyncio.sleep(0)
            if clock() - told_at_s >= quiet_s:
                yield chunk
                chunk, size_bytes, told_at_s = [], 0, clock()
            continue
        chunk.append(row)
        size_bytes += size(row) + _ROW_OVERHEAD_BYTES
        if size_bytes >= limits.CHUNK_BYTES_MAX or len(chunk) >= limits.CHUNK_ROWS_MAX:
            yield chunk
            await asyncio.sleep(0)
            chunk, size_bytes, told_at_s = [], 0, clock()
    if chunk:
        yield chunk


async def pages(
    rows: Iterable[Row | None], size: Callable[[Row], int]
) -> AsyncGenerator[list[Row], None]:
    """Those lists, one for each message; an answer without rows is one empty list.

    While nothing is found, lists as short as they are, even empty, say that it goes on.
    """
    empty = True
    async for chunk in chunked(rows, size, QUIET_S):
        empty = False
        yield chunk
    if empty:
        yield []


def at_most(rows: Iterable[Row | None], count: int) -> Iterator[Row | None]:
    """The first `count` rows and the breaths between them; 0: all. Asks for no row too many."""
    told = 0
    for row in rows:
        yield row
        told += row is not None
        if count and told == count:
            return
