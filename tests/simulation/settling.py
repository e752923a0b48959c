"""The end of a run: nothing fails any more, and the cluster has to show that it is one.

It elects a leader in time, its nodes become equal, every request is answered, users of the SDK get
through; then the whole history is held against the log, as tests/checkers does it.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from tests.checkers import order
from tests.checkers.history import OK, validate
from tests.helpers.chain import check_chain
from tests.simulation.checker import Violation
from tests.simulation.stores import MemoryStore
from tests.simulation.telling import events_of

if TYPE_CHECKING:
    from tests.checkers.history import Commit, Get
    from tests.simulation.node import SimulatedNode
    from tests.simulation.users import User
    from tests.simulation.world import World

_SETTLE_S = 60.0
"""A healed cluster must have converged by then."""
_ELECTIONS = 10
"""So many election time-outs after it was healed, a cluster has a leader."""
_ADDRESSED_S = 5.0
"""Until then all nodes have started and found each other again: a node may be paused, a connection
be dialed in vain, or be held for alive though its other end is not."""
_USERS_S = 120.0
"""All users of a healed cluster have got through by then."""
_USER_TRIES = 4
"""A disk that fails late may end the leader, and a clock that jumped may have made the cluster
forget the client: then a call fails, and the next ones do not."""
_TRIES_MAX = 10


class Settling:
    """The second part of one run."""

    def __init__(self, world: World) -> None:
        self._world = world

    def settle(self) -> None:
        """Raises Violation for whatever a healed cluster must not fail to do."""
        world = self._world
        world.is_healed = True
        world.network.heal()
        for node in list(world.nodes.values()):
            node.heal()
        patience_s = _ADDRESSED_S + _ELECTIONS * world.options.timing.election_max_s
        if not world.run_until(world.now + patience_s, lambda: self._ready_leader() is not None):
            raise Violation(f"nobody leads after {patience_s} s: {self._picture()}")
        if not world.run_until(world.now + _SETTLE_S, self._has_converged):
            raise Violation(f"the healed cluster did not converge: {self._picture()}")
        self._serves()
        world.run_until(world.now + _USERS_S, lambda: not world.users.busy)
        self._users_get_through()
        if not world.run_until(world.now + _SETTLE_S, self._has_converged):
            left = Counter(request.kind for request in world.clients.open)
            raise Violation(f"requests were not answered: {dict(left)}; {self._picture()}")
        self._compare()

    def _serves(self) -> None:
        """A write and a read; a fault of a disk that was still to come may cost a try or two."""
        world = self._world
        for _ in range(_TRIES_MAX):
            world.run_until(world.now + _SETTLE_S, lambda: self._ready_leader() is not None)
            leader = self._ready_leader()
            if leader is None:
                raise Violation(f"there is no leader any more: {self._picture()}")
            asked = world.clients.write(leader), world.clients.read(leader)
            world.run_until(
                world.now + 5.0,
                lambda asked=asked: not any(one in world.clients.open for one in asked),
            )
            if all(one.told is not None and one.told.outcome == OK for one in asked):
                return
        raise Violation(f"a healed cluster takes no write: {self._picture()}")

    def _users_get_through(self) -> None:
        """Each user commits, and reads what is there; the SDK finds the leader for it."""
        world = self._world
        users = [user for user in world.users.all if self._knows_somebody(user)]
        waiting = {user.name for user in users}

        def committed(user: User, tries: int, told: Commit) -> None:
            if told.outcome == OK:
                read(user, _USER_TRIES)
            elif tries > 1:
                commit(user, tries - 1)
            else:
                raise Violation(f"a commit failed on a healed cluster: {user.last_words}")

        def has_read(user: User, tries: int, told: Get) -> None:
            if told.outcome == OK:
                waiting.discard(user.name)
            elif tries > 1:
                read(user, tries - 1)
            else:
                raise Violation(f"a read failed on a healed cluster: {user.last_words}")

        def commit(user: User, tries: int) -> None:
            user.commit(partial(committed, user, tries), free=True)

        def read(user: User, tries: int) -> None:
            user.get(partial(has_read, user, tries), stale=False)

        for user in users:
            commit(user, _USER_TRIES)
        if not world.run_until(world.now + _USERS_S, lambda: not waiting):
            raise Violation(f"{sorted(waiting)} got no answer; {self._picture()}")

    def _knows_somebody(self, user: User) -> bool:
        """Whether any node it knows is still a member; who slept through that has to be told."""
        leader = self._ready_leader()
        if leader is None or leader.engine is None:
            raise Violation(f"there is no leader any more: {self._picture()}")
        members = leader.engine.configuration().members
        if not {member.client_address for member in members} & set(user.addresses):
            self._world.mark("user whose nodes were all replaced")
            return False
        return True

    def _ready_leader(self) -> SimulatedNode | None:
        nodes = self._world.nodes.values()
        leading = [n for n in nodes if n.engine is not None and n.engine.is_ready()]
        return max(leading, key=lambda n: n.engine.term() if n.engine else 0, default=None)

    def _has_converged(self) -> bool:
        leader = self._ready_leader()
        if leader is None or leader.engine is None:
            return False
        last = leader.engine.log.last_index
        for name in leader.engine.configuration().names:
            engine = self._world.nodes[name].engine
            if engine is None or engine.applied_index() != last or engine.log.last_index != last:
                return False
        return not self._world.clients.open and not self._world.users.busy

    # -- What it all came to

    def _compare(self) -> None:
        leader = self._ready_leader()
        if leader is None or leader.engine is None:
            raise Violation("the leader was lost at the end")
        for name in sorted(leader.engine.configuration().names):
            self._must_equal(leader, self._world.nodes[name])
        with leader.machine.view() as view:
            check_chain(view)
            events = events_of(view)
        self._world.count("event: committed")
        self._world.report.counts["event: committed"] = len(events)
        history = sorted(self._world.history, key=lambda one: one.called_at_ns)
        validate(history)
        for found in order.check(history, events):
            raise Violation(f"{found}")

    def _must_equal(self, leader: SimulatedNode, node: SimulatedNode) -> None:
        if node.machine.head != leader.machine.head:
            raise Violation(
                f"{node.name} ends with {node.machine.head}, {leader.name} with "
                f"{leader.machine.head}"
            )
        mine, theirs = leader.machine.store, node.machine.store
        if isinstance(mine, MemoryStore) and isinstance(theirs, MemoryStore):
            tables = mine.rows.differs_in(theirs.rows)
            if tables:
                raise Violation(f"{node.name} and {leader.name} differ in {tables}")

    def _picture(self) -> str:
        return "; ".join(
            f"{node.name} {'removed' if node.removed else 'down'}"
            if node.engine is None
            else f"{node.name} {node.engine.role().value} t{node.engine.term()} log "
            f"{node.engine.log.first_index}..{node.engine.log.last_index} commit "
            f"{node.engine.commit_index()} applied {node.engine.applied_index()} of "
            f"{sorted(node.engine.configuration().names)}"
            for node in self._world.nodes.values()
        )
