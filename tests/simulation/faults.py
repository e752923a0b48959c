"""What is done to a simulated cluster while it works: one function a kind of fault.

Each kind comes at the rate that the options of the seed give it, until the world is healed.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from statehouse_cluster.interfaces import Member
from statehouse_cluster.membership import Change

from tests.simulation.options import FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from statehouse_cluster.interfaces import Outcome
    from statehouse_cluster.raft_adapter import Engine

    from tests.simulation.network import Pair
    from tests.simulation.node import SimulatedNode
    from tests.simulation.world import World

_MEMBERS_MAX = 6
_LEARNER_PATIENCE_S = 6.0


class Faults:
    """The faults of one run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random
        self._learning: str | None = None
        self._kinds: dict[str, Callable[[], None]] = {
            "kill": self._kill,
            "power loss": self._power_loss,
            "power loss of all": self._power_loss_of_all,
            "crash at an operation": self._crash_at_operation,
            "disk error": self._disk_error,
            "pause": self._pause,
            "partition": self._partition,
            "isolated leader": self._isolated_leader,
            "leader cut off with a follower": self._cut_off_leader,
            "clog": self._clog,
            "broken connections": self._broken_connections,
            "add a member": lambda: self._add(seeded=True),
            "add a member unseeded": lambda: self._add(seeded=False),
            "remove a member": self._remove,
            "replace a member": self._replace,
            "two changes at once": self._two_changes,
            "transfer": self._transfer,
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
        self._kinds[kind]()
        self._schedule(kind)

    # -- Processes and disks

    def _kill(self) -> None:
        node = self._some_node()
        if node is not None:
            node.end()
            self._world.restart_later(node)

    def _power_loss(self) -> None:
        node = self._some_node()
        if node is not None:
            node.lose_power()
            self._world.restart_later(node)

    def _power_loss_of_all(self) -> None:
        for node in self._up():
            node.lose_power()
            self._world.restart_later(node)

    def _crash_at_operation(self) -> None:
        node = self._some_node()
        if node is None:
            return
        if self._random.random() < 0.3:
            node.crash_in_install = self._random.choice(("before", "between", "after"))
        else:
            node.files.crash_at(node.files.operation_count + self._random.randint(1, 60))

    def _disk_error(self) -> None:
        node = self._some_node()
        if node is not None:
            number = self._random.choice((errno.EIO, errno.ENOSPC))
            node.files.fail_at(node.files.operation_count + self._random.randint(1, 60), number)

    def _pause(self) -> None:
        node = self._some_node()
        if node is not None:
            node.pause(self._world.now + self._random.uniform(0.1, self._world.options.fault_s))

    # -- The network

    def _partition(self) -> None:
        names = sorted(self._world.nodes)
        one_side = {name for name in names if self._random.random() < 0.5}
        self._block({(a, b) for a in names for b in names if (a in one_side) != (b in one_side)})

    def _isolated_leader(self) -> None:
        leader = self._leader()
        if leader is not None:
            others = set(self._world.nodes) - {leader.name}
            outward = {(leader.name, other) for other in others}
            self._block(outward | {(b, a) for a, b in outward})

    def _cut_off_leader(self) -> None:
        """It goes on taking writes that a minority holds and nobody may commit."""
        leader = self._leader()
        if leader is None:
            return
        names = sorted(set(self._world.nodes) - {leader.name})
        inside = {leader.name, *self._random.sample(names, min(1, len(names)))}
        self._block(
            {
                (a, b)
                for a in (leader.name, *names)
                for b in (leader.name, *names)
                if (a in inside) != (b in inside)
            }
        )

    def _block(self, pairs: set[Pair]) -> None:
        """Now and then in one direction only, or with holes."""
        if self._random.random() < 0.3:
            share = self._random.choice((0.5, 0.9))
            pairs = {pair for pair in sorted(pairs) if self._random.random() < share}
        self._world.network.block(pairs)
        until = self._world.now + self._random.uniform(0.1, self._world.options.fault_s)
        self._world.at(until, lambda: self._world.network.unblock(pairs))

    def _clog(self) -> None:
        names = sorted(self._world.nodes)
        pairs = {(a, b) for a in names for b in names if a != b and self._random.random() < 0.4}
        self._world.network.clog(pairs)
        until = self._world.now + self._random.uniform(0.1, self._world.options.fault_s)
        self._world.at(until, lambda: self._world.network.unclog(pairs))

    def _broken_connections(self) -> None:
        names = sorted(self._world.nodes)
        for pair in [(a, b) for a in names for b in names if a != b]:
            if self._random.random() < 0.3:
                self._world.network.break_connection(pair)

    # -- Members

    def _add(self, *, seeded: bool) -> None:
        leader = self._leader()
        if leader is None or leader.engine is None or self._learning is not None:
            return
        configuration = leader.engine.configuration()
        if len(configuration.members) >= _MEMBERS_MAX:
            return
        waiting = [
            node
            for node in self._up()
            if node.machine.position().index == 0
            and node.name not in configuration.names
            and not node.is_founder
        ]
        node = self._random.choice(waiting) if waiting else self._world.new_node()
        if seeded:
            self._learning = node.name
            operation = self._world.clients.change(leader, "learner")
            leader.requests.append(lambda engine: self._learn(leader, engine, node, operation))
        else:
            self._change(leader, Change.ADD, node.member)

    def _learn(self, leader, engine, node, operation) -> None:
        """As joining.py does: replicate, and let it vote once it is near."""
        del self._world.clients.open[operation]
        if not engine.is_ready() or engine.learners():
            self._learning = None
            return
        engine.add_learner(node.member)
        give_up_at = self._world.now + _LEARNER_PATIENCE_S
        self._world.at(
            self._world.now + 0.05, lambda: self._look(leader, engine, node.member, give_up_at)
        )

    def _look(self, leader, engine: Engine, member: Member, give_up_at: float) -> None:
        if leader.engine is not engine or member.name not in engine.learners():
            self._learning = None
            return
        matched = engine.match_index(member.name)
        if matched > 0 and engine.log.last_index - matched <= 8:
            self._learning = None

            def then(outcome: Outcome) -> None:
                self._world.mark("learner became a member" if not outcome.error else "add failed")
                engine.drop_learner(member.name)

            self._change(leader, Change.ADD, member, then)
        elif self._world.now > give_up_at or self._world.is_healed:
            self._learning = None
            self._world.mark("learner given up")
            engine.drop_learner(member.name)
        else:
            self._world.at(
                self._world.now + 0.05, lambda: self._look(leader, engine, member, give_up_at)
            )

    def _remove(self) -> None:
        leader = self._leader()
        if leader is None or leader.engine is None:
            return
        names = sorted(leader.engine.configuration().names)
        if len(names) > 1:
            name = self._random.choice(names)
            self._change(leader, Change.REMOVE, Member(name, "", "", ""))

    def _replace(self) -> None:
        """A member dies for good, is removed, and another one comes in its place."""
        leader = self._leader()
        if leader is None or leader.engine is None:
            return
        names = sorted(leader.engine.configuration().names - {leader.name})
        if not names:
            return
        lost = self._world.nodes[self._random.choice(names)]
        if lost.is_up:
            lost.lose_power()

        def then(outcome: Outcome) -> None:
            self._world.restart_later(lost)
            if outcome.error is None:
                self._add(seeded=True)

        self._change(leader, Change.REMOVE, Member(lost.name, "", "", ""), then)

    def _two_changes(self) -> None:
        leader = self._leader()
        if leader is None or leader.engine is None:
            return
        for _ in range(2):
            self._random.choice((self._remove, lambda: self._add(seeded=False)))()

    def _change(self, leader, change: Change, member: Member, then=None) -> None:
        operation = self._world.clients.change(leader, f"{change.value} a member", then)
        leader.requests.append(lambda engine: engine.change(change, member, operation))

    def _transfer(self) -> None:
        leader = self._leader()
        if leader is None or leader.engine is None:
            return
        names = sorted(leader.engine.configuration().names - {leader.name})
        led = [name for name in names if name in list(self._world.checker.terms.values())[-4:]]
        target = self._random.choice([None, *names, *led, *led])
        operation = self._world.clients.change(leader, "transfer")
        leader.requests.append(lambda engine: engine.transfer(target, operation))

    # -- Whom

    def _up(self) -> list[SimulatedNode]:
        return [node for node in self._world.nodes.values() if node.is_up]

    def _some_node(self) -> SimulatedNode | None:
        up = self._up()
        leader = self._leader()
        if leader is not None and self._random.random() < 0.4:
            return leader
        return self._random.choice(up) if up else None

    def _leader(self) -> SimulatedNode | None:
        """Of those who believe to lead, mostly the right one."""
        leading = [
            node for node in self._up() if node.engine is not None and node.engine.is_leader()
        ]
        if leading and self._random.random() < 0.1:
            return self._random.choice(leading)
        return max(leading, key=lambda node: node.engine.term() if node.engine else 0, default=None)
