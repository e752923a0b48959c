"""Owns which node to ask next; pure: what happened and the time go in, an address comes out.

The leader is asked while it is believed in; a hint of an older term than the belief is ignored. A
node that failed rests for a while, longer each time. Without a leader the nodes are asked in turn,
the one asked longest ago first. The addresses the user gave are kept for ever; those learned from
the cluster are replaced by each newer list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

REST_FIRST_S: Final = 0.1
REST_MAX_S: Final = 2.0
SILENCE_REST_S: Final = 1.0
"""The least rest of a node that kept silent. Its followers notice that later than its clients, and
go on naming it: who went back to it at once would wait for it again, and longer."""


class Choice(NamedTuple):
    """Ask this node, after so many seconds."""

    address: str
    wait_s: float


@dataclass(slots=True)
class _Node:
    at_once: Choice
    """It, without a wait; made once, for every call chooses."""
    asked: int = 0
    """The turn in which it was asked last."""
    failures: int = 0
    rests_until_s: float = 0.0


def _new(address: str) -> _Node:
    return _Node(Choice(address, 0.0))


class Endpoints:
    """The nodes one client knows. Not thread-safe: its owner holds a lock."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._given = tuple(dict.fromkeys(addresses))
        self._nodes = {address: _new(address) for address in self._given}
        self._leader = ""
        self._leader_term = 0
        self._turn = 0
        self.contacted = False
        """Whether any node was ever reached."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """All nodes known: first those the user gave, then those learned."""
        return tuple(self._nodes)

    @property
    def leader(self) -> str:
        """The address believed to be the leader's; empty: unknown."""
        return self._leader

    def choose(self, now_s: float, *, leader: bool = True) -> Choice:
        """The node to ask now; `leader` False spreads reads that any node may answer."""
        self._turn += 1
        if leader:
            believed = self._nodes.get(self._leader)
            if believed is not None and believed.rests_until_s <= now_s:
                believed.asked = self._turn
                return believed.at_once
        address, node = min(
            self._nodes.items(),
            key=lambda item: (max(item[1].rests_until_s - now_s, 0.0), item[1].asked),
        )
        node.asked = self._turn
        return Choice(address, max(node.rests_until_s - now_s, 0.0))

    def choose_well(self) -> str:
        """The leader, as `choose` does, if it is known and nothing went wrong there; or empty."""
        node = self._nodes.get(self._leader)
        if node is None or node.failures:
            return ""
        self._turn += 1
        node.asked = self._turn
        return self._leader

    def leads_well(self, address: str) -> bool:
        """Whether an answer of this node as the leader tells nothing new.

        It changes nothing, so it may be asked without the owner's lock.
        """
        node = self._nodes.get(address)
        return node is not None and node.failures == 0 and address == self._leader

    def answered(self, address: str, *, as_leader: bool) -> None:
        """The node answered; `as_leader`: as only a leader can."""
        self.contacted = True
        node = self._nodes.get(address)
        if node is not None:
            node.failures = 0
            node.rests_until_s = 0.0
        if as_leader and address != self._leader:
            # Its term is unknown: any hint may correct this belief.
            self._leader, self._leader_term = address, 0

    def failed(self, address: str, now_s: float, *, silent: bool = False) -> None:
        """The node could not be reached, broke off or (`silent`) did not answer in time."""
        if address == self._leader:
            self._leader = ""
        node = self._nodes.get(address)
        # Many calls fail together when one connection breaks: that is one failure, not many.
        if node is not None and node.rests_until_s <= now_s:
            others = len(self._nodes) > 1
            least_s = SILENCE_REST_S if silent and others else REST_FIRST_S
            rest_s = min(max(least_s, REST_FIRST_S * 2 ** min(node.failures, 10)), REST_MAX_S)
            node.failures += 1
            node.rests_until_s = now_s + rest_s

    def refused(self, address: str, leader_address: str, leader_term: int) -> None:
        """The node is there and does not lead; it names a leader, or none (empty)."""
        self.answered(address, as_leader=False)
        if address == self._leader:
            self._leader = ""
        if not leader_address or leader_address == address or leader_term < self._leader_term:
            return
        self._leader, self._leader_term = leader_address, leader_term
        self._nodes.setdefault(leader_address, _new(leader_address))

    def learned(self, addresses: Iterable[str]) -> None:
        """The cluster's members by their own word; nodes that are gone are forgotten."""
        wanted = [address for address in (*self._given, *addresses) if address]
        self._nodes = {address: self._nodes.get(address) or _new(address) for address in wanted}
