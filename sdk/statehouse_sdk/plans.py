"""Owns the words in which the SDK says what it waits for, and the two ways of waiting.

A plan is a generator: it decides, yields a step when something has to be sent or waited for, and is
told what came of it, as a value or as an exception. So whatever decides is written once and waits
for nothing; `carry_out` takes the steps in a thread, `carry_out_awaiting` on an event loop. What a
step means is known to who carries it out (blocking.py, awaiting.py), not here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

Result = TypeVar("Result")


@dataclass(slots=True)
class Pause:
    """Wait so many seconds."""

    wait_s: float


@dataclass(slots=True)
class Call:
    """One attempt of a unary call at this node: its answer, or CallFailed."""

    name: str
    address: str
    request: Any
    timeout_s: float


@dataclass(slots=True)
class Open:
    """One attempt of a streamed call: a stream, broken off when its node is quiet for so long."""

    name: str
    address: str
    request: Any
    quiet_s: float | None


@dataclass(slots=True)
class Next:
    """The next message of an open stream, None at its end; or CallFailed."""

    stream: Any


@dataclass(slots=True)
class Tell:
    """Hands these to the one who iterates; only in plans that are iterated."""

    items: Iterable[Any]


Step = Pause | Call | Open | Next
Plan = Generator[Any, Any, Result]
"""Of steps, and with a result. Whoever gives up a plan closes it, and it lets its streams go."""

Telling = Generator[Any, Any, None]
"""A plan that tells items on its way: of steps and `Tell`s."""


def carry_out(plan: Plan[Result], take: Callable[[Any], Any]) -> Result:
    """The result of a plan whose steps are taken by `take`, which blocks."""
    try:
        step = next(plan)
        while True:
            try:
                told = take(step)
            except BaseException as error:
                step = plan.throw(error)
            else:
                step = plan.send(told)
    except StopIteration as end:
        result: Result = end.value
        return result


async def carry_out_awaiting(plan: Plan[Result], take: Callable[[Any], Awaitable[Any]]) -> Result:
    """The result of a plan whose steps are taken by `take`, which awaits."""
    try:
        step = next(plan)
        while True:
            try:
                told = await take(step)
            except BaseException as error:
                step = plan.throw(error)
            else:
                step = plan.send(told)
    except StopIteration as end:
        result: Result = end.value
        return result
