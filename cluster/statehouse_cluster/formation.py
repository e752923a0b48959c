"""Owns the birth of a static cluster on the wire: asks all listed nodes and answers them meanwhile.

founding.py holds the rule and why it is safe. This file keeps its order: the identity is on the
disk before the listener is served, a binding before it is told, the membership before `form`
returns. Blocks its thread, which is the only one to decide; asking is done beside it, so that nodes
that ask each other never wait for each other. Must not know Raft.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Final

import msgspec

from statehouse_cluster.founding import (
    Bind,
    FormationRefused,
    Found,
    Wait,
    cluster_id_of,
    decide,
)
from statehouse_cluster.hello import Hello, HelloReply, judge
from statehouse_cluster.interfaces import Member
from statehouse_cluster.links import PeerLinks
from statehouse_cluster.poller import Poller, Wakeup
from statehouse_cluster.probe import ProbeFailed, probe

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from statehouse_cluster.identity import DataDirectory, Identity

__all__ = ["FormationRefused", "FormationStopped", "form"]

PROBE_TIMEOUT_S: Final = 1.0
PROBE_INTERVAL_S: Final = 0.2
REPORT_INTERVAL_S: Final = 5.0
REFUSAL_LINGER_S: Final = 1.0
_POLL_S: Final = 0.05


class FormationStopped(Exception):
    """The stop event was set, or the time ran out, before the cluster was formed."""


def form(
    directory: DataDirectory,
    identity: Identity,
    listed: Mapping[str, str],
    listener: socket.socket | None,
    *,
    client_address: str,
    stop: threading.Event,
    report: Callable[[str], None],
    timeout_s: float | None = None,
) -> Identity:
    """Makes this node a member of the cluster of the listed nodes, and returns when it is.

    `identity` is what `DataDirectory.identify` returned; once it has a cluster id it is returned as
    it is. `listed` gives the peer address of each name, its own included. `listener` is of
    `open_listener`, stays open and is served by the caller afterwards; None for a list of one.
    The result's `bound_members` are the first configuration, the same on every node. Raises
    FormationRefused, FormationStopped, or OSError of the disk.
    """
    if identity.cluster_id:
        return identity
    if identity.name not in listed:
        raise FormationRefused(
            f"{identity.name} is not in its own list of peers, {', '.join(sorted(listed))}; add it"
        )
    me = Member(identity.name, identity.uuid, listed[identity.name], client_address)
    former = _Former(directory, identity, me, listed)
    if len(listed) == 1:
        former.settle()
        return former.identity
    if listener is None:
        raise ValueError("nodes that form a cluster together need a listener")
    return _meet(former, listener, stop, report, timeout_s)


class _Former:
    """The node's standing while it forms, and what it heard; all on one thread."""

    def __init__(
        self, directory: DataDirectory, identity: Identity, me: Member, listed: Mapping[str, str]
    ) -> None:
        self._directory = directory
        self._me = me
        self.listed = listed
        self.identity = identity
        self.heard: dict[str, HelloReply] = {}

    @property
    def hello(self) -> Hello:
        """What it says of itself when it asks."""
        me = self._me
        return Hello("probe", me.name, me.uuid, "", me.peer_address, me.client_address)

    def settle(self) -> str:
        """Takes each step that can be taken, durably; returns what it waits for, "" for nothing."""
        while not self.identity.cluster_id:
            decision = decide(self._me, self.identity.bound_members, self.listed, self.heard)
            match decision:
                case Wait(reason):
                    return reason
                case Bind(members):
                    self._store(msgspec.structs.replace(self.identity, bound_members=members))
                case Found(cluster_id):
                    self._store(msgspec.structs.replace(self.identity, cluster_id=cluster_id))
        return ""

    def reply(self) -> HelloReply:
        """What it answers when it is asked."""
        me, bound = self._me, self.identity.bound_members
        return HelloReply(
            ok=True,
            code="",
            text="",
            name=me.name,
            uuid=me.uuid,
            cluster_id=cluster_id_of(bound),
            peer_address=me.peer_address,
            client_address=me.client_address,
            state="member" if self.identity.cluster_id else "forming",
            members=bound or tuple(Member(name, "", at, "") for name, at in self.listed.items()),
        )

    # What the links ask and tell: no raft or snapshot connection is ever admitted.

    def admit(self, hello: Hello) -> HelloReply:
        return judge(hello, self.reply())

    def on_message(self, name: str, message: dict[str, object]) -> None: ...

    def on_peer_closed(self, name: str) -> None: ...

    def on_snapshot_request(self, connection: socket.socket, hello: Hello) -> None:
        connection.close()

    def on_connected(self, name: str) -> None: ...

    def on_disconnected(self, name: str) -> None: ...

    def on_refused(self, name: str, reply: HelloReply) -> None: ...

    def _store(self, identity: Identity) -> None:
        self._directory.store(identity)
        self.identity = identity


