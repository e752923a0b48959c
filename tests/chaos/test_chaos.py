"""G1-G8: a real cluster under fire keeps every promise, by the word of both checkers."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice

import pytest
from statehouse_cluster.timing import Timing

from tests.chaos import sandbox
from tests.chaos.faults import IsolateFromPeers
from tests.chaos.needs import needs
from tests.chaos.nemesis import schedule

SCRIPT = sandbox.ROOT / "scripts" / "chaos.py"
FAULTS_MIN = 20
OPERATIONS_MIN = 20_000


def chaos(*arguments: object) -> subprocess.CompletedProcess[str]:
    needs(sandbox.missing())
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(660)
def test_what_was_promised_holds_under_every_kind_of_fault(tmp_path):
    enough = ("--faults-min", FAULTS_MIN, "--operations-min", OPERATIONS_MIN)
    ended = chaos("--minutes", 1.6, *enough, "--rate", 500, "--folder", tmp_path)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["faults"] >= FAULTS_MIN
    assert report["operations"] >= OPERATIONS_MIN


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(300)
def test_a_leader_that_answers_reads_without_asking_is_caught_by_both_checkers(tmp_path):
    # Of this seed the first four faults strike the leader, each until it would step down by itself:
    # another seed may strike followers only, and then there is nothing to catch.
    seed, faults = 18, 4
    for fault in islice(schedule(seed, [IsolateFromPeers]), faults):
        assert fault.at_leader
        assert fault.lasts_s > Timing().leader_fallback_s
    ended = chaos(
        *("--minutes", 0.3, "--seed", seed, "--faults-min", faults, "--rate", 500),
        *("--only", IsolateFromPeers.kind, "--mutant", "reads without a round"),
        *("--folder", tmp_path),
    )
    assert ended.returncode == 1, ended.stdout
    assert "VIOLATION: real_time: " in ended.stdout
    assert "VIOLATION: linearizability: " in ended.stdout


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(300)
def test_a_run_that_did_too_little_is_red_and_says_how_to_repeat_it(tmp_path):
    ended = chaos(
        *("--minutes", 0.02, "--seed", 5, "--only", "hand-over", "--rate", 200),
        *("--operations-min", 1_000_000, "--folder", tmp_path),
    )
    assert ended.returncode == 1
    assert "VIOLATION: too little: " in ended.stdout
    assert "operations, at least 1000000 were wanted" in ended.stdout
    assert "reproduce: scripts/chaos.py --minutes 0.02 --seed 5" in ended.stdout
    assert f"everything that was seen: {tmp_path}" in ended.stdout
