"""Owns the raft thread and the way in and out of it: the public face of this package.

Any thread may propose, read, ask and change members; requests wait in an inbox until the raft
thread takes them, their outcomes go back through `deliver`, all of one round at once. An exception
on the raft thread ends the node (`on_fatal`): what is unknown must not be acknowledged. It must not
know what commands mean, nor Raft's rules, which are the adapter's.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from statehouse_cluster import joining
from statehouse_cluster.interfaces import (
    Member,
    MembershipRefused,
    MemberStatus,
    NotLeader,
    Outcome,
    Role,
    Status,
)
from statehouse_cluster.membership import Change
from statehouse_cluster.startup import Parts, Stopped, start_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from statehouse_cluster.interfaces import AddProgress, Deliver, StateMachine, Ticket
    from statehouse_cluster.raft_adapter import Engine
    from statehouse_cluster.raft_state import Standing
    from statehouse_cluster.settings import ClusterSettings

_CALL_S = 10.0
_TIMERS_S = 0.01
"""How often the timers of links and snapshots are looked at, at most."""

_T = TypeVar("_T")


class Consensus:
    """One node's part in one agreed log.

    deliver: gets the outcomes of `propose` and `barrier`, on the raft thread; must not block.
    on_status: gets each newly published status, on the raft thread; must not block.
    on_fatal: gets the error that ended the raft thread; the process must not go on serving.
    report: gets lines for the log.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        machine: StateMachine,
        *,
        deliver: Deliver,
        on_status: Callable[[Status], None],
        on_fatal: Callable[[BaseException], None],
        report: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._machine = machine
        self._deliver = deliver
        self._on_status = on_status
        self._on_fatal = on_fatal
        self._report = report
        self._inbox: deque[Callable[[Engine], None]] = deque()
        self._commands: deque[tuple[bytes, Ticket]] = deque()
        self._readers: deque[Ticket] = deque()
        self._wake: Callable[[], None] = lambda: None
        self._stop = threading.Event()
        self._parts: Parts | None = None
        self._status = _unknown(settings)
        self._published_at = 0.0
        self._standing: Standing | None = None
        self._timers_due_at = 0.0
        self._thread = threading.Thread(target=self._run, name="raft", daemon=True)

    # -- Any thread

    def start(self) -> None:
        """Starts the raft thread and returns; `status` tells how far it is."""
        self._thread.start()

    def status(self) -> Status:
        """The status published last."""
        return self._status

    def propose(self, command: bytes, ticket: Ticket) -> None:
        """Asks for a command to be committed; its outcome is its result, or NotLeader, Overloaded
        (both definite) or OutcomeUnknown."""
        self.propose_all([(command, ticket)])

    def propose_all(self, proposals: Sequence[tuple[bytes, Ticket]]) -> None:
        """As `propose`, for several at once: the raft thread is woken once."""
        self._commands.extend(proposals)
        self._wake()

    def barrier(self, ticket: Ticket) -> None:
        """Asks for a linearizable read point; its outcome is the applied index, or NotLeader."""
        self._readers.append(ticket)
        self._wake()

    def call(self, action: Callable[[Engine], _T]) -> _T:
        """Runs an action on the raft thread between two rounds and returns its result; blocks."""
        reply: Future[_T] = Future()

        def run(engine: Engine) -> None:
            try:
                reply.set_result(action(engine))
            except Exception as error:
                reply.set_exception(error)

        self._inbox.append(run)
        self._wake()
        return reply.result(_CALL_S)

    def add_member(self, peer_address: str, progress: Callable[[AddProgress], None]) -> Member:
        """Lets a waiting node catch up as a non-voter, then vote; blocks until it does.

        Raises NotLeader, MembershipBusy, MembershipRefused or OutcomeUnknown.
        """
        return joining.add_member(self, self._require_parts(), peer_address, progress)

    def remove_member(self, name: str) -> None:
        """Takes a member's vote away for good; blocks until it is committed.

        Raises NotLeader, MembershipBusy, MembershipRefused (removing the leader itself: transfer
        first) or OutcomeUnknown.
        """
        self.change(Change.REMOVE, Member(name, "", "", ""))

    def change(self, change: Change, member: Member) -> None:
        """One membership change from proposal to commit; blocks."""
        ended: Future[None] = Future()
        self.call(lambda engine: engine.change(change, member, ended))
        ended.result()

    def transfer(self, name: str | None) -> Member:
        """Hands leadership to a member, or to the one that is furthest; blocks until it is gone.

        Raises NotLeader, MembershipBusy or MembershipRefused.
        """
        ended: Future[str] = Future()
        self.call(lambda engine: engine.transfer(name, ended))
        target = ended.result()
        member = self.call(lambda engine: engine.configuration().get(target))
        if member is None:
            raise MembershipRefused(f"{target} is no member any more")
        return member

    def stop(self, *, hand_over: bool, timeout_s: float) -> None:
        """Ends the raft thread; a leader with followers hands its leadership over first."""
        give_up_at = time.monotonic() + timeout_s
        if hand_over and self._status.role is Role.LEADER and len(self._status.members) > 1:
            try:
                self.transfer(None)
            except Exception as error:  # stopping goes on without it
                self._report(f"leadership was not handed over: {error or type(error).__name__}")
        self._stop.set()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(max(0.0, give_up_at - time.monotonic()))

    # -- The raft thread

    def _run(self) -> None:
        try:
            self._parts = start_parts(
                self._settings, self._machine, stop=self._stop, report=self._report
            )
            self._wake = self._parts.wakeup.set
            engine = self._parts.engine
            self._parts.gate.before_wait = lambda: self._before_wait(engine)
            engine.before_flush = lambda: self._hand_out(engine.take_outcomes())
            try:
                while not self._stop.is_set():
                    self._round(self._parts)
            finally:
                self._end(self._parts)
        except Stopped:
            return
        except BaseException as error:
            self._on_fatal(error)

    def _round(self, parts: Parts) -> None:
        engine = parts.engine
        self._take_requests(engine)
        engine.step(self._settings.timing.poll_s)
        now = time.monotonic()
        if now >= self._timers_due_at:
            self._timers_due_at = now + _TIMERS_S
            parts.links.tick()
            parts.desk.tick()
        parts.install_fetched()
        parts.note_removal()
        self._hand_out(engine.take_outcomes())
        self._publish(parts, now)

    def _before_wait(self, engine: Engine) -> bool:
        self._hand_out(engine.take_outcomes())
        return engine.has_work() or bool(self._inbox or self._commands or self._readers)

    def _take_requests(self, engine: Engine) -> None:
        while self._inbox:
            self._inbox.popleft()(engine)
        if self._commands:
            commands = [self._commands.popleft() for _ in range(len(self._commands))]
            engine.propose_all(commands)
        if self._readers:
            tickets = [self._readers.popleft() for _ in range(len(self._readers))]
            engine.read(tickets)

    def _hand_out(self, outcomes: list[Outcome]) -> None:
        if not outcomes:
            return
        outside: list[Outcome] = []
        for outcome in outcomes:
            # Futures are this class's own tickets: membership changes and transfers.
            if not isinstance(outcome.ticket, Future):
                outside.append(outcome)
            elif outcome.error is not None:
                outcome.ticket.set_exception(outcome.error)
            else:
                outcome.ticket.set_result(outcome.result)
        if outside:
            self._deliver(outside)

    def _publish(self, parts: Parts, now: float) -> None:
        # Indexes move with every round: a status that differs in nothing else may wait a little.
        standing = parts.engine.standing()
        if standing == self._standing and now < self._published_at + self._settings.timing.status_s:
            return
        self._published_at, self._standing = now, standing
        status = _status(parts)
        if status != self._status:
            self._status = status
            self._on_status(status)

    def _end(self, parts: Parts) -> None:
        """Nobody is left waiting, whatever ended the thread."""
        parts.close()
        parts.engine.mark_stopped()
        self._hand_out(parts.engine.take_outcomes())
        unread = [Outcome(ticket, error=NotLeader()) for _, ticket in self._commands]
        unread += [Outcome(ticket, error=NotLeader()) for ticket in self._readers]
        if unread:
            self._deliver(unread)

    def _require_parts(self) -> Parts:
        if self._parts is None:
            raise NotLeader
        return self._parts


