"""Owns the order in which what led to a commit is told: nearest first, each commit once. Pure.

Commits at one distance are told from the latest down. What led to a commit came before it, so there
is no way around in circles. However many commits lead to one, no more are kept than may be told. It
must not know what leads to what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Chain:
    """The way back from one commit, as far as it has been gone."""

    def __init__(self, start: int, limit: int) -> None:
        """limit: so many commits are told at most."""
        self._room = limit
        self._known = {start}
        self._here = [start]
        self._beyond: set[int] = set()
        self._distance = 0

    def next(self) -> tuple[int, int] | None:
        """The next commit and its distance from the start; None: all there are were told."""
        if not self._room:
            return None
        if not self._here:
            # Of one distance the latest are told first; there is room for no more than these.
            self._here = sorted(self._beyond)[-self._room :]
            if not self._here:
                return None
            self._known.update(self._here)
            self._beyond.clear()
            self._distance += 1
        self._room -= 1
        return self._here.pop(), self._distance

    def led_by(self, commits: Iterable[int]) -> None:
        """Tells what led to the commit that `next` returned last."""
        self._beyond.update(commit for commit in commits if commit not in self._known)
        if len(self._beyond) > 2 * self._room:
            self._beyond = set(sorted(self._beyond)[-self._room :] if self._room else ())
