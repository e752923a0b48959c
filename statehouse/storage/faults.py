"""Owns how the store fails: refused before it is used, or failed for good while it is."""

from __future__ import annotations

from typing import Final

REPLACE_MEMBER: Final = "remove this member and add a new one with an empty data directory"
"""What to do about a store that cannot be trusted: its data is on the other members."""


class StoreRefused(Exception):
    """These files are not used: the text names them, says why, and what to do."""


class StoreFailed(Exception):
    """Reading or writing the database failed: what is on disk is unknown, the node must stop.

    Nothing is retried; a new start opens the database again and replays the journal.
    """


class RowLost(StoreFailed):
    """A row that another names is not in the database."""
