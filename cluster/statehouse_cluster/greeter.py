"""Owns who may speak with this node, and hands what peers say to whom it concerns.

The links ask it about each hello; it answers from the configuration in force. A node that the log
here does not know yet, but that shows the cluster's id and was never removed, is let in: a follower
that lags behind must be able to hear a leader that was added after its last entry. Runs on the raft
thread. It must not know sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from statehouse_cluster.hello import Hello, HelloReply, State, judge, refused
from statehouse_cluster.interfaces import Member

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from statehouse_cluster.raft_adapter import Engine
    from statehouse_cluster.snapshots import SnapshotDesk


class Greeter:
    """The links' callbacks. `adopt` makes a joiner's cluster id durable before it returns."""

    def __init__(
        self,
        me: Hello,
        adopt: Callable[[str], None],
        report: Callable[[str], None],
    ) -> None:
        self.me = me
        self.engine: Engine | None = None
        self.desk: SnapshotDesk | None = None
        self._adopt = adopt
        self._report = report
        self._told: dict[str, str] = {}
        """Where nodes that are no members say they listen."""

    def address_of(self, name: str) -> str:
        """Where a peer listens for its peers; KeyError for a name never heard of."""
        member = self._engine().configuration().get(name)
        return member.peer_address if member is not None else self._told[name]

    # -- What the links ask and tell

    def admit(self, hello: Hello) -> HelloReply:
        engine = self._engine()
        me = self._myself()
        if hello.uuid in engine.applied_configuration().removed and hello.purpose != "probe":
            return refused(
                me, "removed", f"{hello.name} was removed from the cluster {me.cluster_id}"
            )
        known = [*engine.configuration().members, *engine.learners().values()]
        if all(member.name != hello.name for member in known):
            known.append(Member(hello.name, hello.uuid, hello.peer_address, hello.client_address))
        reply = judge(hello, me, known)
        if reply.ok and hello.purpose == "raft":
            if not self.me.cluster_id:
                self._adopt(hello.cluster_id)
                self.me = msgspec.structs.replace(self.me, cluster_id=hello.cluster_id)
            self._told[hello.name] = hello.peer_address
            engine.greet(hello.name, hello.peer_address)
        return reply

    def on_message(self, name: str, message: dict[str, object]) -> None:
        self._engine().received(name, message)

    def on_peer_closed(self, name: str) -> None:
        self._engine().peer_closed(name)

    def on_snapshot_request(self, connection: socket.socket, hello: Hello) -> None:
        if self.desk is None:
            connection.close()
        else:
            self.desk.serve(connection, hello)

    def on_connected(self, name: str) -> None:
        self._report(f"connected to {name}")
        self._engine().link_up(name)

    def on_disconnected(self, name: str) -> None:
        self._report(f"lost the connection to {name}")
        self._engine().link_down(name)

    def on_refused(self, name: str, reply: HelloReply) -> None:
        member = self._engine().configuration().get(name)
        same = reply.cluster_id == self.me.cluster_id
        if reply.code == "removed" and same and member is not None and member.uuid == reply.uuid:
            self._engine().mark_removed()
        self._report(f"{name} refused this node: {reply.text}")

    # -- What it says of this node

    def _myself(self) -> HelloReply:
        engine = self._engine()
        state: State = "joining"
        if engine.removed:
            state = "removed"
        elif engine.name in engine.configuration().names:
            state = "member"
        return HelloReply(
            ok=True,
            code="",
            text="",
            name=self.me.name,
            uuid=self.me.uuid,
            cluster_id=self.me.cluster_id,
            peer_address=self.me.peer_address,
            client_address=self.me.client_address,
            state=state,
            members=engine.configuration().members,
        )

    def _engine(self) -> Engine:
        if self.engine is None:
            raise RuntimeError("the links were served before the engine was made")
        return self.engine
