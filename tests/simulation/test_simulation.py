"""Seeds of the simulated cluster that every change must survive, and that a seed is one run."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SIMULATE = ROOT / "scripts" / "simulate.py"


def simulate(*arguments):
    """The script in a process of its own, for it needs hash randomisation off."""
    return subprocess.run(
        [sys.executable, SIMULATE, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("start", [0, 1000], ids=["first", "second"])
def test_nothing_promised_is_broken_under_faults(start):
    run = simulate("--seeds", 25, "--start", start, "--jobs", 2)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "25 seeds" in run.stdout
    assert " 0 violations" in run.stdout


def test_a_seed_is_one_run():
    runs = [simulate("--seeds", 2, "--start", 7, "--verbose").stdout for _ in range(2)]
    traces = [[line for line in run.splitlines() if "trace" in line] for run in runs]
    assert len(traces[0]) == 2
    assert traces[0] == traces[1]
    assert traces[0][0].split()[-1] != traces[0][1].split()[-1]


def test_a_violation_is_told_with_the_command_that_shows_it_again():
    run = simulate("--seeds", 3, "--mutant", "no flush before an answer")
    assert run.returncode == 1
    assert "before it is synced" in run.stdout
    command = run.stdout.splitlines()[-1].removeprefix("again: ")
    assert command == "scripts/simulate.py --seeds 1 --start 0 --mutant 'no flush before an answer'"


def test_the_mutants_are_listed():
    run = simulate("--list-mutants")
    assert run.returncode == 0
    assert "always truncate" in run.stdout.splitlines()
