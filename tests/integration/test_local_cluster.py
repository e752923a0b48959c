"""scripts/local_cluster.py: clusters that come up, break on demand, and touch nothing of others."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.waiting import eventually

from scripts import local_cluster
from scripts.local_cluster import ClusterError, LocalCluster, free_base_port
from statehouse import Statehouse

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "local_cluster.py"


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_whole_life_of_a_cluster_from_the_shell(tmp_path):
    data = tmp_path / "nodes"
    started = _run("start", "--base-port", "0", "--data", data)
    try:
        assert started.returncode == 0, started.stderr
        url = re.search(r"^export STATEHOUSE_URL=(.+)$", started.stdout, re.MULTILINE)[1]
        assert len(url.split(",")) == 3
        with Statehouse(url=url) as client:
            with client.begin_transaction() as tx:
                tx.write("a", "k", {"kept": True})
            assert _run("start", "--data", data).returncode == 0, "starting twice is no error"

            assert _run("kill", "2", "--data", data).returncode == 0
            one_down = _run("status", "--data", data)
            assert one_down.returncode == 1
            assert re.search(r"^n2 .* not running$", one_down.stdout, re.MULTILINE)
            again = _run("kill", "2", "--data", data)
            assert (again.returncode, again.stderr) == (
                1,
                "local_cluster: n2 does not run: there is nothing to kill\n",
            )
            assert client.get_state("a", "k").value == {"kept": True}
        assert _run("restart", "2", "--data", data).returncode == 0
        assert _run("status", "--data", data).returncode == 0

        stopped = _run("stop", "--data", data)
        assert (stopped.returncode, stopped.stderr) == (0, "")
        assert _run("status", "--data", data).returncode == 1
        assert _run("start", "--data", data).returncode == 0
        with Statehouse(url=url) as client:
            assert client.get_state("a", "k").value == {"kept": True}
    finally:
        assert _run("wipe", "--data", data).returncode == 0
    assert not data.exists()


def test_clusters_run_side_by_side(fresh_cluster):
    one, other = fresh_cluster(nodes=1), fresh_cluster(nodes=1)
    with Statehouse(url=one.endpoints) as client, client.begin_transaction() as tx:
        tx.write("a", "k", 1)
    with Statehouse(url=other.endpoints) as client:
        assert not client.get_state("a", "k").exists


def test_nobody_is_given_the_ports_of_a_cluster_that_does_not_run_yet(monkeypatch):
    base = free_base_port(12)
    shares = [base, base + 10]
    peers = [share + local_cluster.PEER_PORT_OFFSET for share in shares]
    monkeypatch.setattr(local_cluster, "FREE_PORTS", [*shares, *peers])
    with pytest.raises(ClusterError, match="no free ports"):
        free_base_port(1)


def test_a_port_in_use_is_a_sentence_and_starts_nothing(tmp_path):
    base = free_base_port(1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base))
        taken.listen()
        ended = _run("start", "--nodes", "1", "--base-port", str(base), "--data", tmp_path / "c")
    assert ended.returncode == 1
    assert f"127.0.0.1:{base}, which n1 needs, is in use" in ended.stderr


def test_the_folder_remembers_its_shape_and_refuses_another(tmp_path):
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "cluster.json").write_text(json.dumps({"nodes": 3, "base_port": 21000}))
    assert LocalCluster(folder).endpoints == "127.0.0.1:21000,127.0.0.1:21001,127.0.0.1:21002"
    with pytest.raises(ClusterError, match="has nodes 3, not 5"):
        LocalCluster(folder, nodes=5)


def test_a_process_that_only_has_the_recorded_pid_is_left_alone(tmp_path):
    cluster = LocalCluster(tmp_path / "c", nodes=1, base_port=21000)
    node = cluster.node(1)
    node.folder.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as innocent:
        started = int(Path(f"/proc/{innocent.pid}/stat").read_text().rpartition(")")[2].split()[19])
        for ticks in (started, started - 1):
            node.record.write_text(json.dumps({"pid": innocent.pid, "started_ticks": ticks}))
            with pytest.raises(ClusterError, match="does not run"):
                cluster.kill(1)
            assert cluster.stop() == []
        assert innocent.poll() is None
        innocent.communicate(b"\n")
    assert innocent.returncode == 0


def test_a_recorded_pid_that_is_gone_is_not_running(tmp_path):
    cluster = LocalCluster(tmp_path / "c", nodes=1, base_port=21000)
    cluster.node(1).folder.mkdir(parents=True)
    cluster.node(1).record.write_text(json.dumps({"pid": 2**22 + 1, "started_ticks": None}))
    assert cluster.node(1).pid() is None


def test_only_a_cluster_is_wiped(tmp_path):
    (tmp_path / "precious").write_text("data")
    ended = _run("wipe", "--data", tmp_path)
    assert ended.returncode == 1
    assert "nothing was removed" in ended.stderr
    assert (tmp_path / "precious").exists()


def test_a_node_that_ends_at_once_is_told_with_its_last_words(tmp_path, monkeypatch):
    folder = tmp_path / "c"
    (folder / "n1").mkdir(parents=True)
    # The data directory cannot be made: a file is in its place.
    (folder / "n1" / "data").write_text("")
    ended = _run("start", "--nodes", "1", "--base-port", "0", "--data", folder)
    assert ended.returncode == 1
    assert "n1 ended" in ended.stderr
    assert LocalCluster(folder).node(1).pid() is None


def test_a_killed_node_leaves_no_zombie_behind(fresh_cluster):
    cluster = fresh_cluster(nodes=1)
    pid = cluster.node(1).pid()
    cluster.kill(1)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), what=f"the end of process {pid}")


def test_settings_from_outside_do_not_reach_the_nodes(fresh_cluster, monkeypatch):
    monkeypatch.setenv("STATEHOUSE_USE_MEMORY", "1")
    cluster = fresh_cluster(nodes=1)
    assert any(cluster.node(1).data.iterdir())
    assert "STATEHOUSE_USE_MEMORY" in os.environ
