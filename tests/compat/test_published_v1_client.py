"""The published v1 Python client works unchanged against any node, the leader or a follower.

The client is installed from the package index into an environment of its own, since its import name
is ours too, and driven by v1_client_driver.py.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from statehouse import Statehouse
from tests.compat import v1_client_driver

CLIENT = "statehouse==0.1.1"
INSTALL_TIMEOUT_S = 240
DRIVE_TIMEOUT_S = 180

pytestmark = pytest.mark.slow


def install(folder: Path) -> Path:
    """The interpreter of an environment that holds the client; made once, shared by all runs."""
    python = folder / "venv" / "bin" / "python"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            for command in (
                [sys.executable, "-m", "venv", "--clear", str(folder / "venv")],
                [str(python), "-m", "pip", "install", "--quiet", CLIENT],
            ):
                subprocess.run(
                    command, check=True, timeout=INSTALL_TIMEOUT_S, capture_output=True, text=True
                )
            (folder / "ready").touch()
    return python


@pytest.fixture(scope="session")
def v1_python() -> Path:
    release = ".".join(map(str, sys.version_info[:3]))
    name = f"{CLIENT.replace('==', '-')}-client-python-{release}-{os.getuid()}"
    try:
        return install(Path(tempfile.gettempdir()) / name)
    except (OSError, subprocess.SubprocessError) as error:
        why = f"{CLIENT} could not be installed: {error} {getattr(error, 'stderr', '') or ''}"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)


@pytest.fixture(scope="session")
def nodes(cluster) -> dict[str, str]:
    """The client addresses of the leader and of one follower."""
    leader = cluster.leader()
    assert leader is not None
    follower = next(node for node in cluster.nodes if node.number != leader)
    return {"leader": cluster.node(leader).client_address, "follower": follower.client_address}


@pytest.fixture(scope="session")
def outcomes(v1_python, nodes) -> dict[tuple[str, str], str | None]:
    """The failure, or None, of each check at each role."""
    found = {}
    for role, other in (("leader", "follower"), ("follower", "leader")):
        prefix = f"v1-{role}-{os.getpid()}"
        done = subprocess.run(
            [v1_python, v1_client_driver.__file__, nodes[role], nodes[other], prefix],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DRIVE_TIMEOUT_S,
        )
        assert done.returncode == 0, done.stdout
        for line in filter(lambda line: line.startswith("{"), done.stdout.splitlines()):
            told = json.loads(line)
            found[role, told["check"]] = told["failure"]
    return found


@pytest.mark.parametrize("role", ["leader", "follower"])
@pytest.mark.parametrize("name", v1_client_driver.CHECKS)
def test_the_published_client(outcomes, role, name):
    failure = outcomes[role, name]
    assert failure is None, f"at the {role}: {failure}"


def test_whole_numbers_written_by_it_are_integers_for_ours(cluster, outcomes):
    agent = f"v1-leader-{os.getpid()}-what_was_written_is_read"
    with Statehouse(url=cluster.endpoints) as client:
        value = client.get_state(agent, "k").value
    assert type(value["n"]) is int


def test_what_ours_writes_it_reads(cluster, v1_python, nodes, agent_id):
    with Statehouse(url=cluster.endpoints) as client, client.begin_transaction() as tx:
        tx.write(agent_id, "k", {"n": 7, "half": 0.5, "list": [1, {"deep": [None]}]})
    script = (
        "import json, sys; from statehouse import Statehouse; from v1_client_driver import plain;"
        "print(json.dumps(plain(Statehouse(sys.argv[1]).get_state(sys.argv[2], 'k').value)))"
    )
    done = subprocess.run(
        [v1_python, "-c", script, nodes["follower"], agent_id],
        cwd=Path(v1_client_driver.__file__).parent,
        capture_output=True,
        text=True,
        timeout=DRIVE_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"n": 7, "half": 0.5, "list": [1, {"deep": [None]}]}
