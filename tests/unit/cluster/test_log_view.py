"""The cache of entries holds what was used last, and no more than it may."""

from __future__ import annotations

from statehouse_cluster.log_view import EntryCache, LogEntry


def entry(index: int, payload: bytes = b"x" * 744) -> LogEntry:
    """One that counts for a thousand bytes, payload and objects."""
    return LogEntry(payload, index, 1)


def test_what_was_not_used_for_longest_goes_first():
    cache = EntryCache(3000)
    for index in (1, 2, 3):
        cache.put(entry(index))
    assert cache.get(1) == entry(1)
    cache.put(entry(4))
    assert [cache.get(index) for index in (1, 2, 3, 4)] == [entry(1), None, entry(3), entry(4)]
    assert cache.bytes_held == 3000


def test_an_entry_put_again_takes_the_place_of_the_former():
    cache = EntryCache(3000)
    for payload in (b"", b"old", b"new"):
        cache.put(entry(1, payload))
    assert cache.get(1) == entry(1, b"new")
    assert cache.bytes_held == 256 + 3


def test_an_entry_larger_than_the_cache_is_not_kept():
    cache = EntryCache(2000)
    cache.put(entry(1))
    cache.put(entry(2, bytes(5000)))
    assert cache.get(2) is None
    assert cache.bytes_held == 0


def test_only_entries_within_the_range_are_kept():
    cache = EntryCache(10_000)
    for index in range(1, 9):
        cache.put(entry(index))
    cache.keep(range(3, 6))
    assert [index for index in range(1, 9) if cache.get(index)] == [3, 4, 5]
    assert cache.bytes_held == 3000
