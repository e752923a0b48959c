"""Disks that lie or are full: the node refuses or stops in words, and the others go on.

How journal and database tell damage is in their unit tests; here it is one member of a cluster.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from statehouse import Statehouse, StatehouseError, StorageFullError, TransactionAbortedError
from tests.chaos.needs import needs
from tests.helpers.lone_daemon import DAEMON, running
from tests.helpers.waiting import eventually

WAIT_S = 30
MIB = 1024 * 1024


@pytest.mark.parametrize(
    "damaged", ["journal/*", "state/current.json", "state/*/MANIFEST-*", "identity.json"]
)
def test_a_member_with_damaged_files_stays_out_and_the_others_go_on(
    fresh_cluster, agent_id, damaged
):
    cluster = fresh_cluster()
    with Statehouse(cluster.endpoints) as client:
        values = write_values(client, agent_id)
        cluster.stop_node(3)
        victim, content = flip_a_byte(cluster.node(3).data, damaged)
        cluster.spawn(3)
        eventually(lambda: cluster.node(3).pid() is None, timeout_s=WAIT_S)
        said = cluster.node(3).log.read_text()
        refusal = said[said.rindex("statehoused: ") :]
        assert str(victim) in refusal or str(victim.parent) in refusal
        assert "remove this member" in refusal or "Replace this member" in refusal
        assert victim.read_bytes() == content, "damage was repaired in silence"
        assert {r.key: r.value for r in client.scan_prefix(agent_id, "")} == values
        client.transact(lambda tx: tx.write(agent_id, "after", 1))


def test_a_leader_that_meets_damage_while_reading_stops_and_another_answers(
    fresh_cluster, agent_id
):
    cluster = fresh_cluster()
    with Statehouse(cluster.endpoints) as client:
        values = write_values(client, agent_id)
        cluster.stop_node(3)
        flip_a_byte(cluster.node(3).data, "state/*/*.sst")
        cluster.restart(3)
        eventually(lambda: leads(client, "n3"), timeout_s=WAIT_S)
        assert {r.key: r.value for r in client.scan_prefix(agent_id, "")} == values
        eventually(lambda: cluster.node(3).pid() is None, timeout_s=WAIT_S)
        said = cluster.node(3).log.read_text()
        assert "Fault: this node stops now" in said
        assert "cannot read the database" in said


def write_values(client, agent_id):
    """Enough that a table file is mostly values; random, so that they are not packed away."""
    values = {f"k{number:02}": os.urandom(3000).hex() for number in range(40)}
    with client.begin_transaction() as tx:
        for key, value in values.items():
            tx.write(agent_id, key, value)
    for member in client.cluster_status().members:
        eventually(
            lambda address=member.client_address: (
                client.cluster_status(address).commit_ts >= tx.commit_ts
            ),
            timeout_s=WAIT_S,
        )
    return values


def flip_a_byte(data, pattern):
    """Damages the middle of the largest file that fits; returns it and what it holds now."""
    victim = max(data.glob(pattern), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 0xFF
    victim.write_bytes(content)
    return victim, content


def leads(client, name):
    with contextlib.suppress(StatehouseError):
        client.transfer_leadership(name)
    return client.cluster_status().leader_name == name


def test_a_full_disk_refuses_writes_lets_reads_go_on_and_recovers(tmp_path, agent_id):
    with (
        small_disk_node(tmp_path, mib=160) as (address, disk),
        Statehouse(address, timeout=WAIT_S) as client,
    ):
        client.transact(lambda tx: tx.write(agent_id, "k", 1))
        # First below the reserve, so that the node notices, then to the last byte.
        fill(disk / "filler", 120 * MIB)
        eventually(lambda: is_refused_for_room(client, agent_id), timeout_s=WAIT_S)
        fill(disk / "more", 160 * MIB)
        version = client.get_state(agent_id, "k").version
        assert is_refused_for_room(client, agent_id)
        assert client.get_state(agent_id, "k").version == version
        assert len(list(client.replay(agent_id))) == version
        assert client.health() == "ok"
        for filler in ("filler", "more"):
            (disk / filler).unlink()
        eventually(lambda: not is_refused_for_room(client, agent_id), timeout_s=WAIT_S)
        assert client.get_state(agent_id, "k").version == version + 1


def is_refused_for_room(client, agent_id):
    tx = client.begin_transaction()
    tx.write(agent_id, "k", 2)
    try:
        tx.commit()
    except TransactionAbortedError as error:
        return isinstance(error.cause, StorageFullError)
    return False


def fill(path, size):
    with path.open("wb") as file, contextlib.suppress(OSError):
        for _ in range(size // MIB):
            file.write(bytes(MIB))
            file.flush()


def test_a_start_and_a_stop_on_a_full_disk_say_that_it_is_full(tmp_path, agent_id):
    with small_disk_node(tmp_path, mib=128) as (address, disk):
        with Statehouse(address, timeout=WAIT_S) as client:
            client.transact(lambda tx: tx.write(agent_id, "k", 1))
        fill(disk / "filler", 128 * MIB)
    said = (tmp_path / "log").read_text()
    assert "No space left on device" in said
    assert "remove this member" not in said


@contextlib.contextmanager
def small_disk_node(tmp_path, *, mib):
    """A node alone whose data lies on a small disk of its own, mounted for its process only."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs -o size={mib}m tmpfs "$0" && exec "$@"'
    isolated = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(disk)]
    if subprocess.run([*isolated, "true"], capture_output=True).returncode != 0:
        needs("it lets nobody mount a disk in a namespace of its own")
    command = [*isolated, *DAEMON, "--listen", "127.0.0.1:0", "--data", str(disk / "node")]
    with running(command, tmp_path / "log") as (process, address):
        yield address, Path(f"/proc/{process.pid}/root{disk}")
