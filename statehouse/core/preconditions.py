"""Owns what it means for a precondition to hold of a key's last version. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse.core.model import Conflict, Expectation, Kind, Precondition

if TYPE_CHECKING:
    from statehouse.core.codec import Latest

_VERSION, _ABSENT = Expectation.VERSION.value, Expectation.ABSENT.value
_TOMBSTONE = Kind.TOMBSTONE.value


def conflict_of(precondition: Precondition, latest: Latest | None) -> Conflict | None:
    """What was found instead of what was expected; None when it holds."""
    version, commit_ts, exists = 0, 0, False
    if latest is not None:
        version, commit_ts, exists = latest[0], latest[1], latest[2] != _TOMBSTONE
    if precondition.expectation == _VERSION:
        holds = version == precondition.number
    elif precondition.expectation == _ABSENT:
        holds = not exists
    else:
        holds = commit_ts <= precondition.number
    return None if holds else Conflict(precondition, version, commit_ts, exists)
