"""Owns the taking of a plan's steps on an event loop: a session that awaits.

All decisions are those of session.py; this file only sends and waits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from statehouse_sdk.async_transport import AsyncLink, AsyncStream, AsyncTransport
from statehouse_sdk.linked_session import LinkedSession
from statehouse_sdk.links import Ask, Invoke
from statehouse_sdk.plans import (
    Next,
    Open,
    Pause,
    Plan,
    Result,
    Tell,
    Telling,
    carry_out_awaiting,
)
from statehouse_sdk.session import METHODS, MUST_BE_SURE, MUST_NOT_REPEAT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    from statehouse_sdk.config import ClientConfig
    from statehouse_sdk.straight import Straight


class AwaitingSession(LinkedSession):
    """The channels, knowledge and op ids of one client; belongs to one event loop."""

    def __init__(self, config: ClientConfig) -> None:
        super().__init__(config)
        self._transport: AsyncTransport = AsyncTransport()

    def run(self, plan: Plan[Result]) -> Awaitable[Result]:
        """The plan's result, when it is there."""
        return carry_out_awaiting(plan, self._take)

    async def iterate(self, plan: Telling) -> AsyncGenerator[Any, None]:
        """What the plan tells, as it is asked for; ended early, it closes the plan."""
        try:
            step = next(plan)
            while True:
                if isinstance(step, Tell):
                    for item in step.items:
                        yield item
                    step = plan.send(None)
                    continue
                try:
                    told = await self._take(step)
                except BaseException as error:
                    step = plan.throw(error)
                else:
                    step = plan.send(told)
        except StopIteration:
            return
        finally:
            plan.close()

    async def close(self) -> None:
        """Closes the channels; calls under way fail."""
        await self._transport.close()

    async def go_straight(self, straight: Straight) -> Any:
        """The answer; None when there is none: then `straight` says why, to the plan."""
        link: Any = straight.link
        try:
            reply = await link.exchange().ask(straight.kind, straight.request, straight.timeout_s)
        except Exception as error:
            straight.error = error
            return None
        return self._answer(straight, reply)

    def _take(self, step: Ask | Invoke | Open | Next | Pause) -> Awaitable[Any]:
        if isinstance(step, Ask):
            link: AsyncLink = step.link
            return link.exchange().ask(step.kind, step.request, step.timeout_s)
        if isinstance(step, Invoke):
            link = step.link
            return link.invoke(step)
        if isinstance(step, Open):
            return self._transport.stream(
                step.address,
                METHODS[step.name],
                step.request,
                step.quiet_s,
                sure=MUST_BE_SURE[step.name],
                anew=MUST_NOT_REPEAT[step.name],
            )
        if isinstance(step, Next):
            stream: AsyncStream = step.stream
            return stream.read()
        return asyncio.sleep(step.wait_s)