def _unknown(settings: ClusterSettings) -> Status:
    return Status(
        name=settings.name,
        uuid="",
        cluster_id="",
        role=Role.JOINER,
        term=0,
        leader=None,
        ready=False,
        members=(),
        log_first_index=0,
        log_last_index=0,
        commit_index=0,
        applied_index=0,
    )


def _status(parts: Parts) -> Status:
    engine = parts.engine
    configuration, learners = engine.configuration(), engine.learners()
    known = [(member, True) for member in configuration.members]
    known += [(m, False) for m in learners.values() if configuration.get(m.name) is None]
    leader = engine.leader_name()
    return Status(
        name=engine.name,
        uuid=parts.identity.uuid,
        cluster_id=parts.identity.cluster_id,
        role=engine.role(),
        term=engine.term(),
        leader=None if leader is None else _find(leader, known),
        ready=engine.is_ready(),
        members=tuple(
            MemberStatus(
                member=member,
                voter=voter,
                connected=engine.is_connected(member.name),
                match_index=engine.match_index(member.name),
            )
            for member, voter in known
        ),
        log_first_index=engine.log.first_index,
        log_last_index=engine.log.last_index,
        commit_index=engine.commit_index(),
        applied_index=engine.applied_index(),
    )


def _find(name: str, known: list[tuple[Member, Any]]) -> Member | None:
    return next((member for member, _ in known if member.name == name), None)
