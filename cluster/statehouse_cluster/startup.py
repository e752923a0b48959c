"""Owns the order in which a node's part of a cluster comes up, and what it is made of.

Who am I (identity), with whom (formation, unless it is known), what do I hold (journal, brought
together with the state machine), how do I reach the others (links, snapshots), then Raft over all
of it. Runs on the raft thread. It must not know rounds or requests.
"""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from statehouse_cluster import pin
from statehouse_cluster.addresses import parse
from statehouse_cluster.files import RealFiles
from statehouse_cluster.formation import FormationStopped, form
from statehouse_cluster.greeter import Greeter
from statehouse_cluster.hello import Hello
from statehouse_cluster.incoming import open_listener
from statehouse_cluster.journal import Journal
from statehouse_cluster.links import PeerLinks
from statehouse_cluster.membership import Configuration
from statehouse_cluster.poller import Poller, WaitGate, Wakeup
from statehouse_cluster.probe import ProbeFailed, open_stream
from statehouse_cluster.raft_adapter import Engine
from statehouse_cluster.recovery import InstallNote, found, reconcile
from statehouse_cluster.snapshots import SnapshotDesk

if TYPE_CHECKING:
    import socket
    import threading
    from collections.abc import Callable

    from statehouse_cluster.files import Files
    from statehouse_cluster.hello import Purpose
    from statehouse_cluster.identity import DataDirectory, Identity
    from statehouse_cluster.interfaces import StateMachine
    from statehouse_cluster.settings import ClusterSettings

_CONNECT_S = 2.0


class Stopped(Exception):
    """The node was asked to stop before it had come up."""


class StartRefused(Exception):
    """The node cannot start with these settings and this data; the text says what to do."""


@dataclass
class Parts:
    """What one running node's consensus is made of; the raft thread's own."""

    settings: ClusterSettings
    identity: Identity
    engine: Engine
    journal: Journal
    links: PeerLinks
    desk: SnapshotDesk
    greeter: Greeter
    poller: Poller
    gate: WaitGate
    wakeup: Wakeup
    note: InstallNote
    listener: socket.socket | None
    report: Callable[[str], None]

    def hello(self, purpose: Purpose) -> Hello:
        """What this node says of itself when it opens a connection of its own."""
        return msgspec.structs.replace(self.greeter.me, purpose=purpose)

    def install_fetched(self) -> None:
        """Installs a snapshot that has arrived, if it is still ahead of the state."""
        fetched = self.desk.take_fetched()
        if fetched is None or fetched.position.index <= self.engine.applied_index():
            return
        self.note.write(fetched.position)
        self.engine.install(fetched.directory, fetched.position)
        self.note.remove()
        self.report(f"installed the snapshot at entry {fetched.position.index}")

    def note_removal(self) -> None:
        """Makes it durable that this node was removed, once."""
        if self.engine.removed and not self.identity.removed:
            self.store_identity(msgspec.structs.replace(self.identity, removed=True))
            self.report("this node was removed from its cluster; it serves no more")

    def adopt_cluster(self, cluster_id: str) -> None:
        """A joiner belongs to the cluster that calls it, durably, before it answers."""
        self.store_identity(msgspec.structs.replace(self.identity, cluster_id=cluster_id))
        self.links.me = msgspec.structs.replace(self.links.me, cluster_id=cluster_id)
        self.report(f"joining cluster {cluster_id}")

    def store_identity(self, identity: Identity) -> None:
        self.settings.directory.store(identity)
        self.identity = identity

    def close(self) -> None:
        """Lets go of sockets and files; the journal is synced as far as it was acknowledged."""
        self.desk.close()
        self.links.close()
        if self.listener is not None:
            self.listener.close()
        self.wakeup.close()
        self.poller.close()
        with contextlib.suppress(OSError):
            self.journal.close()


def start_parts(
    settings: ClusterSettings,
    machine: StateMachine,
    *,
    stop: threading.Event,
    report: Callable[[str], None],
) -> Parts:
    """Brings a node up to where it can run rounds.

    Raises Stopped, StartRefused, FormationRefused, IdentityRefused, JournalDamaged, Diverged or
    OSError; each says in words what happened and what to do.
    """
    pin.check()
    identity = settings.directory.identify(settings.name)
    if identity.removed:
        raise StartRefused(
            f"{settings.name} was removed from cluster {identity.cluster_id}; start a new node "
            "under another name with an empty data directory, and add that"
        )
    listener = _listen(settings)
    try:
        identity = _belong(settings, identity, listener, stop, report)
        return _assemble(settings, machine, identity, listener, report)
    except BaseException:
        if listener is not None:
            listener.close()
        raise


