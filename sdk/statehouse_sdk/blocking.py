"""Owns the taking of a plan's steps in the caller's thread: a session that blocks.

All decisions are those of session.py; this file only sends and waits.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from statehouse_sdk import process
from statehouse_sdk.errors import StatehouseError
from statehouse_sdk.linked_session import LinkedSession
from statehouse_sdk.links import Ask, Invoke
from statehouse_sdk.plans import Next, Open, Pause, Plan, Result, Tell, Telling, carry_out
from statehouse_sdk.session import METHODS, MUST_BE_SURE, MUST_NOT_REPEAT
from statehouse_sdk.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statehouse_sdk.config import ClientConfig
    from statehouse_sdk.straight import Straight


class BlockingSession(LinkedSession):
    """The channels, knowledge and op ids of one client in one process; thread-safe."""

    def __init__(self, config: ClientConfig) -> None:
        super().__init__(config)
        self._transport: Transport = Transport()

    def run(self, plan: Plan[Result]) -> Result:
        """The plan's result, when it is there."""
        return carry_out(plan, self._take)

    def iterate(self, plan: Telling) -> Iterator[Any]:
        """What the plan tells, as it is asked for; ended early, it closes the plan."""
        try:
            step = next(plan)
            while True:
                if isinstance(step, Tell):
                    yield from step.items
                    step = plan.send(None)
                    continue
                try:
                    told = self._take(step)
                except BaseException as error:
                    step = plan.throw(error)
                else:
                    step = plan.send(told)
        except StopIteration:
            return
        finally:
            plan.close()

    def close(self) -> None:
        """Closes the channels; calls under way fail."""
        self._transport.close()

    def go_straight(self, straight: Straight) -> Any:
        """The answer; None when there is none: then `straight` says why, to the plan."""
        link: Any = straight.link
        try:
            reply = link.exchange().ask(straight.kind, straight.request, straight.timeout_s)
        except Exception as error:
            straight.error = error
            return None
        return self._answer(straight, reply)

    def _take(self, step: Ask | Invoke | Open | Next | Pause) -> Any:
        if self.pid != process.current:
            raise StatehouseError(
                f"this was begun by process {self.pid} and cannot go on after a fork; ask anew"
            )
        if isinstance(step, Ask | Invoke):
            return step.link.take(step)
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
            return next(step.stream, None)
        time.sleep(step.wait_s)
        return None
