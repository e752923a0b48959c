"""Owns the judgement whether this node's record is the one its cluster agreed on. Pure.

Every node hashes its history into a chain, so two nodes that tell the same hash at a commit_ts have
the same history up to there. When another member tells a different one, one of the two is wrong,
whatever made it so: a bit that flipped, a file that was changed, a fault of ours. A node that a
majority of the members does not confirm, itself included, must not go on answering. Who asks, and
how, is rpc/comparison.py's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

DOUBTS_MAX = 3
"""Rounds in a row that may end in doubt; then the doubt counts as a no."""


@dataclass(frozen=True, slots=True)
class Told:
    """What another voting member told of its chain, beside what this node has there."""

    name: str
    address: str
    commit_ts: int
    """Where the two were compared: as far as both have come."""
    theirs: bytes
    own: bytes

    @property
    def agrees(self) -> bool:
        return self.theirs == self.own


class Verdict(Enum):
    """What follows from one round."""

    SOUND = "sound"
    """Nobody who answered differs."""
    CONFIRMED = "confirmed"
    """Somebody differs, but a majority has this node's record."""
    DOUBTFUL = "doubtful"
    """Somebody differs, and those who did not answer could confirm either."""
    WRONG = "wrong"
    """Somebody differs, and no majority can have this node's record."""


def judge(voters: int, told: Sequence[Told]) -> Verdict:
    """The verdict of a round: voters, this node included, and what the others told that did.

    An agreement counts only if it reaches as far as every difference: one that was found further
    on, a node that lags behind it knows nothing of.
    """
    differing = [one for one in told if not one.agrees]
    if not differing:
        return Verdict.SOUND
    furthest = max(one.commit_ts for one in differing)
    agreeing = sum(one.agrees and one.commit_ts >= furthest for one in told)
    silent = voters - 1 - len(differing) - agreeing
    majority = voters // 2 + 1
    if 1 + agreeing >= majority:
        return Verdict.CONFIRMED
    return Verdict.DOUBTFUL if 1 + agreeing + silent >= majority else Verdict.WRONG


class RecordDiffers(Exception):
    """This node's record is not the one its cluster agreed on; the text says where and by whom."""


def fault_of(name: str, voters: int, told: Sequence[Told]) -> RecordDiffers:
    """The reason for which the node `name` stops."""
    differing = sorted((one for one in told if not one.agrees), key=lambda one: one.commit_ts)
    first = differing[0]
    others = ", ".join(f"{one.name} at {one.address}" for one in differing)
    return RecordDiffers(
        f"at commit_ts {first.commit_ts} the record of {name} has the hash {first.own.hex()}, that "
        f"of {first.name} has {first.theirs.hex()}; {others} {_differ(differing)}, and no majority "
        f"of the {voters} members confirms {name}. Run `statehousectl verify` against the other "
        f"members; if they are sound, replace this one: remove {name} from the cluster and add a "
        "node with a new name and an empty directory"
    )


def _differ(differing: Sequence[Told]) -> str:
    return "differs" if len(differing) == 1 else "differ"
