"""What is done to a simulated cluster while it works, and how often.

Each kind of fault comes at the rate that the options of the seed give it, until the world is
healed. This file schedules them and does what befalls processes, disks and clocks; what befalls the
network is in network_faults.py, the changes of members are in member_faults.py.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from tests.simulation.member_faults import MemberFaults
from tests.simulation.network_faults import NetworkFaults
from tests.simulation.options import FAULTS
from tests.simulation.targets import Targets

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.node import SimulatedNode
    from tests.simulation.world import World

_HOUR_US = 3_600_000_000


class Faults:
    """The faults of one run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random
        self._targets = Targets(world)
        self._kinds: dict[str, Callable[[], None]] = {
            "kill": self._kill,
            "kill of all": self._kill_of_all,
            "power loss": self._power_loss,
            "power loss of all": self._power_loss_of_all,
            "crash at an operation": self._crash_at_operation,
            "crash in an install": self._crash_in_install,
            "disk error": self._disk_error,
            "failing sync": self._failing_sync,
            "full disk": self._full_disk,
            "no room for writes": self._no_room,
            "slow disk": self._slow_disk,
            "pause": self._pause,
            "clock jump": self._clock_jump,
            **NetworkFaults(world, self._targets).kinds,
            **MemberFaults(world, self._targets).kinds,
        }
        if set(self._kinds) != set(FAULTS):
            raise ValueError("the options name other kinds of faults")

    def begin(self) -> None:
        for kind in self._world.options.rates:
            self._schedule(kind)

    def _schedule(self, kind: str) -> None:
        delay_s = self._random.expovariate(self._world.options.rates[kind])
        self._world.at(self._world.now + delay_s, lambda: self._strike(kind))

    def _strike(self, kind: str) -> None:
        if self._world.is_healed:
            return
        self._world.count(f"fault: {kind}")
        self._world.trace("fault", kind)
        self._kinds[kind]()
        self._schedule(kind)

    # -- Processes

    def _kill(self) -> None:
        self._for_one(lambda node: self._end(node, node.end))

    def _kill_of_all(self) -> None:
        for node in self._targets.up():
            self._end(node, node.end)

    def _power_loss(self) -> None:
        self._for_one(lambda node: self._end(node, node.lose_power))

    def _power_loss_of_all(self) -> None:
        for node in self._targets.up():
            self._end(node, node.lose_power)

    def _pause(self) -> None:
        self._for_one(lambda node: node.pause(self._until()))

    def _clock_jump(self) -> None:
        """An administrator sets the clock right, or wrong, by minutes or by hours."""

        def jump(node: SimulatedNode) -> None:
            node.clock_ahead_us += int(self._random.uniform(-2.0, 2.5) * _HOUR_US)

        self._for_one(jump)

    # -- Disks

    def _crash_at_operation(self) -> None:
        self._for_one(
            lambda node: node.files.crash_at(
                node.files.operation_count + self._random.randint(1, 60)
            )
        )

    def _crash_in_install(self) -> None:
        """At whoever installs a snapshot next: it may be anyone."""
        for node in self._targets.up():
            node.crash_in_install = self._random.choice(("before", "between", "after"))

    def _disk_error(self) -> None:
        def fail(node: SimulatedNode) -> None:
            number = self._random.choice((errno.EIO, errno.ENOSPC))
            node.files.fail_at(node.files.operation_count + self._random.randint(1, 60), number)

        self._for_one(fail)

    def _failing_sync(self) -> None:
        self._for_one(lambda node: node.files.fail_next_sync(errno.EIO))

    def _full_disk(self) -> None:
        """Clients are refused first, as the reserve would have it; then nothing can be written."""

        def fill(node: SimulatedNode) -> None:
            node.files.is_full, node.has_room = True, False
            self._world.at(self._until(), node.free_disk)

        self._for_one(fill)

    def _no_room(self) -> None:
        def refuse(node: SimulatedNode) -> None:
            node.has_room = False
            self._world.at(self._until(), node.free_disk)

        self._for_one(refuse)

    def _slow_disk(self) -> None:
        def slow(node: SimulatedNode) -> None:
            node.sync_s = self._random.choice((0.02, 0.1, 0.4))

            def mend() -> None:
                node.sync_s = self._world.options.sync_s

            self._world.at(self._until(), mend)

        self._for_one(slow)

    # -- Whom, and for how long

    def _for_one(self, action: Callable[[SimulatedNode], None]) -> None:
        node = self._targets.some_node()
        if node is not None:
            action(node)

    def _end(self, node: SimulatedNode, how: Callable[[], None]) -> None:
        how()
        self._world.restart_later(node)

    def _until(self) -> float:
        return self._world.now + self._random.uniform(0.1, self._world.options.fault_s)
