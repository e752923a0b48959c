"""Owns the straight way of a call: one attempt before which there is nothing to decide.

The leader is known and well, its link stands, its stream takes calls: so nearly every commit and
get just leaves, and its answer comes, without a plan (plans.py). A plan is made where there is none
of this, or where it went wrong: then it is told of the attempt that failed, and decides as of any
other. Nothing is decided here, and nothing awaited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statehouse_sdk import faults

if TYPE_CHECKING:
    from statehouse_sdk.links import Link


class Straight:
    """One call on its straight way; afterwards `error` says what became of it, if no answer."""

    __slots__ = ("error", "kind", "link", "request", "started_s", "timeout_s")

    def __init__(self, link: Link, kind: str, started_s: float, timeout_s: float) -> None:
        self.link = link
        self.kind = kind
        self.started_s = started_s
        self.timeout_s = timeout_s
        self.request = b""
        self.error: Exception | None = None

    def answer(self, reply: Any) -> Any:
        """What the reply holds; None if it is a refusal, which then is the error."""
        if reply.HasField("error"):
            self.error = faults.refusal_of(reply.error, reply.code, self.link.address)
            return None
        return getattr(reply, self.kind)
