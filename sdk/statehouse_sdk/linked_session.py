"""Owns what a session knows of its links, whether it blocks or awaits: one attempt of a call there.

It sends nothing itself, and waits for nothing: blocking.py and awaiting.py do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statehouse_sdk.session import METHODS, MUST_BE_SURE, MUST_NOT_REPEAT, Session

if TYPE_CHECKING:
    from statehouse_sdk.links import Link, Links
    from statehouse_sdk.plans import Plan
    from statehouse_sdk.straight import Straight


class LinkedSession(Session):
    """A session whose calls travel on links; `_transport` is set by who makes them."""

    _transport: Links[Any]

    def call(self, name: str, request: Any, address: str, timeout_s: float) -> Plan[Any]:
        """One attempt of a unary call, its own steps taken by this driver too."""
        transport = self._transport
        return transport.attempt(
            transport.link(address),
            METHODS[name],
            request,
            timeout_s,
            sure=MUST_BE_SURE[name],
            anew=MUST_NOT_REPEAT[name],
        )

    def _answer(self, straight: Straight, reply: Any) -> Any:
        """The answer in a reply on the straight way; None: a refusal, kept for the plan."""
        answer = straight.answer(reply)
        if answer is not None:
            self.went_straight(straight)
        return answer

    def _standing(self, address: str) -> Link | None:
        return self._transport.standing(address)

    def _asked_in_vain(self, tried: Straight, *, sure: bool) -> None:
        if tried.error is not None:
            self._transport.asked_in_vain(tried.link, tried.error, sure=sure)
