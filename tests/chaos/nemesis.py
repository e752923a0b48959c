"""Owns the schedule of a chaos run: which fault strikes when, and that the cluster gets over it.

The schedule is a deck of all kinds of faults, shuffled from the seed and dealt until the time is
over; so every kind comes before any comes again. After each fault a write must succeed soon, and
every node must serve again, before the next.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from statehouse import OutcomeUnknownError, Statehouse, StatehouseError
from tests.chaos import faults, faults_of_files, faults_of_machines, faults_of_operators, verdict
from tests.checkers import history
from tests.checkers.history import now_ns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.chaos.cluster import Cluster
    from tests.chaos.faults import Fault

KINDS: tuple[type[Fault], ...] = (
    faults.KillOne,
    faults.KillAll,
    faults.Pause,
    faults.PauseMany,
    faults.IsolateFromPeers,
    faults.IsolateWholly,
    faults.SplitInHalves,
    faults.BridgeOnly,
    faults.OneWay,
    faults.Loss,
    faults.Flapping,
    faults.SlowLinks,
    faults.CutAndKill,
    faults_of_machines.FullDisk,
    faults_of_machines.LowDisk,
    faults_of_machines.SyncFails,
    faults_of_machines.SlowDisk,
    faults_of_machines.ClockJump,
    faults_of_files.DamagedFile,
    faults_of_operators.HandOver,
    faults_of_operators.RollingRestart,
    faults_of_operators.ReplaceMember,
    faults_of_operators.GrowAndShrink,
)

BY_KIND: Mapping[str, type[Fault]] = {kind.kind: kind for kind in KINDS}

WRITES_AGAIN_WITHIN_S = 15.0
SERVES_AGAIN_WITHIN_S = 40.0
PROBE_TIMEOUT_S = 1.0
PATIENCE = 2
QUIET_S = 0.5
"""Between two faults, so that there is something to lose."""


@dataclass(frozen=True, slots=True)
class Struck:
    """One fault as it happened; moments in seconds since the nemesis began."""

    kind: str
    who: str
    from_s: float
    healed_s: float
    writes_again_s: float
    """Seconds from the healing to the first write that succeeded."""
    began_ns: int
    ended_ns: int


class Nemesis:
    """Strikes a cluster until its time is over; what it did is in `struck`."""

    def __init__(self, cluster: Cluster, seed: int, kinds: tuple[str, ...], folder: Path) -> None:
        self.struck: list[Struck] = []
        self._cluster = cluster
        self._kinds = [BY_KIND[kind] for kind in kinds] if kinds else list(KINDS)
        self._seed = seed
        self._log = (folder / "faults.jsonl").open("w", buffering=1)
        self._recorder = history.Recorder(folder / "history-nemesis.jsonl")
        self._probes = 0
        self._began_s = time.monotonic()

    def rage(self, lasts_s: float, faults_min: int) -> None:
        """Fault after fault, until the time is over and enough have struck.

        A slow machine gets as much time again, no more. NotReached when the cluster does not
        recover from one.
        """
        began_s = time.monotonic()
        for fault in schedule(self._seed, self._kinds):
            raged_s = time.monotonic() - began_s
            enough = len(self.struck) >= faults_min
            if raged_s > lasts_s * (1 if enough else PATIENCE):
                return
            self._strike(fault)

    def close(self) -> None:
        self._log.close()
        self._recorder.close()

    def wait_recovered(self) -> float:
        """Seconds until a write succeeded; returns once all nodes serve, too."""
        began_s = time.monotonic()
        self._cluster.wait_until(self._write, "no write succeeded", WRITES_AGAIN_WITHIN_S)
        writes_again_s = time.monotonic() - began_s
        self._cluster.wait_until(
            self._cluster.serving, "not every node served", SERVES_AGAIN_WITHIN_S
        )
        return writes_again_s

    def _strike(self, fault: Fault) -> None:
        cluster = self._cluster
        began_ns, from_s = now_ns(), self._now_s()
        self._tell(fault.kind, "strikes")
        who = fault.inject(cluster)
        if not who:
            self._tell(fault.kind, "finds nobody")
            return
        self._tell(fault.kind, f"struck {who}")
        fault.last(cluster)
        fault.heal(cluster)
        healed_s = self._now_s()
        self._tell(fault.kind, "is healed")
        writes_again_s = self.wait_recovered()
        self._tell(fault.kind, f"is over, writes succeeded after {writes_again_s:.2f} s")
        cluster.look_for_the_dead()
        time.sleep(QUIET_S)
        self.struck.append(
            Struck(fault.kind, who, from_s, healed_s, writes_again_s, began_ns, now_ns())
        )

    def _write(self) -> bool:
        """One small write by a client that knows all nodes; recorded like any other."""
        self._probes += 1
        with Statehouse(self._cluster.endpoints, timeout=PROBE_TIMEOUT_S) as client:
            tx = client.begin_transaction()
            value = {"probe": self._probes}
            key = f"probe-{self._probes}"
            tx.write("nemesis", key, value)
            called_at_ns, outcome = now_ns(), history.OK
            try:
                tx.commit()
            except OutcomeUnknownError:
                outcome = history.UNKNOWN
            except StatehouseError:
                outcome = history.FAILED
        self._recorder.add(
            history.Commit(
                client=verdict.NEMESIS,
                called_at_ns=called_at_ns,
                returned_at_ns=None if outcome == history.UNKNOWN else now_ns(),
                outcome=outcome,
                txn_id=tx.txn_id,
                writes=(history.Write(f"nemesis/{key}", json.dumps(value)),),
                commit_ts=tx.commit_ts or 0,
                versions=tuple(tx.versions),
            )
        )
        return outcome == history.OK

    def _now_s(self) -> float:
        return round(time.monotonic() - self._began_s, 3)

    def _tell(self, kind: str, what: str) -> None:
        self._log.write(json.dumps({"at_s": self._now_s(), "fault": kind, "what": what}) + "\n")


def schedule(seed: int, kinds: list[type[Fault]]) -> Iterator[Fault]:
    """The faults of a seed, without an end."""
    draw = random.Random(seed)
    while True:
        for kind in draw.sample(kinds, len(kinds)):
            yield kind(random.Random(draw.randrange(1 << 32)))
