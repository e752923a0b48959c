"""Owns how much of the event loop long reads may take while commits are under way.

A replay or a scan is work without end, and each chunk of it holds up whoever wants to commit. So a
long read rests after it worked, for a multiple of that time, as long as there are commits to be
answered; all long reads of a node rest one after another, so that many take no more than one. With
nothing to commit none rests. It must not know what the reads are.
"""

from __future__ import annotations

import asyncio
import types
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

T = TypeVar("T")

REST_FACTOR: Final = 9.0
"""Seconds of rest for a second of work: long reads get a tenth of the time."""

_WORK_S_MIN: Final = 0.001
"""Less work than this is not worth a timer; it is counted with what follows."""


class Pace:
    """The long reads of one node; `busy` tells whether commits are under way."""

    def __init__(self, busy: Callable[[], bool], clock: Callable[[], float]) -> None:
        self._busy = busy
        self._clock = clock
        self._rests_until = 0.0

    def over(
        self, handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """The handlers of a service, those that stream their answers at this pace."""
        return {name: self._over(handler) for name, handler in handlers.items()}

    def _over(self, handler: Any) -> grpc.RpcMethodHandler[Any, Any]:
        answer = handler.unary_stream
        if answer is None:
            paced: grpc.RpcMethodHandler[Any, Any] = handler
            return paced

        async def handle(payload: bytes, context: Any) -> None:
            await self.keep(answer(payload, context))

        return grpc.unary_stream_rpc_method_handler(handle)

    @types.coroutine
    def keep(self, work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        """Carries the work out step by step, resting between its steps."""
        worked_s = 0.0
        told: BaseException | None = None
        while True:
            began = self._clock()
            try:
                awaited = work.send(None) if told is None else work.throw(told)
            except StopIteration as end:
                result: T = end.value
                return result
            worked_s += self._clock() - began
            try:
                yield awaited
                told = None
                if worked_s >= _WORK_S_MIN:
                    rest_s, worked_s = self._rest_s(worked_s), 0.0
                    if rest_s > 0:
                        yield from asyncio.sleep(rest_s).__await__()
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:
                # Whatever is thrown at the waiting, a cancellation above all, is the work's.
                told = error

    def _rest_s(self, worked_s: float) -> float:
        if not self._busy():
            return 0.0
        now = self._clock()
        self._rests_until = max(now, self._rests_until) + worked_s * REST_FACTOR
        return self._rests_until - now
