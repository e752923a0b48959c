"""The changes of a simulated cluster's members, and transfers of its leadership, at bad times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse_cluster.interfaces import Member
from statehouse_cluster.membership import Change

if TYPE_CHECKING:
    from collections.abc import Callable

    from statehouse_cluster.interfaces import Outcome
    from statehouse_cluster.raft_adapter import Engine

    from tests.simulation.clients import Request
    from tests.simulation.node import SimulatedNode
    from tests.simulation.targets import Targets
    from tests.simulation.world import World

_MEMBERS_MAX = 6
_LEARNER_PATIENCE_S = 6.0


class MemberFaults:
    """One learner at a time, as in the product; changes whenever somebody asks for one."""

    def __init__(self, world: World, targets: Targets) -> None:
        self._world = world
        self._random = world.random
        self._targets = targets
        self._learning: str | None = None
        self.kinds: dict[str, Callable[[], None]] = {
            "add a member": lambda: self._add(seeded=True),
            "add a member unseeded": lambda: self._add(seeded=False),
            "remove a member": self._remove,
            "replace a member": self._replace,
            "two changes at once": self._two_changes,
            "transfer": self._transfer,
        }

    def _add(self, *, seeded: bool) -> None:
        leader = self._targets.leader()
        if leader is None or leader.engine is None or self._learning is not None:
            return
        configuration = leader.engine.configuration()
        if len(configuration.members) >= _MEMBERS_MAX:
            return
        waiting = [
            node
            for node in self._targets.up()
            if node.machine.position().index == 0
            and node.name not in configuration.names
            and not node.is_founder
        ]
        node = self._random.choice(waiting) if waiting else self._world.new_node()
        if seeded:
            self._learning = node.name
            request = self._world.clients.change(leader, "learner")
            leader.requests.append(lambda engine: self._learn(leader, engine, node, request))
        else:
            self._change(leader, Change.ADD, node.member)

    def _learn(
        self, leader: SimulatedNode, engine: Engine, node: SimulatedNode, request: Request
    ) -> None:
        """As joining.py does: replicate, and let it vote once it is near."""
        del self._world.clients.open[request]
        if not engine.is_ready() or engine.learners():
            self._learning = None
            return
        engine.add_learner(node.member)
        give_up_at = self._world.now + _LEARNER_PATIENCE_S
        self._world.at(
            self._world.now + 0.05, lambda: self._look(leader, engine, node.member, give_up_at)
        )

    def _look(
        self, leader: SimulatedNode, engine: Engine, member: Member, give_up_at: float
    ) -> None:
        if leader.engine is not engine or member.name not in engine.learners():
            self._learning = None
            return
        matched = engine.match_index(member.name)
        if matched > 0 and engine.log.last_index - matched <= 8:
            self._learning = None

            def then(outcome: Outcome) -> None:
                self._world.mark("add failed" if outcome.error else "learner became a member")
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
        leader = self._targets.leader()
        if leader is None or leader.engine is None:
            return
        names = sorted(leader.engine.configuration().names)
        if len(names) > 1:
            name = self._random.choice(names)
            self._change(leader, Change.REMOVE, Member(name, "", "", ""))

    def _replace(self) -> None:
        """A member dies for good, is removed, and another one comes in its place."""
        leader = self._targets.leader()
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
                self._world.mark("member replaced")
                self._add(seeded=True)

        self._change(leader, Change.REMOVE, Member(lost.name, "", "", ""), then)

    def _two_changes(self) -> None:
        leader = self._targets.leader()
        if leader is None or leader.engine is None:
            return
        for _ in range(2):
            self._random.choice((self._remove, lambda: self._add(seeded=False)))()

    def _change(
        self,
        leader: SimulatedNode,
        change: Change,
        member: Member,
        then: Callable[[Outcome], None] | None = None,
    ) -> None:
        request = self._world.clients.change(leader, f"{change.value} a member", then)
        leader.requests.append(lambda engine: engine.change(change, member, request))

    def _transfer(self) -> None:
        leader = self._targets.leader()
        if leader is None or leader.engine is None:
            return
        names = sorted(leader.engine.configuration().names - {leader.name})
        led = [name for name in names if name in list(self._world.checker.terms.values())[-4:]]
        target = self._random.choice([None, *names, *led, *led])
        request = self._world.clients.change(leader, "transfer")
        leader.requests.append(lambda engine: engine.transfer(target, request))