class _Asker:
    """Asks each listed node again and again, on a thread each; answers wait in `answers`."""

    def __init__(self, hello: Hello, listed: Mapping[str, str], wake: Callable[[], None]) -> None:
        self.answers: deque[tuple[str, HelloReply | str]] = deque()
        """By name: the reply, or why there is none."""
        self._wake = wake
        self._ended = threading.Event()
        for name, address in listed.items():
            if name != hello.name:
                question = msgspec.structs.replace(hello, target_name=name)
                threading.Thread(
                    target=self._ask, args=(name, address, question), name="former", daemon=True
                ).start()

    def end(self) -> None:
        """Asks no more; a thread that waits for an answer ends by its time-out."""
        self._ended.set()

    def _ask(self, name: str, address: str, question: Hello) -> None:
        while not self._ended.is_set():
            try:
                self.answers.append((name, probe(address, question, PROBE_TIMEOUT_S)))
            except ProbeFailed as error:
                self.answers.append((name, str(error)))
            self._wake()
            self._ended.wait(PROBE_INTERVAL_S)


def _meet(
    former: _Former,
    listener: socket.socket,
    stop: threading.Event,
    report: Callable[[str], None],
    timeout_s: float | None,
) -> Identity:
    poller = Poller()
    links = PeerLinks(former.hello, poller, time.monotonic, Random(), former, report)
    wakeup = Wakeup(poller, lambda: None)
    asker = _Asker(former.hello, former.listed, wakeup.set)
    give_up_at = None if timeout_s is None else time.monotonic() + timeout_s
    report_at = time.monotonic() + REPORT_INTERVAL_S
    try:
        links.serve(listener)
        while waiting_for := _hear(former, asker):
            now = time.monotonic()
            if stop.is_set() or (give_up_at is not None and now >= give_up_at):
                raise FormationStopped(f"no cluster was formed: {waiting_for}")
            if now >= report_at:
                report(f"forming a cluster of {', '.join(sorted(former.listed))}: {waiting_for}")
                report_at = now + REPORT_INTERVAL_S
            poller.poll(_POLL_S)
            links.tick()
    except FormationRefused:
        _answer_on(poller, links, stop)
        raise
    finally:
        asker.end()
        wakeup.close()
        links.close()
        poller.close()
    report(f"{former.identity.name} is a founding member of cluster {former.identity.cluster_id}")
    return former.identity


def _answer_on(poller: Poller, links: PeerLinks, stop: threading.Event) -> None:
    """Lets the others, who ask soon, meet the reason for the refusal as well, not just silence."""
    until = time.monotonic() + REFUSAL_LINGER_S
    while not stop.is_set() and time.monotonic() < until:
        poller.poll(_POLL_S)
        links.tick()


def _hear(former: _Former, asker: _Asker) -> str:
    """Takes in the answers that came; returns what is still waited for, "" when it is done."""
    failures: dict[str, str] = {}
    while asker.answers:
        name, answer = asker.answers.popleft()
        if isinstance(answer, HelloReply):
            former.heard[name] = answer
        else:
            # What a node that is gone said may be of a disk that is gone, too.
            former.heard.pop(name, None)
            failures[name] = answer
    waiting_for = former.settle()
    if waiting_for and failures:
        return f"{waiting_for} ({'; '.join(failures.values())})"
    return waiting_for
