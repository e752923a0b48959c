"""G1, G6: what was acknowledged survives kill -9 of any node, once, and every replica agrees."""

from __future__ import annotations

import random
import statistics
import threading
import time
from typing import TYPE_CHECKING

import pytest

from statehouse import Statehouse
from tests.helpers.waiting import eventually
from tests.helpers.workload import AGENT, Writers, check_record

if TYPE_CHECKING:
    from scripts.local_cluster import LocalCluster
    from tests.conftest import StartCluster

KILLS_EVERY_S = 2.0
UNDER_FIRE_S = 60.0
UNDER_FIRE_S_MAX = 180.0
"""On a machine that is slow to start nodes, for the same count of kills and of writes."""

KILLS_MIN = 20
ACKNOWLEDGED_MIN = 1000


def agree(cluster: LocalCluster) -> bool:
    """Whether all nodes have applied the same and their chains of hashes end alike."""
    reports = [report.status for report in cluster.reports()]
    assert all(report is not None for report in reports)
    heads = {(report.commit_ts, report.chain_head) for report in reports}
    return len(heads) == 1


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_a_minute_of_random_kills_loses_and_doubles_nothing(fresh_cluster: StartCluster) -> None:
    cluster = fresh_cluster(nodes=3)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    with Statehouse(cluster.endpoints, timeout=30) as client:
        writers = Writers(client, 8)
        writers.start()
        kills = 0
        began_s = time.monotonic()

        def is_enough() -> bool:
            under_fire_s = time.monotonic() - began_s
            reached = kills >= KILLS_MIN and writers.acknowledged_count >= ACKNOWLEDGED_MIN
            return under_fire_s >= (UNDER_FIRE_S if reached else UNDER_FIRE_S_MAX)

        try:
            while not is_enough():
                next_kill_at = time.monotonic() + KILLS_EVERY_S
                victim = draw.choice([1, 2, 3])
                cluster.kill(victim)
                cluster.spawn(victim)
                kills += 1
                threading.Event().wait(max(0.0, next_kill_at - time.monotonic()))
        finally:
            writers.stop()
        cluster.wait(lambda reports: all(report.serving for report in reports), timeout_s=60)
        check_record(client, writers.notes)
        print(f"{kills} kills, {writers.acknowledged_count} acknowledged writes")
        assert kills >= KILLS_MIN
        assert writers.acknowledged_count >= ACKNOWLEDGED_MIN
    eventually(lambda: agree(cluster), timeout_s=20, what="equal chain heads")


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(300)
def test_a_waiting_client_commits_soon_after_the_leader_dies(fresh_cluster: StartCluster) -> None:
    cluster = fresh_cluster(nodes=3)
    waits_s = []
    with Statehouse(cluster.endpoints, timeout=30) as client:
        for number in range(20):
            leader = eventually(cluster.leader, what="a leader")
            cluster.kill(leader)
            died_at = time.monotonic()
            with client.begin_transaction() as tx:
                tx.write(AGENT, "after-death", {"value": number})
            waits_s.append(time.monotonic() - died_at)
            cluster.spawn(leader)
            cluster.wait(lambda reports: all(report.serving for report in reports), timeout_s=30)
    waits_s.sort()
    print("seconds from death to commit:", [round(wait, 2) for wait in waits_s])
    assert statistics.median(waits_s) <= 2.0
    assert waits_s[-1] <= 4.0
