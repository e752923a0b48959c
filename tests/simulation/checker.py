"""What must be true of the cluster as a whole, whatever happens to it.

It sees what an outsider would want to know of every node: who leads in which term, what was applied
at which index, what clients were answered. The first thing that cannot be is raised as Violation.
What clients saw of the data is judged at the end of a run, by tests/checkers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse.core import codec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from statehouse_cluster.interfaces import Entry, Position
    from statehouse_cluster.membership import Configuration
    from statehouse_cluster.raft_log import RaftLog


class Violation(Exception):
    """A promise of consensus was broken."""


def submissions_of(payload: bytes) -> Sequence[bytes]:
    """The commands that share a log entry."""
    return codec.decode_group(payload).submissions


class Checker:
    """The one history that all nodes must share, and the answers given about it.

    commands_of: takes the payload of a log entry apart.
    """

    def __init__(self, commands_of: Callable[[bytes], Sequence[bytes]] = submissions_of) -> None:
        self.frontier = 0
        """Some client has been told of this commit_ts, or of an answer that speaks for it."""
        self.terms: dict[int, str] = {}
        """Term to the one who led in it."""
        self.furthest = (0, 0, 0)
        """Index and term of the last entry applied anywhere, and a term it was committed by."""
        self.head_at: dict[int, object] = {}
        """Index to the state of whoever had applied just so far."""
        self._commands_of = commands_of
        self._entries: dict[int, tuple[int, bytes]] = {}
        self._term_at: dict[int, int] = {0: 0}
        self._configurations: dict[int, Configuration] = {}
        self._votes: dict[tuple[str, int], str] = {}
        self._once: dict[bytes, str] = {}
        """Commands that are proposed once and never again, and what became of them."""

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

    def applied(self, name: str, entry: Entry) -> None:
        """A node is about to apply an entry."""
        told = self._entries.get(entry.index)
        if told is None:
            self._entries[entry.index] = entry.term, entry.payload
            for command in self._commands_of(entry.payload):
                self._first_applied(name, command)
        elif told != (entry.term, entry.payload):
            raise Violation(
                f"{name} applies at index {entry.index} an entry of term {entry.term}, another "
                f"node applied a different one of term {told[0]} there"
            )

    def _first_applied(self, name: str, command: bytes) -> None:
        fate = self._once.get(command)
        if fate == "proposed":
            self._once[command] = "applied"
        elif fate == "applied":
            raise Violation(f"{command!r} is applied a second time, by {name}")
        elif fate == "refused":
            raise Violation(f"{command!r} was refused for certain, yet {name} applies it")

    def reached(self, name: str, position: Position, head: object) -> None:
        """A node has applied everything up to a position, and its state is `head`."""
        term = self._term_at.setdefault(position.index, position.term)
        if term != position.term:
            raise Violation(
                f"{name} applied index {position.index} of term {position.term}, another node "
                f"of term {term}"
            )
        told = self.head_at.setdefault(position.index, head)
        if told != head:
            raise Violation(
                f"after index {position.index} the state of {name} is {head}, another node's {told}"
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

    def proposed_once(self, command: bytes) -> None:
        """This command will never be proposed again."""
        self._once[command] = "proposed"

    def refused(self, command: bytes) -> None:
        """A definite no: from now on nobody may apply it, and nobody has."""
        if self._once[command] == "applied":
            raise Violation(f"{command!r} was refused for certain, yet it is applied")
        self._once[command] = "refused"

    def told(self, commit_ts: int) -> None:
        """A client knows of this commit_ts from now on."""
        self.frontier = max(self.frontier, commit_ts)

    def read(self, name: str, needed: int, served_at: int) -> None:
        """A linearizable read speaks for `served_at`; `needed` was known when it was asked."""
        if served_at < needed:
            raise Violation(
                f"a read at {name} speaks for commit_ts {served_at}, {needed} was known before it "
                "began"
            )
        self.told(served_at)
