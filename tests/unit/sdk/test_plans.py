"""Both drivers take a plan's steps alike: values go in, errors go in, the result comes out."""

from __future__ import annotations

import asyncio

import pytest
from statehouse_sdk.plans import carry_out, carry_out_awaiting


def in_a_thread(plan, take):
    return carry_out(plan, take)


def on_a_loop(plan, take):
    async def awaited(step):
        await asyncio.sleep(0)
        return take(step)

    return asyncio.run(carry_out_awaiting(plan, awaited))


@pytest.fixture(params=[in_a_thread, on_a_loop])
def drive(request):
    return request.param


def doubled(step):
    if step < 0:
        raise KeyError(step)
    return 2 * step


def test_steps_are_taken_until_there_is_a_result(drive):
    def plan():
        first = yield 1
        second = yield first
        return [first, second]

    assert drive(plan(), doubled) == [2, 4]


def test_a_plan_without_steps_has_a_result_too(drive):
    def plan():
        return 7
        yield

    assert drive(plan(), doubled) == 7


def test_what_a_step_raises_is_raised_where_it_was_asked_for(drive):
    def plan():
        try:
            yield -1
        except KeyError as error:
            return (yield -error.args[0])

    assert drive(plan(), doubled) == 2


def test_what_a_plan_does_not_catch_comes_out_as_it_is(drive):
    cleared = []

    def plan():
        try:
            yield -1
        finally:
            cleared.append("away")

    with pytest.raises(KeyError) as caught:
        drive(plan(), doubled)
    assert caught.value.__context__ is None
    assert cleared == ["away"]


def test_a_plan_may_replace_an_error_without_a_trace_of_it(drive):
    def plan():
        try:
            yield -1
        except KeyError:
            raise ValueError("in other words") from None

    with pytest.raises(ValueError, match="other words") as caught:
        drive(plan(), doubled)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_reaches_the_plan_and_goes_on(interruption):
    seen = []

    def plan():
        try:
            yield 1
        except BaseException as error:
            seen.append(type(error))
            raise

    def take(step):
        raise interruption

    with pytest.raises(interruption):
        carry_out(plan(), take)
    assert seen == [interruption]


def test_a_cancelled_task_reaches_the_plan_and_goes_on():
    seen = []

    def plan():
        try:
            yield 1
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def whole():
        task = asyncio.create_task(carry_out_awaiting(plan(), lambda step: asyncio.sleep(60)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(whole())
    assert seen == ["cancelled"]
