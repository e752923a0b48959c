from __future__ import annotations

import asyncio
import threading

import pytest

from statehouse.pulse import Pulse, PulsingMachine


def test_a_waiter_whose_condition_holds_does_not_wait():
    async def scenario():
        await Pulse(asyncio.get_running_loop()).wait_until(lambda: True)

    asyncio.run(scenario())


def test_a_pulse_from_another_thread_makes_every_waiter_look_again():
    async def scenario():
        pulse = Pulse(asyncio.get_running_loop())
        reached = 0
        waiters = [
            asyncio.create_task(pulse.wait_until(lambda goal=goal: reached >= goal))
            for goal in (1, 1, 2)
        ]
        await asyncio.sleep(0)
        reached = 1
        threading.Thread(target=pulse.send).start()
        async with asyncio.timeout(10):
            await asyncio.wait(waiters[:2])
        assert not waiters[2].done()
        reached = 2
        pulse.send()
        async with asyncio.timeout(10):
            await waiters[2]

    asyncio.run(scenario())


def test_a_condition_that_refuses_ends_the_wait():
    async def scenario():
        def refuse():
            raise LookupError

        with pytest.raises(LookupError):
            await Pulse(asyncio.get_running_loop()).wait_until(refuse)

    asyncio.run(scenario())


def test_a_send_after_the_loop_has_closed_is_harmless():
    async def scenario():
        pulse = Pulse(asyncio.get_running_loop())
        task = asyncio.create_task(pulse.wait_until(lambda: False))
        await asyncio.sleep(0)
        return pulse, task

    loop = asyncio.new_event_loop()
    pulse, task = loop.run_until_complete(scenario())
    pulse.send()
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()
    pulse._waiters = 1
    pulse.send()


class Machine:
    position = configuration = group = sync = prepare_checkpoint = checkpoint = None

    def __init__(self):
        self.calls = []

    def apply(self, entries, position, configuration):
        self.calls.append("apply")
        return ["result"]

    def install(self, directory):
        self.calls.append("install")


class CountingPulse:
    def __init__(self):
        self.sent = 0

    def send(self):
        self.sent += 1


def test_a_machine_pulses_after_it_applied_or_installed():
    machine, pulse = Machine(), CountingPulse()
    pulsing = PulsingMachine(machine, pulse)
    assert pulsing.apply(["entry"], None, None) == ["result"]
    assert pulse.sent == 1
    pulsing.apply([], None, None)
    assert pulse.sent == 1
    pulsing.install(None)
    assert pulse.sent == 2
    assert machine.calls == ["apply", "apply", "install"]
