"""What a run over many seeds came to, in figures; and whether it did enough to prove anything."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulation.options import FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.simulation.world import Report

MUST_REACH = (
    "leader elected under clog",
    "leader elected in a partition",
    "conflicting entries taken back",
    "acknowledgement of an earlier term dropped",
    "append of an earlier term rejected",
    "prevote refused",
    "overtaken by a newer connection",
    "window was full",
    "journal cut",
    "journal: cut off what a crash left unfinished",
    "stopped by an error of its disk",
    "start failed by its disk",
    "crashed at an operation of its disk",
    "snapshot installed",
    "snapshot fetch failed",
    "snapshot fetched again",
    "interrupted install finished",
    "power lost before an install's steps",
    "power lost between an install's steps",
    "power lost after an install's steps",
    "learner became a member",
    "member replaced",
    "removed node told by a peer",
    "removed node told when it dialed",
    "transfer ordered",
    "retry answered from its receipt",
    "commit asked for again, to learn its outcome",
    "user sent to the leader",
    "user kept waiting in vain",
    "user forgotten by the cluster",
    "write refused for want of room",
    "state kept in RocksDB",
    *(f"fault: {fault}" for fault in FAULTS),
)
"""Rare things that many seeds must have met, or they prove less than they say."""

MANY_SEEDS = 200
"""So many must have met all of them."""

OPERATIONS_A_SEED_MIN = 150
FAULTS_A_SEED_MIN = 20
FEW_SEEDS = 20
"""So many must do this much on average; one alone may be a quiet one."""

_READS = ("read", "user's get", "user's stale get", "user's scan")
_ANSWERED = (
    "write: done",
    *(f"{read}: done" for read in _READS),
    "user's commit: done",
    "user's commit: conflict",
    "transfer: done",
    "add a member: done",
    "rem a member: done",
)


@dataclass
class Summary:
    """The sums over all seeds."""

    seeds: int = 0
    virtual_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    """What was asked, and how it ended; faults; and how often each rare thing happened."""
    violations: int = 0

    @property
    def operations(self) -> int:
        """What was asked and done, or decided to be a conflict."""
        return sum(self.counts[what] for what in _ANSWERED)

    @property
    def faults(self) -> int:
        return sum(count for what, count in self.counts.items() if what.startswith("fault: "))

    def line(self, real_s: float) -> str:
        """All figures on one line."""
        counts = self.counts
        writes = counts["write: done"] + counts["user's commit: done"]
        reads = sum(counts[f"{read}: done"] for read in _READS)
        return (
            f"{self.seeds} seeds, {self.virtual_s / 3600:.2f} virtual hours "
            f"({self.virtual_s / real_s:.0f} x real time), {self.operations} operations "
            f"({writes} writes acknowledged, {reads} reads), {self.faults} faults, "
            f"{self.violations} violations"
        )

    def reached(self) -> str:
        """How often each rare thing happened, on one line."""
        return ", ".join(f"{what} {self.counts[what]}" for what in MUST_REACH)

    def too_little(self) -> list[str]:
        """What the run did not do, in words; nothing if it proves what it should."""
        missing = []
        if self.seeds >= FEW_SEEDS:
            for what, done, least in (
                ("operations", self.operations, OPERATIONS_A_SEED_MIN),
                ("faults", self.faults, FAULTS_A_SEED_MIN),
            ):
                if done < least * self.seeds:
                    missing.append(f"{done} {what}, and {least} a seed are the least")
        if self.seeds >= MANY_SEEDS:
            missing += [f"never reached: {what}" for what in MUST_REACH if not self.counts[what]]
        return missing


def summed(reports: Iterable[Report]) -> Summary:
    """The sums; an unfinished run counts as far as it came."""
    summary = Summary()
    for report in reports:
        summary.seeds += 1
        summary.virtual_s += report.virtual_s
        summary.counts += report.counts + report.marks
        summary.violations += bool(report.violation)
    return summary
