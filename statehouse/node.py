"""Owns one running node: its state store and its consensus, wired, behind the services' Protocol.

It turns calls on the event loop into requests to consensus and outcomes back into answers, decides
when to refuse (phase, leadership, room, queue), and keeps the node's place in its life. It knows
nothing of gRPC, of how state is stored, or of how nodes agree.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from statehouse_cluster.interfaces import NotLeader

from statehouse import cluster_facts, lifecycle
from statehouse.barriers import Barriers, Batch
from statehouse.core import codec, limits
from statehouse.core.errors import Failure, LeaderHint, Reason
from statehouse.core.model import Committed, Refused
from statehouse.lifecycle import Event, Phase
from statehouse.logs import Log
from statehouse.node_status import NodeStatus
from statehouse.pulse import Pulse, PulsingMachine
from statehouse.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from statehouse_cluster.interfaces import AddProgress, Outcome, Status
    from statehouse_cluster.settings import ClusterSettings

    from statehouse.core.model import Submission
    from statehouse.disk import DiskReserve
    from statehouse.node_status import AddStep, MemberFacts

    Answered = Callable[[Committed | Exception], None]
    from statehouse.storage.state_store import StateStore
    from statehouse.storage.views import StateView

_log = Log("node")
_consensus_log = Log("consensus")

_NEW_LEADER_WAIT_S = 5.0
_DRAIN_WAIT_S = 3.0

_PHASE_REFUSALS = {
    Phase.STARTING: (Reason.NOT_READY, "is starting; try again, or ask another node"),
    Phase.FORMING: (Reason.NOT_READY, "waits for the other founding members; start them all"),
    Phase.JOINING: (Reason.NOT_READY, "waits to be added to a cluster, or catches up"),
    Phase.DRAINING: (Reason.SHUTTING_DOWN, "shuts down; ask another node"),
    Phase.REMOVED: (Reason.REMOVED, "was removed from its cluster; ask another node"),
    Phase.FAILED: (Reason.SHUTTING_DOWN, "stops after a fault; ask another node"),
}


class Node:
    """One node, from `start` to `stop`; made and used on one event loop.

    consensus: makes the node's consensus, as `statehouse_cluster.consensus.Consensus` is made.
    on_fatal: called, on any thread, with the error after which this process must end.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        store: StateStore,
        disk: DiskReserve,
        *,
        consensus: Callable[..., Any],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._disk = disk
        self._on_fatal = on_fatal
        self._loop = asyncio.get_running_loop()
        self._phase = Phase.STARTING
        self._leader_told: str | None = None
        self._in_flight = 0
        self._pulse = Pulse(self._loop)
        self._consensus = consensus(
            settings,
            PulsingMachine(store, self._pulse),
            deliver=self._deliver,
            on_status=self._told_status,
            on_fatal=self._fault,
            report=_consensus_log.info,
        )
        self._barriers = Barriers(self._loop, self._consensus.barrier)
        # A read that fails says as much of the disk as a write does.
        store.when_failed(self._fault)

    # -- Its life

    def start(self) -> None:
        """Starts the raft thread; `status` and health tell how far it is."""
        self._happened(Event.JOINS if self._settings.join else Event.FORMS)
        self._consensus.start()

    async def drain(self) -> None:
        """Refuses what is new and waits a little for what is under way."""
        self._happened(Event.STOP)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_WAIT_S):
                await self._pulse.wait_until(lambda: self._in_flight == 0)

    async def hand_over(self, timeout_s: float) -> None:
        """Hands leadership over if it leads, and ends the raft thread; after `drain`.

        The store is still open for reads; closing it is its owner's.
        """
        await in_thread(
            lambda: self._consensus.stop(hand_over=True, timeout_s=timeout_s), "node-stop"
        )

    def _fault(self, error: BaseException) -> None:
        self._phase = lifecycle.following(self._phase, Event.FAULT)
        self._on_fatal(error)

    def _told_status(self, status: Status) -> None:
        # Comes on the raft thread; a loop that is closed has no use for it any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._follow_status, status)

    def _follow_status(self, status: Status) -> None:
        self._happened(cluster_facts.event_of(status, joins=self._settings.join))
        leader = None if status.leader is None else status.leader.name
        if leader != self._leader_told:
            self._leader_told = leader
            _log.info("Leader changed", leader=leader or "none", term=status.term)
            self._note_address(status)
        self._pulse.send()

    def _note_address(self, status: Status) -> None:
        """An address is agreed upon once; a node that listens elsewhere now is not found there."""
        mine = [told.member for told in status.members if told.member.name == status.name]
        has = self._settings.client_address
        if mine and mine[0].client_address != has:
            _log.warning("Clients are sent elsewhere", told=mine[0].client_address, has=has)

    def _happened(self, event: Event) -> None:
        before, self._phase = self._phase, lifecycle.following(self._phase, event)
        if self._phase is not before:
            _log.info("Phase changed", was=before.value, now=self._phase.value)
            self._pulse.send()

    # -- What the services ask

    async def commit(self, submission: Submission) -> Committed:
        answered: asyncio.Future[Committed] = self._loop.create_future()

        def settle(answer: Committed | Exception) -> None:
            if answered.done():
                return
            if isinstance(answer, Exception):
                answered.set_exception(answer)
            else:
                answered.set_result(answer)

        self.submit([(submission, settle)])
        return await answered

    def submit(self, commits: Sequence[tuple[Submission, Answered]]) -> None:
        room = max(limits.QUEUE_TRANSACTIONS_MAX - self._in_flight, 0)
        try:
            self._require_writable()
        except Failure as failure:
            room, refusal = 0, failure
        else:
            refusal = Failure(
                Reason.OVERLOADED,
                f"{self._in_flight} transactions wait already; nothing was written: try again",
            )
        taken = commits[:room]
        if taken:
            self._in_flight += len(taken)
            self._consensus.propose_all(
                [(codec.encode_submission(submission), settle) for submission, settle in taken]
            )
        for _, settle in commits[room:]:
            settle(refusal)

    def has_commits_under_way(self) -> bool:
        return self._in_flight > 0

    def _require_writable(self) -> None:
        self._require_leading()
        if not self._disk.has_room():
            raise Failure(
                Reason.STORAGE_FULL,
                f"writes are refused: the data disk of {self._settings.name} has "
                f"{self._disk.free_bytes} bytes free, less than the reserve of "
                f"{limits.DISK_RESERVE_BYTES}; free some, reads go on",
            )

    async def view(self, *, stale: bool) -> StateView:
        if stale:
            self._require_serving()
        else:
            await self._lead_confirmed()
        return self._store.view()

    async def _lead_confirmed(self) -> None:
        """Returns once a majority has confirmed, after this call, that this node leads."""
        self._require_leading()
        try:
            await self._barriers.passed()
        except Exception as error:
            raise self._refusal(error) from None

    async def grown(self, commit_ts: int, *, stale: bool) -> None:
        def holds() -> bool:
            self._require_serving() if stale else self._require_leading()
            return self._store.head.commit_ts > commit_ts

        await self._pulse.wait_until(holds)

    def leads(self) -> bool:
        return self._phase is Phase.SERVING and self._told().ready

    def leader(self) -> LeaderHint | None:
        status = self._told()
        if status.leader is not None and status.leader.name == status.name and not status.ready:
            return None  # elected, but not able to answer yet
        return cluster_facts.hint_of(status.leader, status.term)

    def status(self) -> NodeStatus:
        told, head = self._told(), self._store.head
        return NodeStatus(
            name=told.name,
            node_uuid=told.uuid,
            cluster_id=told.cluster_id,
            role=told.role.value,
            phase=self._phase,
            term=told.term,
            leader=cluster_facts.hint_of(told.leader, told.term),
            ready=told.ready,
            members=tuple([cluster_facts.member_facts(member) for member in told.members]),
            log_first_index=told.log_first_index,
            log_last_index=told.log_last_index,
            commit_index=told.commit_index,
            applied_index=told.applied_index,
            commit_ts=head.commit_ts,
            committed_at_us=head.committed_at_us,
            chain_head=head.chain_hash,
        )

    def give_up(self, error: Exception) -> None:
        self._fault(error)

    # -- Members

    async def add_member(self, peer_address: str) -> AsyncGenerator[AddStep, None]:
        self._require_leading()
        steps: asyncio.Queue[AddProgress | None] = asyncio.Queue()

        def tell(step: AddProgress | None) -> None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(steps.put_nowait, step)

        def work() -> None:
            try:
                self._consensus.add_member(peer_address, tell)
            finally:
                tell(None)

        _log.info("Member is being added", peer_address=peer_address)
        ended = asyncio.ensure_future(self._change(work))
        try:
            while (step := await steps.get()) is not None:
                yield cluster_facts.add_step(step)
            await ended
        finally:
            # The change goes on when nobody listens any more; its end must not be a lost exception.
            ended.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def remove_member(self, name: str) -> tuple[MemberFacts, ...]:
        self._require_leading()
        if name == self._settings.name:
            await self.transfer("")
            raise self._not_leading(
                f"{name} led and handed leadership over; ask the new leader to remove it"
            )
        _log.info("Member is being removed", member=name)
        await self._change(lambda: self._consensus.remove_member(name))
        left = [told for told in self._told().members if told.member.name != name]
        return tuple([cluster_facts.member_facts(told) for told in left])

    async def transfer(self, name: str) -> LeaderHint:
        if name == self._settings.name:
            # Asked by one who knew an older leader: what is wanted holds already.
            return await self._own_lead()
        self._require_leading()
        target = await self._change(lambda: self._consensus.transfer(name or None))
        _log.info("Leadership was handed over", to=target.name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_NEW_LEADER_WAIT_S):
                await self._pulse.wait_until(lambda: self._led_by_another() is not None)
        leader = self._led_by_another()
        if leader is None:
            raise Failure(
                Reason.OUTCOME_UNKNOWN,
                f"leadership was offered to {target.name}, but no new leader is known yet; "
                "look at the status",
            )
        if name and leader.name != name:
            raise Failure(
                Reason.MEMBERSHIP_REFUSED,
                f"{name} was asked to lead, but {leader.name} was elected; ask {leader.name} to "
                "transfer again if it matters",
            )
        return leader

    async def _own_lead(self) -> LeaderHint:
        await self._lead_confirmed()
        leader = self.leader()
        if leader is None or leader.name != self._settings.name:
            raise self._not_leading(f"{self._settings.name} has just lost the lead")
        return leader

    def _led_by_another(self) -> LeaderHint | None:
        leader = self.leader()
        return None if leader is None or leader.name == self._settings.name else leader

    async def _change(self, call: Callable[[], Any]) -> Any:
        try:
            return await in_thread(call, "membership")
        except Exception as error:
            raise self._refusal(error) from None

    # -- Outcomes and refusals

    def _deliver(self, outcomes: list[Outcome]) -> None:
        # Comes on the raft thread: one hand-over for all of a round.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._settle, outcomes)

    def _told(self) -> Status:
        status: Status = self._consensus.status()
        return status

    def _settle(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            ticket = outcome.ticket
            if isinstance(ticket, Batch):
                ticket.settle(outcome)
            elif callable(ticket):
                self._in_flight -= 1
                ticket(self._answer(outcome))
        if self._phase is Phase.DRAINING:
            self._pulse.send()

    def _answer(self, outcome: Outcome) -> Committed | Exception:
        if outcome.error is not None:
            return self._refusal(outcome.error)
        answer = outcome.result
        if isinstance(answer, Committed):
            return answer
        if isinstance(answer, Refused):
            return Failure(Reason(answer.reason), answer.message, conflicts=answer.conflicts)
        return TypeError(f"the store answered a commit with a {type(answer).__name__}")

    def _require_serving(self) -> None:
        if self._phase is not Phase.SERVING:
            reason, text = _PHASE_REFUSALS[self._phase]
            raise Failure(reason, f"{self._settings.name} {text}")

    def _require_leading(self) -> None:
        self._require_serving()
        if not self._told().ready:
            raise self._not_leading(f"{self._settings.name} does not lead")

    def _not_leading(self, what: str) -> Failure:
        leader = self.leader()
        if leader is None or leader.name == self._settings.name:
            return Failure(Reason.NO_LEADER, f"{what} and knows no leader; try again")
        return Failure(
            Reason.NOT_LEADER,
            f"{what}; ask {leader.name} at {leader.address or 'an unknown address'}",
            leader=leader,
        )

    def _refusal(self, error: Exception) -> Exception:
        """What the caller is told for an error of consensus; a fault stays what it is."""
        if isinstance(error, NotLeader):
            if self._phase is not Phase.SERVING:
                reason, text = _PHASE_REFUSALS[self._phase]
                return Failure(reason, f"{self._settings.name} {text}")
            return self._not_leading(f"{self._settings.name} does not lead")
        return cluster_facts.failure_of(error) or error
