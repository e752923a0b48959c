from __future__ import annotations

import asyncio

from statehouse.core import limits
from statehouse.rpc import chunks
from statehouse.rpc.chunks import at_most, chunked, pages


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


def test_breaths_give_others_their_turn_and_are_never_told():
    async def scenario():
        turns = 0

        async def other():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        rows = [None] * 10 + [b"x"] + [None] * 10
        assert [chunk async for chunk in chunked(rows, len)] == [[b"x"]]
        task.cancel()
        assert turns >= 20

    asyncio.run(scenario())


def test_an_answer_without_rows_is_one_empty_page():
    async def gather(rows):
        return [page async for page in pages(rows, len)]

    assert asyncio.run(gather([])) == [[]]
    assert asyncio.run(gather([None, None])) == [[]]
    assert asyncio.run(gather([b"x"])) == [[b"x"]]


def test_so_many_rows_at_most_count_no_breaths_and_zero_is_all():
    rows = [None, 1, None, 2, 3]
    assert list(at_most(rows, 2)) == [None, 1, None, 2]
    assert list(at_most(rows, 0)) == rows
    assert list(at_most(rows, 9)) == rows
    ending = iter(rows)
    list(at_most(ending, 1))
    assert next(ending) is None


def test_long_looking_is_told_to_who_waits(monkeypatch):
    monkeypatch.setattr(chunks, "QUIET_S", 0.0)

    async def gather(rows):
        return [page async for page in pages(rows, len)]

    assert asyncio.run(gather([None, b"a", b"b", None, None, b"c"])) == [
        [],
        [b"a", b"b"],
        [],
        [b"c"],
    ]
    assert asyncio.run(gather([None])) == [[]]
