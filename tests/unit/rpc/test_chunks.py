from __future__ import annotations

import asyncio

from statehouse.core import limits
from statehouse.rpc.chunks import chunked


def gathered(rows, size):
    async def gather():
        return [chunk async for chunk in chunked(rows, size)]

    return asyncio.run(gather())


def test_no_rows_make_no_chunk():
    assert gathered([], len) == []


def test_rows_come_in_their_order_and_all_of_them():
    rows = [b"x" * (n % 7) for n in range(3 * limits.CHUNK_ROWS_MAX + 1)]
    chunks = gathered(rows, len)
    assert [row for chunk in chunks for row in chunk] == rows
    assert all(0 < len(chunk) <= limits.CHUNK_ROWS_MAX for chunk in chunks)


def test_a_chunk_ends_with_the_row_that_fills_it():
    big = b"x" * limits.CHUNK_BYTES_MAX
    assert [len(chunk) for chunk in gathered([b"", big, b"", big, big], len)] == [2, 2, 1]


def test_others_run_between_chunks():
    async def scenario():
        turns = 0

        async def other():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        rows = [b""] * (10 * limits.CHUNK_ROWS_MAX)
        count = len([chunk async for chunk in chunked(rows, len)])
        task.cancel()
        assert turns >= count - 1

    asyncio.run(scenario())
