"""Owns the round of one node's Raft and the entry of messages: what is durable before what, and
which handler a message goes to.

The top layer of the adapter around pysyncobj: raft_state, raft_elections, raft_replication and
raft_leadership lie below, each one concern. Everything runs on the raft thread. The private names
of the library that the layers touch are listed in pin.py; a test holds that list against them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from statehouse_cluster.raft_leadership import Leadership
from statehouse_cluster.reads import ReadIndex

if TYPE_CHECKING:
    from collections.abc import Callable

    from pysyncobj.node import Node

    from statehouse_cluster.raft_transport import Message

_REQUESTS = frozenset({"append_entries", "x_snap_offer", "request_vote", "x_timeout_now"})
_PREVOTES = frozenset({"x_prevote", "x_prevote_ok"})


class Engine(Leadership):
    """One node's Raft. `step` runs a round; what ended in it is in `take_outcomes`."""

    def step(self, timeout_s: float) -> None:
        """One round: commit, apply, send, then wait at most `timeout_s` for events."""
        self._onTick(timeout_s)

    def _onTick(self, timeToWait: float = 0.0) -> None:
        # The leader counts itself in the library's commit loop: its log must be durable before.
        self.log.flush()
        super()._onTick(timeToWait)
        # What arrived was appended; the answers that vouch for it leave now.
        self.log.flush()
        self._transport.release(self.term())
        if not self.is_leader():
            self._abandon()
        self._serve_reads()
        self._push_transfer()

    def _SyncObj__onBecomeLeader(self) -> None:
        self._abandon()
        self._reads = ReadIndex(self.term())
        super()._SyncObj__onBecomeLeader()
        self.log.flush()

    def received(self, name: str, message: Message) -> None:
        if not self.removed:
            self._transport.received(name, message)

    def _SyncObj__onMessageReceived(self, node: Node, message: Message) -> None:
        kind, stamped = message["type"], message["x_term"]
        if kind in _REQUESTS:
            if message["term"] < self.term():
                self._tell(node.id, {"type": "x_reject"})
                return
        elif stamped > self.term() and kind not in _PREVOTES:
            if node in self._SyncObj__otherNodes:
                self._step_down(stamped)
            if kind != "x_removed":
                return
        handler = self._HANDLERS.get(kind)
        if handler is not None:
            handler(self, node, message)
        if self._seen_changes != self.log.changes_epoch:
            self._refresh_configuration()

    def _on_removed_told(self, node: Node, message: Message) -> None:
        if node in self._SyncObj__otherNodes:
            self.mark_removed()

    _HANDLERS: ClassVar[dict[str, Callable[[Engine, Node, Message], None]]] = {
        "x_prevote": Leadership._on_prevote,
        "x_prevote_ok": Leadership._on_prevote_ok,
        "request_vote": Leadership._on_request_vote,
        "response_vote": Leadership._on_vote,
        "next_node_idx": Leadership._on_answer,
        "append_entries": Leadership._on_append,
        "x_snap_offer": Leadership._on_snapshot_offer,
        "x_timeout_now": Leadership._on_timeout_now,
        "x_removed": _on_removed_told,
    }
