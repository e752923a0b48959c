"""The faults of what lies on a disk: a bit that flips in a file of a node that does not run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.chaos.faults import Fault
from tests.chaos.faults_of_machines import EXIT_FAULT
from tests.chaos.faults_of_operators import replace

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from tests.chaos.cluster import Cluster

EXIT_REFUSED = 1
DECIDES_WITHIN_S = 25.0
SERVES_DAMAGED_S = 1.0
FILES = ("journal/*.log", "journal/*.log", "state/db-*/*.log", "state/db-*/*.sst")


class DamagedFile(Fault):
    """The node refuses to start, or stops when it meets the damage, or serves what was true.

    Whatever it does, it is replaced by a new member afterwards, as its words tell the operator.
    """

    kind = "damaged file"

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self._files = draw.choice(FILES)
        self._place = draw.random()

    def inject(self, cluster: Cluster) -> str:
        self._node = node = self.victim(cluster)
        cluster.kill(node)
        files = [path for path in node.data.glob(self._files) if path.stat().st_size]
        if not files:
            return f"{node.name}, which has no {self._files}"
        damaged = max(files, key=lambda path: path.stat().st_size)
        _flip_bit(damaged, self._place)
        return f"{node.name}, {damaged.relative_to(node.data)} at {self._place:.0%}"

    def heal(self, cluster: Cluster) -> None:
        node = self._node
        node.may_end = True
        cluster.start(node)

        def decided() -> bool:
            told = cluster.status(node)
            return not node.runs or (told is not None and told.lifecycle == "serving")

        cluster.wait_until(decided, f"{node.name} neither serves nor ends", DECIDES_WITHIN_S)
        time.sleep(SERVES_DAMAGED_S)
        if node.runs:
            cluster.kill(node)
        else:
            cluster.wait_ended(node, (EXIT_REFUSED, EXIT_FAULT), 0)
        replace(cluster, node)


def _flip_bit(path: Path, place: float) -> None:
    with path.open("r+b") as file:
        at = int(path.stat().st_size * place)
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x10]))
