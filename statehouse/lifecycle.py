"""Owns the phases of a node's life and every step between them, as one table.

What consensus tells (`Event.FORMS` to `Event.REMOVED`) moves the node between the phases in which
it runs; asking it to stop, or a fault that stops it, is final. Pure: node.py feeds the events.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Phase(Enum):
    """Where a node is in its life; the values are shown to operators."""

    STARTING = "starting"
    """Opens its files; knows nothing of the cluster yet."""
    FORMING = "forming"
    """Waits to meet each listed node once, before the cluster exists."""
    JOINING = "joining"
    """Waits to be added to a cluster, or catches up before it votes."""
    SERVING = "serving"
    """A voter of its cluster: leads, follows, or looks for a leader."""
    DRAINING = "draining"
    """Takes nothing new, finishes what it began, hands leadership over."""
    REMOVED = "removed"
    """No longer a member; answers with that and nothing else."""
    FAILED = "failed"
    """A fault stopped it: what its disk holds is no longer certain in this process."""


class Event(Enum):
    """What happens to a node."""

    FORMS = "forms"
    JOINS = "joins"
    VOTES = "votes"
    REMOVED = "removed"
    STOP = "stop"
    FAULT = "fault"


_TOLD: Mapping[Event, Phase] = {
    Event.FORMS: Phase.FORMING,
    Event.JOINS: Phase.JOINING,
    Event.VOTES: Phase.SERVING,
    Event.REMOVED: Phase.REMOVED,
    Event.STOP: Phase.DRAINING,
    Event.FAULT: Phase.FAILED,
}

TRANSITIONS: Mapping[Phase, Mapping[Event, Phase]] = {
    Phase.STARTING: _TOLD,
    Phase.FORMING: _TOLD,
    Phase.JOINING: {**_TOLD, Event.FORMS: Phase.JOINING},
    Phase.SERVING: {**_TOLD, Event.FORMS: Phase.SERVING, Event.JOINS: Phase.SERVING},
    # A node that is told it votes again was removed by an entry that did not survive an election.
    Phase.REMOVED: {**_TOLD, Event.FORMS: Phase.REMOVED, Event.JOINS: Phase.REMOVED},
    Phase.DRAINING: {**dict.fromkeys(Event, Phase.DRAINING), Event.FAULT: Phase.FAILED},
    Phase.FAILED: dict.fromkeys(Event, Phase.FAILED),
}
"""The phase that follows, for each phase and each event: there is no pair without an answer."""


def following(phase: Phase, event: Event) -> Phase:
    """The phase after `event` happened in `phase`."""
    return TRANSITIONS[phase][event]


def can_answer(phase: Phase, *, leader_known: bool) -> bool:
    """Whether a client's call can be answered, or led to one who can: what health reports."""
    return phase is Phase.SERVING and leader_known


def can_tell_status(phase: Phase) -> bool:
    """Whether the node can tell about itself and its cluster."""
    return phase not in (Phase.STARTING, Phase.DRAINING, Phase.FAILED)
