"""Owns the pure repairs of the library's Raft messages; sees numbers, never a socket or a disk.

Each guard closes a hole through which pysyncobj 0.3.17 loses acknowledged writes or stalls; the
adapter calls them through this module's names, so that a test can take one out and prove that it
is missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T", bound=tuple[bytes, int, int])


class LogTerms(Protocol):
    """What a guard may ask of the log."""

    @property
    def first_index(self) -> int: ...

    @property
    def last_index(self) -> int: ...

    def term_at(self, index: int) -> int: ...


class Append(NamedTuple):
    """What a follower must do with an append_entries message.

    verified: the last index up to which this log is known to equal the leader's after the message;
        None when the message does not connect to this log, and the answer must be a reset.
    keep_from: how many of the message's entries are already here with the same term; the rest is
        new or conflicting and replaces everything after them.
    """

    verified: int | None
    keep_from: int


def place_append(
    log: LogTerms,
    previous_index: int | None,
    previous_term: int | None,
    entries: Sequence[tuple[bytes, int, int]],
) -> Append:
    """Says where a message connects to the log.

    The library deletes everything after the message's start even when it matches, and so drops
    acknowledged entries when a message comes late or twice. Raft deletes only from the first entry
    that really conflicts.
    """
    if previous_index is None:
        return Append(None, 0)
    base = log.first_index
    skipped = 0
    if previous_index < base:
        # The base is applied here, hence committed: entries up to it need no comparison.
        while skipped < len(entries) and entries[skipped][1] <= base:
            skipped += 1
        reached = entries[-1][1] if len(entries) else previous_index
        if skipped == len(entries):
            return Append(min(reached, base), skipped)
        previous_index, previous_term = base, log.term_at(base)
    if previous_index > log.last_index or log.term_at(previous_index) != previous_term:
        return Append(None, 0)
    verified = previous_index
    while skipped < len(entries):
        _, index, term = entries[skipped]
        if index > log.last_index or log.term_at(index) != term:
            break
        verified = index
        skipped += 1
    return Append(verified, skipped)


def cap_commit(leader_commit: int, last_verified: int) -> int:
    """The commit index a message may prove: never past what that same message verified."""
    return min(leader_commit, last_verified)


def conflict_hint(log: LogTerms, next_index: int, commit_index: int) -> int:
    """Where a leader should go on after a mismatch: before the whole conflicting term.

    One entry a round trip would take minutes for a long tail. Never below what is committed.
    """
    if not log.first_index <= next_index - 1 <= log.last_index:
        return next_index
    hint = next_index
    if hint <= log.last_index:
        term = log.term_at(hint)
        floor = max(commit_index, log.first_index)
        while hint - 1 > floor and log.term_at(hint - 1) == term:
            hint -= 1
    return max(hint, log.first_index + 1)


def clamp_reset(hint: int, match_index: int, last_index: int) -> int:
    """A reset may not go below what is known to match, nor past the log's end."""
    return min(max(hint, match_index + 1), last_index + 1)


def ack_counts(stamped_term: int, own_term: int, leads: bool, from_peer: bool) -> bool:
    """Whether an acknowledgement may count: same term, still leading, from a voter or learner.

    The library's acknowledgements carry no term; a delayed one of an earlier leadership would
    vouch for entries that were overwritten since.
    """
    return stamped_term == own_term and leads and from_peer


class VoteBox:
    """The voters of one term, each counted once, members only; the library counts messages."""

    def __init__(self) -> None:
        self._term = 0
        self._voters: set[str] = set()

    def admit(self, term: int, own_term: int, voter: str, is_member: bool) -> bool:
        """Whether this vote is the first of its voter in the candidate's own term."""
        if term != own_term or not is_member:
            return False
        if self._term != own_term:
            self._term, self._voters = own_term, set()
        if voter in self._voters:
            return False
        self._voters.add(voter)
        return True


class PreVote:
    """A poll before a campaign, so that a node which could not win does not depose a leader.

    Source: the Raft dissertation, section 9.6. The term asked about is one above the node's own;
    answers for another term do not count.
    """

    def __init__(self) -> None:
        self._term = 0
        self._granted: set[str] = set()
        self._ask_again_at = float("-inf")

    def granted_by_majority(self, next_term: int, members: frozenset[str], me: str) -> bool:
        """Whether, with `me`, a majority of `members` would vote for it in `next_term`."""
        if me not in members:
            return False
        others = self._granted & members if self._term == next_term else set()
        return len(others - {me}) + 1 > len(members) / 2

    def grant(self, term: int, voter: str) -> None:
        if term == self._term:
            self._granted.add(voter)

    def should_ask(self, next_term: int, now: float, retry_s: float) -> bool:
        """Whether to send the question now; remembers that it was sent."""
        if self._term != next_term:
            self._term, self._granted = next_term, set()
        elif now < self._ask_again_at:
            return False
        self._ask_again_at = now + retry_s
        return True

    def reset(self) -> None:
        self._term, self._granted = 0, set()
        self._ask_again_at = float("-inf")


def log_is_at_least(theirs: tuple[int, int], ours: tuple[int, int]) -> bool:
    """Raft's up-to-date check on (last term, last index)."""
    return theirs >= ours