def _listen(settings: ClusterSettings) -> socket.socket | None:
    if not settings.peer_listen:
        return None
    address = parse(settings.peer_listen)
    try:
        return open_listener(address.host, address.port)
    except OSError as error:
        raise StartRefused(
            f"cannot listen for peers on {settings.peer_listen}: {error.strerror or error}; stop "
            "what uses the address, or choose another one"
        ) from error


def _belong(
    settings: ClusterSettings,
    identity: Identity,
    listener: socket.socket | None,
    stop: threading.Event,
    report: Callable[[str], None],
) -> Identity:
    if identity.cluster_id or settings.join:
        if listener is None and (settings.join or len(identity.bound_members) > 1):
            raise StartRefused(
                f"{settings.name} belongs to a cluster and needs an address for its peers; give "
                "the one it had as --peer-listen"
            )
        return identity
    peers = dict(settings.peers) or {settings.name: settings.peer_listen}
    try:
        return form(
            settings.directory,
            identity,
            peers,
            listener,
            client_address=settings.client_address,
            stop=stop,
            report=report,
        )
    except FormationStopped as error:
        raise Stopped from error


def _assemble(
    settings: ClusterSettings,
    machine: StateMachine,
    identity: Identity,
    listener: socket.socket | None,
    report: Callable[[str], None],
) -> Parts:
    files = RealFiles()
    directory = settings.directory
    _require_journal(identity, directory, files)
    journal = Journal.open(directory.journal, files, report=report)
    note = InstallNote(directory.path, files)
    found(journal, machine, Configuration(identity.bound_members))
    reconcile(journal, machine.position(), note, report)
    if not identity.begun:
        identity = msgspec.structs.replace(identity, begun=True)
        directory.store(identity)
    poller = Poller()
    gate = WaitGate(poller)
    wakeup = Wakeup(poller, lambda: None)
    me = Hello(
        purpose="raft",
        name=identity.name,
        uuid=identity.uuid,
        cluster_id=identity.cluster_id,
        peer_address=settings.peers.get(settings.name, settings.peer_listen),
        client_address=settings.client_address,
    )
    greeter = Greeter(me, lambda cluster_id: parts.adopt_cluster(cluster_id), report)
    randomness = random.Random()
    links = PeerLinks(me, poller, time.monotonic, randomness, greeter, report)
    desk = SnapshotDesk(
        directory=directory,
        machine=machine,
        connect=lambda leader, snapshot_id: _open_snapshot(greeter, leader, snapshot_id),
        wake=wakeup.set,
        report=report,
    )
    engine = Engine(
        name=identity.name,
        journal=journal,
        machine=machine,
        founding=Configuration(identity.bound_members),
        links=links,
        poller=gate,
        snapshots=desk,
        timing=settings.timing,
        bounds=settings.bounds,
        randomness=randomness,
    )
    greeter.engine, greeter.desk = engine, desk
    parts = Parts(
        settings=settings,
        identity=identity,
        engine=engine,
        journal=journal,
        links=links,
        desk=desk,
        greeter=greeter,
        poller=poller,
        gate=gate,
        wakeup=wakeup,
        note=note,
        listener=listener,
        report=report,
    )
    if listener is not None:
        links.serve(listener)
    return parts


def _require_journal(identity: Identity, directory: DataDirectory, files: Files) -> None:
    """A journal that was lost must not be made anew: its votes and promises are forgotten."""
    if identity.begun and not files.list_directory(directory.journal):
        raise StartRefused(
            f"{directory.journal} is empty, but {identity.name} has run before: its journal is "
            "lost; remove this member and add a new one under another name with an empty data "
            "directory"
        )


def _open_snapshot(greeter: Greeter, leader: str, snapshot_id: str) -> socket.socket:
    hello = msgspec.structs.replace(
        greeter.me, purpose="snapshot", target_name=leader, snapshot_id=snapshot_id
    )
    try:
        connection, reply = open_stream(greeter.address_of(leader), hello, _CONNECT_S)
    except (ProbeFailed, KeyError) as error:
        raise ConnectionError(str(error)) from error
    if not reply.ok:
        connection.close()
        raise ConnectionError(f"{leader} refused to send a snapshot: {reply.text}")
    return connection
