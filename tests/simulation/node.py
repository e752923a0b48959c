"""One simulated node: the real Engine over the real Journal, on a disk and a network in memory.

It does in a round what consensus.py does, and at a start what startup.py does. Its process can end
(a kill keeps what the machine holds, a power loss keeps what was synced) and start again. Between
rounds it sleeps until something arrives or a deadline of its engine has passed (alarm.py).
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from statehouse_cluster.damage import JournalFailed
from statehouse_cluster.interfaces import Member
from statehouse_cluster.journal import Journal
from statehouse_cluster.raft_adapter import Engine
from statehouse_cluster.recovery import InstallNote, found, reconcile
from statehouse_cluster.wire import decode

from statehouse.storage.faults import StoreFailed
from tests.simulation.alarm import next_alarm
from tests.simulation.checker import Violation
from tests.simulation.desk import SimulatedDesk
from tests.simulation.files import Crash, SimulatedFiles
from tests.simulation.machine import SimulatedMachine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from statehouse_cluster.membership import Configuration

    from statehouse.core.model import Submission
    from tests.simulation.world import World

DATA = Path("/disk")


class WatchedJournal(Journal):
    """Tells when entries are taken back, which is the rarest thing, and when the log is cut."""

    on_truncate: Callable[[], None] = staticmethod(lambda: None)
    on_cut: Callable[[], None] = staticmethod(lambda: None)

    def cut_to(self, index: int) -> None:
        before = self.first_index
        super().cut_to(index)
        if self.first_index != before:
            self.on_cut()

    def truncate_from(self, index: int) -> None:
        if index <= self.last_index:
            self.on_truncate()
        super().truncate_from(index)


class Inbox:
    """Stands where the poller stands: outcomes go out first, then what arrived is handed on."""

    def __init__(self, node: SimulatedNode) -> None:
        self.events: list[tuple[Any, ...]] = []
        self._node = node

    def poll(self, timeout_s: float) -> None:
        self._node.hand_out()
        events, self.events = self.events, []
        for event in events:
            self._node.handle(event)


class SimulatedNode:
    """A node of the world, up or down. `founding` is empty for a node that waits to be added."""

    def __init__(self, world: World, name: str, founding: Configuration) -> None:
        self.name = name
        self.member = Member(name, f"uuid of {name}", f"{name}:1", f"{name}:2")
        self.files = SimulatedFiles(DATA)
        self.clock_ahead_us = 0
        """How wrong this machine's wall clock is."""
        self.machine = SimulatedMachine(name, world.checker, world.new_store(self))
        self.engine: Engine | None = None
        self.removed = False
        self.has_room = True
        """Whether clients may still write, as DiskReserve would say."""
        self.sync_s = world.options.sync_s
        """How long this disk takes for a sync."""
        self.lag_s = 0.0
        """How long ago, within the round under way, it began."""
        self.life = 0
        """Which process this is, counted from one."""
        self.wanted: set[str] = set()
        self.requests: list[Callable[[Engine], None]] = []
        self.crash_in_install = ""
        """Where the next install of a snapshot is cut short: "before", "between" or "after"."""
        self._world = world
        self._founding = founding
        self._wake_at: float | None = None
        self._busy_until = 0.0
        self._checked: tuple[int, object] = (-1, None)
        self.files.on_sync = self._syncing
        self.machine.after_install = lambda: self._maybe_crash("between")

    @property
    def is_up(self) -> bool:
        return self.engine is not None

    @property
    def is_founder(self) -> bool:
        return bool(self._founding.members)

    @property
    def paused(self) -> bool:
        return self._busy_until > self._world.now + 0.05

    # -- Life and death

    def start(self) -> None:
        """Starts the process; a disk that fails meanwhile ends it again."""
        if self.is_up or self.removed:
            return
        self.life += 1
        self.machine.start()
        try:
            self._assemble()
        except Crash:
            self.lose_power()
            self._world.restart_later(self)
        except (OSError, JournalFailed):
            self._world.mark("start failed by its disk")
            self.end()
            self._world.restart_later(self)
        else:
            self._busy_until, self.lag_s = self._world.now + self.lag_s, 0.0
            self._wake_at = None
            self.wake(self._world.now)

    def _assemble(self) -> None:
        world = self._world
        journal = WatchedJournal.open(
            DATA / "journal",
            self.files,
            segment_bytes=world.options.segment_bytes,
            cache_bytes=100_000,
            report=lambda line: world.mark("journal: " + line.split(":")[0].split("/")[0]),
        )
        journal.on_truncate = lambda: world.mark("conflicting entries taken back")
        journal.on_cut = lambda: world.mark("journal cut")
        self.note = InstallNote(DATA, self.files)
        found(journal, self.machine, self._founding)
        reconcile(
            journal,
            self.machine.position(),
            self.note,
            lambda line: world.mark("interrupted install finished"),
        )
        world.checker.started(self.name, journal.term, journal.vote)
        self.journal = journal
        self.wanted = set()
        self.requests = []
        self.inbox = Inbox(self)
        self.desk = SimulatedDesk(world, self)
        links = world.network.links_of(self)
        # The engine dials in its constructor, and whoever is dialed may ask for it at once.
        self.engine = Engine(
            name=self.name,
            journal=journal,
            machine=self.machine,
            founding=self._founding,
            links=links,
            poller=self.inbox,
            snapshots=self.desk,
            timing=world.options.timing,
            bounds=world.options.bounds,
            randomness=Random(f"{world.options.seed} {self.name} {self.life}"),
        )

    def end(self) -> None:
        """The process ends; the machine it runs on goes on, and so does what it was told."""
        self._world.network.process_ended(self.name)
        self._let_go()
        self.files.kill()
        self.machine.kill()

    def lose_power(self) -> None:
        """What was not synced is lost, kept or torn; the machine says goodbye to nobody."""
        if self._world.random.random() < 0.5:
            self._world.network.process_ended(self.name)
        else:
            self._world.network.machine_lost(self.name)
        self._let_go()
        self.files.crash(self._world.random)
        self.machine.lose_power(self._world.random)

    def _let_go(self) -> None:
        self.engine = None
        self.lag_s = 0.0
        self._world.clients.node_ended(self)
        self._world.users.node_ended(self)

    def free_disk(self) -> None:
        """Somebody made room on it."""
        self.files.is_full, self.has_room = False, True

    def heal(self) -> None:
        """Nothing is wrong with its machine any more, but for what a disk is about to do."""
        self.crash_in_install = ""
        self.free_disk()
        self.sync_s = self._world.options.sync_s
        self.start()

    def _syncing(self) -> None:
        self.lag_s += self.sync_s

    def pause(self, until: float) -> None:
        """The process stands still and does not know it."""
        self._busy_until = max(self._busy_until, until)

    # -- For who serves users here

    def now_us(self) -> int:
        """This machine's wall clock."""
        return self._world.begin_us + int(self._world.now * 1e6) + self.clock_ahead_us

    def met(self, what: str) -> None:
        self._world.mark(what)

    def decided(self, submission: Submission, answer: object) -> None:
        """An op id was answered; whoever asks again is told the same."""
        self._world.decided(self.name, submission, answer)

    # -- Rounds

    def wake(self, at: float) -> None:
        """Runs a round at `at`, or as soon after it as the node can."""
        at = max(at, self._busy_until)
        if self._wake_at is None or at < self._wake_at:
            self._wake_at = at
            self._world.at(at, lambda: self._run(at))

    def _run(self, at: float) -> None:
        if at != self._wake_at or self.engine is None:
            return
        self._wake_at = None
        now = self._world.now
        if self._busy_until > now:
            self.wake(self._busy_until)
            return
        try:
            self._round(self.engine)
        except Crash:
            self._world.mark("crashed at an operation of its disk")
            self.lose_power()
            self._world.restart_later(self)
            return
        except (OSError, JournalFailed, StoreFailed):
            self._world.mark("stopped by an error of its disk")
            self._world.random.choice((self.end, self.lose_power))()
            self._world.restart_later(self)
            return
        self._check(self.engine)
        self._rest(self.engine)

    def _round(self, engine: Engine) -> None:
        requests, self.requests = self.requests, []
        for request in requests:
            request(engine)
        engine.step(0.0)
        self.desk.tick()
        self._install_fetched(engine)
        self.hand_out()
        if engine.removed:
            self.removed = True

    def _rest(self, engine: Engine) -> None:
        """The round took its time; the next one comes when there is something to do."""
        now, random = self._world.now, self._world.random
        took_s = self.lag_s + random.uniform(5e-4, 0.004)
        self.lag_s = 0.0
        self._busy_until = max(self._busy_until, now + took_s)
        if self.inbox.events or self.requests or engine.has_work():
            self.wake(now)
        else:
            alarm = min(next_alarm(engine, now), self.desk.next_alarm())
            self.wake(max(alarm, now) + random.uniform(0.0, self._world.options.timing.poll_s))

    def hand_out(self) -> None:
        """What ended goes to the clients: before each wait, and at the end of a round."""
        if self.engine is not None:
            for outcome in self.engine.take_outcomes():
                outcome.ticket.ended(self, outcome)

    def _install_fetched(self, engine: Engine) -> None:
        fetched = self.desk.take_fetched()
        if fetched is None:
            return
        self.note.write(fetched.position)
        self._maybe_crash("before")
        if engine.install(fetched.directory, fetched.position):
            self._world.mark("snapshot installed")
        else:
            self._world.mark("old snapshot ignored")
        self._maybe_crash("after")
        self.note.remove()

    def _maybe_crash(self, where: str) -> None:
        if self.crash_in_install == where:
            self.crash_in_install = ""
            self._world.mark(f"power lost {where} an install's steps")
            raise Crash(where)

    def _check(self, engine: Engine) -> None:
        checker = self._world.checker
        applied = engine.applied_index()
        if applied > checker.furthest[0]:
            checker.furthest = applied, engine.log.term_at(applied), engine.term()
        if engine.is_leader() and checker.leads(self.name, engine.term(), engine.log):
            self._world.elected(self)
        configuration = engine.applied_configuration()
        if self._checked != (applied, configuration):
            self._checked = applied, configuration
            if configuration.members:
                checker.configured(self.name, applied, configuration)

    # -- The network's end

    def notice(self, event: tuple[str, str]) -> None:
        """A link came up ("up"), broke ("down"), or the peer closed its own ("closed")."""
        self.inbox.events.append(event)
        self.wake(self._world.now)

    def take(self, sender: str, payload: bytes) -> None:
        if self.engine is not None:
            self._world.trace(self.name, sender, payload)
            self.inbox.events.append(("message", sender, payload))
            self.wake(self._world.now + self._world.random.uniform(0.0, 0.004))

    def greet(self, dialer: SimulatedNode) -> bool:
        """Whether this node lets another one in; a removed one learns it here."""
        engine = self.engine
        if engine is None:
            return False
        if dialer.member.uuid in engine.applied_configuration().removed:
            dialer.refused_by(self)
            return False
        engine.greet(dialer.name, dialer.member.peer_address)
        return True

    def refused_by(self, peer: SimulatedNode) -> None:
        if self.engine is not None and self.engine.configuration().get(peer.name) is not None:
            if not self.engine.removed:
                self._world.mark("removed node told when it dialed")
            self.engine.mark_removed()

    def handle(self, event: tuple[Any, ...]) -> None:
        """One event, inside the poll."""
        engine = self.engine
        if engine is None:
            return
        if event[0] == "message":
            message = decode(event[2])
            self._world.watch(engine, message)
            granted = self._world.kinds_sent["x_prevote_ok"]
            engine.received(event[1], message)
            if message["type"] == "x_prevote" and granted == self._world.kinds_sent["x_prevote_ok"]:
                self._world.mark("prevote refused")
        elif event[0] == "up":
            engine.link_up(event[1])
        elif event[0] == "down":
            engine.link_down(event[1])
        else:
            engine.peer_closed(event[1])

    def sending(self, name: str, message: Mapping[str, Any]) -> None:
        """An acknowledgement must be on the disk when it leaves, a vote is given once."""
        kind, checker = message["type"], self._world.checker
        if kind == "request_vote":
            checker.voted(self.name, message["term"], self.name)
        elif kind == "response_vote":
            checker.voted(self.name, message["term"], name)
        elif kind == "next_node_idx" and message["success"]:
            self._acknowledging(self._world.nodes[name], message["next_node_idx"] - 1)
        self._world.sent(message)

    def _acknowledging(self, leader: SimulatedNode, index: int) -> None:
        """Up to the acknowledged entry this log is on the disk, and is the leader's."""
        if self.journal.dirty or index > self.journal.last_index:
            raise Violation(f"{self.name} acknowledges entry {index} before it is synced")
        if self.engine is None or leader.engine is None or not leader.engine.is_leader():
            return
        ours, theirs = self.engine.log, leader.engine.log
        if self.engine.term() != leader.engine.term() or index < theirs.first_index:
            return
        if index >= ours.first_index and not theirs.holds(index, ours.term_at(index)):
            raise Violation(
                f"{self.name} acknowledges entry {index} of term {ours.term_at(index)} to "
                f"{leader.name}, whose log has another one there, or none"
            )
