"""Owns the proof behind a linearizable read: ReadIndex without clocks.

Pure. A read may be served when, after it arrived, a majority of the voters answered a message of
this leader in its own term: no later leader can have been elected before, so every write that was
acknowledged before the read began is at or below the commit index remembered with it. Every
message carries a round number and its answer echoes it; any answer counts, a rejection too.
Source: the Raft dissertation, section 6.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

    from statehouse_cluster.interfaces import Ticket


class _Waiting(NamedTuple):
    round: int
    commit_index: int
    tickets: list[Ticket]


class ReadIndex:
    """The reads of one leadership; made anew in each term."""

    def __init__(self, term: int) -> None:
        self.term = term
        self.round = 0
        """The number stamped on outgoing messages."""
        self._arrived: list[Ticket] = []
        self._waiting: list[_Waiting] = []
        self._echoed: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._arrived) + sum(len(batch.tickets) for batch in self._waiting)

    def arrive(self, tickets: list[Ticket]) -> None:
        self._arrived.extend(tickets)

    def start_round(self, commit_index: int) -> bool:
        """Puts all reads that arrived into one new round; False when there were none.

        The caller sends to its peers now, stamped with the new round, and calls this only once it
        has applied an entry of its own term: before, its commit index may miss earlier terms'.
        """
        if not self._arrived:
            return False
        self.round += 1
        self._waiting.append(_Waiting(self.round, commit_index, self._arrived))
        self._arrived = []
        return True

    def echo(self, voter: str, round_number: int) -> None:
        """An answer of this term came from `voter`, to a message stamped with `round_number`."""
        if round_number > self._echoed.get(voter, 0):
            self._echoed[voter] = round_number

    def served(self, other_voters: Collection[str], applied_index: int) -> list[Ticket]:
        """Takes out the reads that are proven and applied."""
        done: list[Ticket] = []
        while self._waiting:
            batch = self._waiting[0]
            heard = 1 + sum(self._echoed.get(name, 0) >= batch.round for name in other_voters)
            if heard * 2 <= len(other_voters) + 1 or applied_index < batch.commit_index:
                break
            done.extend(batch.tickets)
            del self._waiting[0]
        return done

    def drain(self) -> list[Ticket]:
        """All reads not served, when the leadership is over."""
        left = [ticket for batch in self._waiting for ticket in batch.tickets] + self._arrived
        self._waiting, self._arrived = [], []
        return left
