"""G4: versions and commit_ts go on across restarts of one, two and all nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from statehouse import Statehouse

if TYPE_CHECKING:
    from tests.conftest import StartCluster


def write(client: Statehouse, value: int) -> tuple[int, int]:
    """Writes the one key and returns (commit_ts, version)."""
    with client.begin_transaction() as tx:
        tx.write("agent", "key", {"value": value})
    result = client.get_state("agent", "key")
    assert result.value == {"value": value}
    return tx.commit_ts, result.version


@pytest.mark.slow
def test_versions_and_commit_ts_go_on_across_restarts(fresh_cluster: StartCluster) -> None:
    cluster = fresh_cluster(nodes=3)
    with Statehouse(cluster.endpoints, timeout=30) as client:
        first_ts, _ = write(client, 1)
        cluster.restart(1)
        assert write(client, 2) == (first_ts + 1, 2)
        for number in (2, 3):
            cluster.kill(number)
        for number in (2, 3):
            cluster.restart(number)
        assert write(client, 3) == (first_ts + 2, 3)
        assert cluster.stop() == []
        cluster.start()
        assert write(client, 4) == (first_ts + 3, 4)
        for number in (1, 2, 3):
            cluster.kill(number)
        cluster.start()
        assert write(client, 5) == (first_ts + 4, 5)
        history = [event.operations[0].value for event in client.replay("agent")]
        assert history == [{"value": value} for value in range(1, 6)]
