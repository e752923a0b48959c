"""Owns when a transaction that met a conflict runs again; pure: the time and a jitter go in."""

from __future__ import annotations

from typing import Final

from statehouse_sdk.errors import InvalidRequestError

TRANSACT_ATTEMPTS: Final = 16
CONFLICT_PAUSE_FIRST_S: Final = 0.005
CONFLICT_PAUSE_MAX_S: Final = 0.5


class Reruns:
    """The runs of one `transact`: at most so many, and none that would begin after the deadline."""

    def __init__(self, attempts: int, deadline_s: float) -> None:
        if attempts < 1:
            raise InvalidRequestError(f"attempts is {attempts}; at least one is needed")
        self._left = attempts
        self._deadline_s = deadline_s
        self._pause_s = CONFLICT_PAUSE_FIRST_S

    def pause_s(self, now_s: float, jitter: float) -> float | None:
        """How long to wait after a run that met a conflict; None: it was the last one."""
        self._left -= 1
        wait_s = self._pause_s * jitter
        if self._left == 0 or now_s + wait_s >= self._deadline_s:
            return None
        self._pause_s = min(2 * self._pause_s, CONFLICT_PAUSE_MAX_S)
        return wait_s
