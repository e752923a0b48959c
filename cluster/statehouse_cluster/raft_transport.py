"""Owns the stamping of messages between pysyncobj and the peer links.

Every message gets the sender's current term and its read round; answers that vouch for the log
wait here until the log is durable. It must not know what the messages mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from pysyncobj.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from pysyncobj.node import Node

_HELD: Final = frozenset({"next_node_idx", "response_vote"})
"""Answers that must not leave before the log they speak of is synced."""

Message = dict[str, Any]


class Links(Protocol):
    """The connections to peers, by name."""

    def send(self, name: str, message: Message) -> bool: ...

    def is_full(self, name: str) -> bool: ...

    def dial(self, name: str, address: str) -> None: ...

    def drop(self, name: str) -> None: ...

    def linger(self, name: str) -> None: ...


class RaftTransport(Transport):  # type: ignore[misc]  # pysyncobj has no types
    """The library's transport over `Links`; `node` tells who has a name.

    `stamp` adds what every message carries.

    `on_unsent` is called, from within `send`, with what the links did not take.
    """

    ready = True

    def __init__(
        self,
        links: Links,
        node: Callable[[str], Node],
        stamp: Callable[[Message], Message],
        on_unsent: Callable[[Node, Message], None],
    ) -> None:
        super().__init__(None, None, None)
        self._links = links
        self._node = node
        self._stamp = stamp
        self._on_unsent = on_unsent
        self._held: list[tuple[str, Message]] = []

    def send(self, node: Node, message: Message) -> bool:
        stamped = self._stamp(message)
        if message["type"] in _HELD:
            self._held.append((node.id, stamped))
            return True
        if self._links.send(node.id, stamped):
            return True
        self._on_unsent(node, message)
        return False

    def release(self, current_term: int) -> None:
        """Sends the held answers; the caller has flushed the log. Those of an older term go."""
        held, self._held = self._held, []
        for name, message in held:
            if message["x_term"] == current_term:
                self._links.send(name, message)

    # The adapter dials by the configuration; the library's own book-keeping is not used.

    def addNode(self, node: Node) -> None: ...

    def dropNode(self, node: Node) -> None: ...

    def tryGetReady(self) -> None: ...

    def waitReady(self) -> None: ...

    def destroy(self) -> None: ...

    # The links' events, on the raft thread.

    def link_up(self, name: str) -> None:
        self._onNodeConnected(self._node(name))

    def link_down(self, name: str) -> None:
        self._onNodeDisconnected(self._node(name))

    def received(self, name: str, message: Message) -> None:
        self._onMessageReceived(self._node(name), message)
