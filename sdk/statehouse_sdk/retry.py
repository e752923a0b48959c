"""Owns when a failed call is tried again, and what its failure means once it is not.

Pure: a `Fault` and the time go in, `Again` or `GiveUp` comes out. It knows no gRPC (faults.py
turns its failures into `Fault`s) and no address (endpoints.py chooses). The rule that guards users:
a call that may have had an effect is repeated only if the repetition cannot have a second one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from statehouse_sdk.errors import (
    DeadlineExceededError,
    OutcomeUnknownError,
    StatehouseError,
    TransactionAbortedError,
    TransactionError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ATTEMPT_TIMEOUT_S: Final = 1.5
"""How long a node may keep a repeatable call before another is asked; doubles at each time-out."""

ATTEMPT_TIMEOUT_MAX_S: Final = 12.0
BACKOFF_FIRST_S: Final = 0.025
BACKOFF_MAX_S: Final = 0.5
LAST_ATTEMPT_S: Final = 0.1
"""An attempt with less time than this left is not made if all before it surely had no effect: it
would most likely time out, and leave a sure outcome in doubt."""

FIRST_CONTACT_S: Final = 5.0
"""A client that never reached any node gives up after so long: the address is likely wrong."""


class Rule(Enum):
    """What may be done after an attempt whose effect is unknown."""

    READ = "changes nothing, so it can be repeated"
    OP_ID = "carries an op id, so the cluster executes it once however often it arrives"
    NEVER = "is repeated only if the failed attempt surely had no effect"


_NEVER: Final = Rule.NEVER
"""A member of an enum costs a lookup, and this one is asked for with every attempt."""

RULES: Final[dict[str, tuple[Rule, str]]] = {
    "Commit": (Rule.OP_ID, "a repeated op id gets the first answer"),
    "Get": (Rule.READ, "a linearizable read is as good at the next leader"),
    "GetMany": (Rule.READ, "as Get"),
    "Exchange": (Rule.NEVER, "a stream of the calls above; each of them goes by its own rule"),
    "ListKeys": (Rule.READ, "restarted whole, so that one answer speaks for one commit_ts"),
    "Scan": (Rule.READ, "as ListKeys"),
    "ListAgents": (Rule.READ, "as ListKeys"),
    "ListNamespaces": (Rule.READ, "as ListKeys"),
    "Replay": (Rule.READ, "goes on after the last commit_ts that was handed out"),
    "Resolve": (Rule.READ, "as Get"),
    "Versions": (Rule.READ, "goes on after the last version that was handed out"),
    "Blame": (Rule.READ, "as ListKeys"),
    "Explain": (Rule.READ, "as ListKeys"),
    "Diff": (Rule.READ, "as ListKeys"),
    "ListLabels": (Rule.READ, "as ListKeys"),
    "Lineage": (Rule.READ, "as Get"),
    "GetCursor": (Rule.READ, "as Get"),
    "ListCursors": (Rule.READ, "as ListKeys"),
    "Verify": (Rule.READ, "changes nothing; yet it is about one node, and not asked elsewhere"),
    "Status": (Rule.READ, "every node answers from what it knows"),
    "AddMember": (Rule.NEVER, "progress of a second attempt would be mistaken for the first's"),
    "RemoveMember": (Rule.NEVER, "a repetition would report the success as a refusal"),
    "TransferLeadership": (Rule.NEVER, "a repetition could move leadership a second time"),
}


class Certainty(Enum):
    """What a failure proves about the effect of the call."""

    NONE = "this attempt may have had its effect"
    ATTEMPT = "this attempt had no effect"
    OPERATION = "no attempt under this op id had an effect, or ever will"


@dataclass(frozen=True, slots=True)
class Fault:
    """One failed attempt, understood."""

    error: StatehouseError
    retry: bool
    certainty: Certainty
    reached: bool = True
    """Whether a connection stood; False: nothing was sent."""
    stalled: bool = False
    """The node kept silent until the attempt's time was over."""
    leader_address: str = ""
    leader_term: int = 0
    op_id_expired: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """Try again after so many seconds."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Raise this."""

    error: StatehouseError


