"""What must be true of the cluster as a whole, whatever happens to it.

It sees what an outsider would want to know of every node: who leads in which term, what was applied
at which index, what clients were answered. The first thing that cannot be is raised as Violation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from statehouse_cluster.interfaces import Entry, Position
    from statehouse_cluster.membership import Configuration
    from statehouse_cluster.raft_log import RaftLog


class Violation(Exception):
    """A promise of consensus was broken."""


class Checker:
    """The one history that all nodes must share, and the answers given about it."""

    def __init__(self) -> None:
        self.history: list[bytes] = []
        """The commands in the order applied, by whoever applied them first."""
        self.frontier = 0
        """So much of the history some client has been told of."""
        self.terms: dict[int, str] = {}
        """Term to the one who led in it."""
        self.furthest = (0, 0, 0)
        """Index and term of the last entry applied anywhere, and a term it was committed by."""
        self._place: dict[bytes, int] = {}
        self._entries: dict[int, tuple[int, bytes]] = {}
        self._term_at: dict[int, int] = {0: 0}
        self._configurations: dict[int, Configuration] = {}
        self._votes: dict[tuple[str, int], str] = {}
        self._refused: set[bytes] = set()

    # -- What nodes do

    def leads(self, name: str, term: int, log: RaftLog) -> bool:
        """A node leads; says whether this is the first time it is seen to in this term."""
        before = self.terms.get(term)
        if before is None:
            self.terms[term] = name
            self._must_hold_all(name, term, log)
        elif before != name:
            raise Violation(f"{before} and {name} both lead in term {term}")
        return before is None

    def _must_hold_all(self, name: str, term: int, log: RaftLog) -> None:
        """What was committed by an earlier term is in the log of every later leader."""
        index, entry_term, committed_by = self.furthest
        if committed_by < term and log.first_index <= index and not log.holds(index, entry_term):
            raise Violation(
                f"{name} leads in term {term} without the committed entry {index} of term "
                f"{entry_term}"
            )

    def voted(self, name: str, term: int, candidate: str) -> None:
        """A node gives its vote, a candidate to itself."""
        before = self._votes.setdefault((name, term), candidate)
        if before != candidate:
            raise Violation(f"{name} votes for {before} and for {candidate} in term {term}")

    def started(self, name: str, term: int, vote: str | None) -> None:
        """A node starts with what its disk tells it."""
        told = max((of for who, of in self._votes if who == name), default=0)
        if told > term or (told == term and told and self._votes[name, told] != vote):
            raise Violation(
                f"{name} voted for {self._votes[name, told]} in term {told}, and starts with term "
                f"{term} and a vote for {vote}"
            )

    def applied(self, name: str, entry: Entry, place: int, commands: Sequence[bytes]) -> None:
        """A node applies an entry whose first command is number `place` of its state."""
        told = self._entries.setdefault(entry.index, (entry.term, entry.payload))
        if told != (entry.term, entry.payload):
            raise Violation(
                f"{name} applies at index {entry.index} an entry of term {entry.term}, another "
                f"node applied a different one of term {told[0]} there"
            )
        if place > len(self.history):
            raise Violation(f"{name} applies command {place}, but only {len(self.history)} exist")
        for number, command in enumerate(commands, place):
            if number < len(self.history):
                if self.history[number] != command:
                    raise Violation(
                        f"{name} has {command!r} as command {number}, another node has "
                        f"{self.history[number]!r}"
                    )
                continue
            if command in self._place:
                raise Violation(f"{command!r} is applied a second time, by {name}")
            if command in self._refused:
                raise Violation(f"{command!r} was refused for certain, yet {name} applies it")
            self._place[command] = number
            self.history.append(command)

    def reached(self, name: str, position: Position) -> None:
        """A node has applied everything up to a position."""
        term = self._term_at.setdefault(position.index, position.term)
        if term != position.term:
            raise Violation(
                f"{name} applied index {position.index} of term {position.term}, another node "
                f"of term {term}"
            )

    def configured(self, name: str, index: int, configuration: Configuration) -> None:
        """The configuration a node holds to be committed, having applied up to `index`."""
        told = self._configurations.setdefault(index, configuration)
        if told != configuration:
            raise Violation(
                f"after index {index} {name} has the members {sorted(configuration.names)}, "
                f"another node {sorted(told.names)}"
            )

    # -- What clients are told

    def acknowledged(self, command: bytes, place: int) -> None:
        if self.history[place : place + 1] != [command]:
            raise Violation(f"{command!r} was acknowledged as command {place}, which it is not")
        self.frontier = max(self.frontier, place + 1)

    def refused(self, command: bytes) -> None:
        """A definite no: from now on nobody may apply it, and nobody has."""
        if command in self._place:
            raise Violation(f"{command!r} was refused for certain, yet it is applied")
        self._refused.add(command)

    def read(self, name: str, needed: int, length: int) -> None:
        """A linearizable read saw `length` commands; `needed` were known of when it was asked."""
        if length < needed:
            raise Violation(
                f"a read at {name} saw {length} commands, {needed} were known of before it began"
            )
        self.frontier = max(self.frontier, length)
