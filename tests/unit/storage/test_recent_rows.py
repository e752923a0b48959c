"""What was written last is known without a read, and memory is bounded."""

from __future__ import annotations

from statehouse.storage import recent_rows
from statehouse.storage.recent_rows import RecentRows


def test_a_row_is_known_once_it_was_put():
    rows = RecentRows()
    assert rows.get(b"k") is None
    rows.put(b"k", b"1")
    rows.put(b"k", b"2")
    assert rows.get(b"k") == b"2"


def test_what_was_not_asked_for_is_forgotten_and_what_was_stays(monkeypatch):
    monkeypatch.setattr(recent_rows, "ROWS_MAX", 4)
    rows = RecentRows()
    rows.put(b"asked for", b"a")
    rows.put(b"left alone", b"l")
    for number in range(20):
        rows.put(b"%d" % number, b"n")
        assert rows.get(b"asked for") == b"a"
    assert rows.get(b"left alone") is None


def test_a_newer_row_hides_the_older_generation(monkeypatch):
    monkeypatch.setattr(recent_rows, "ROWS_MAX", 2)
    rows = RecentRows()
    rows.put(b"k", b"old")
    rows.put(b"other", b"o")
    rows.put(b"k", b"new")
    assert rows.get(b"k") == b"new"