class Attempts:
    """The attempts of one call: how long each may take, whether there is a next, what to raise."""

    # What an attempt that succeeds never changes costs it nothing here.
    _attempt_timeout_s = ATTEMPT_TIMEOUT_S
    _backoff_s = BACKOFF_FIRST_S
    _hops = 1
    _count = 0
    _cut_short = False
    _last_words: StatehouseError | None = None

    def __init__(
        self,
        rule: Rule,
        *,
        started_s: float,
        deadline_s: float,
        random: Callable[[], float],
        contacted: bool = True,
        uncertain: bool = False,
    ) -> None:
        self._rule = rule
        self._started_s = started_s
        self._deadline_s = deadline_s
        self._random = random
        self._contacted = contacted
        self.uncertain = uncertain
        """Whether an attempt that was made may have had its effect."""

    def timeout_s(self, now_s: float) -> float:
        """How long the next attempt may take; never less than a moment, to fail with words."""
        remaining_s = max(self._deadline_s - now_s, 0.001)
        if self._rule is _NEVER:
            return remaining_s
        self._cut_short = remaining_s < self._attempt_timeout_s
        return remaining_s if self._cut_short else self._attempt_timeout_s

    def remaining_s(self, now_s: float) -> float:
        """How long the whole call may still take."""
        return max(self._last_moment_s() - now_s, 0.0)

    def failed(self, fault: Fault, now_s: float) -> Again | GiveUp:
        """What to do after a failed attempt."""
        self._count += 1
        self._contacted = self._contacted or fault.reached
        if fault.certainty is Certainty.NONE:
            self.uncertain = True
        elif fault.certainty is Certainty.OPERATION:
            self.uncertain = False
        if fault.stalled:
            self._attempt_timeout_s = min(2 * self._attempt_timeout_s, ATTEMPT_TIMEOUT_MAX_S)
        if not self._may_repeat(fault):
            return GiveUp(self._final(fault, fault.error))
        delay_s = self._delay_s(fault)
        is_sure = self._rule is Rule.OP_ID and not self.uncertain
        least_s = LAST_ATTEMPT_S if is_sure else 0.0
        if now_s + delay_s + least_s >= self._last_moment_s():
            return GiveUp(self._final(fault, self._told_with_count(self._telling(fault), now_s)))
        if not fault.stalled:
            self._last_words = fault.error
        return Again(delay_s)

    def _telling(self, fault: Fault) -> StatehouseError:
        """The error that tells most: a last attempt without time to succeed tells nothing."""
        if fault.stalled and self._cut_short and self._last_words is not None:
            return self._last_words
        return fault.error

    def _may_repeat(self, fault: Fault) -> bool:
        if self._rule is Rule.NEVER and fault.certainty is Certainty.NONE:
            return False
        return fault.retry

    def _last_moment_s(self) -> float:
        if self._contacted:
            return self._deadline_s
        return min(self._deadline_s, self._started_s + FIRST_CONTACT_S)

    def _delay_s(self, fault: Fault) -> float:
        # The first detour costs nothing: most often the next node, or the hinted one, answers.
        if self._hops > 0:
            self._hops -= 1
            return 0.0
        delay_s = self._backoff_s * (0.5 + 0.5 * self._random())
        self._backoff_s = min(2 * self._backoff_s, BACKOFF_MAX_S)
        return delay_s

    def _told_with_count(self, error: StatehouseError, now_s: float) -> StatehouseError:
        if not isinstance(error, UnavailableError):
            return error
        took_s = now_s - self._started_s
        attempts = "1 attempt" if self._count == 1 else f"{self._count} attempts"
        return type(error)(f"gave up after {took_s:.1f} s and {attempts}; last: {error}")

    def _final(self, fault: Fault, error: StatehouseError) -> StatehouseError:
        if self._rule is Rule.OP_ID:
            return self._final_of_commit(error)
        if self._rule is Rule.NEVER and fault.certainty is Certainty.NONE:
            advice = "it may or may not have had its effect: look at the cluster's status"
            return DeadlineExceededError(f"{error}; {advice}")
        return error

    def _final_of_commit(self, error: StatehouseError) -> StatehouseError:
        if self.uncertain:
            return OutcomeUnknownError(
                "the transaction may or may not be committed; call commit() again on the same"
                f" transaction to learn it, without writing twice ({error})"
            )
        if isinstance(error, TransactionError):
            return error
        return TransactionAbortedError(f"nothing was committed: {error}", error)
