"""Seeds of the simulated cluster that every change must survive, and that a seed is one run."""

import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulation.known_seeds import known_seeds
from tests.simulation.options import FAULTS, draw
from tests.simulation.summary import Summary
from tests.simulation.world import World

ROOT = Path(__file__).resolve().parents[2]
SIMULATE = ROOT / "scripts" / "simulate.py"
LINE = re.compile(
    r"(?P<seeds>\d+) seeds, (?P<hours>[\d.]+) virtual hours \(\d+ x real time\), "
    r"(?P<operations>\d+) operations \(.*\), (?P<faults>\d+) faults, (?P<violations>\d+) violations"
)

SEEDS = 300
HOURS_MIN = 5.0
OPERATIONS_MIN = 100_000
FAULTS_MIN = 15_000
PATIENCE_S = 1800

pytestmark = [pytest.mark.patient, pytest.mark.timeout(PATIENCE_S)]


def simulate(*arguments, timeout=600, **environment):
    """The script in a process of its own, for it needs hash randomisation off."""
    return subprocess.run(
        [sys.executable, SIMULATE, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **environment},
        check=False,
    )


def traces(run):
    return [line for line in run.stdout.splitlines() if "trace" in line]


def test_what_was_found_once_stays_mended():
    for seed in sorted({seed.number for seed in known_seeds()}):
        run = simulate("--seeds", 1, "--start", seed)
        assert run.returncode == 0, run.stdout + run.stderr


def test_a_seed_is_one_run_in_whatever_process():
    one = simulate("--seeds", 3, "--start", 7, "--verbose")
    two = simulate("--seeds", 3, "--start", 7, "--verbose", "--jobs", 3, PYTHONHASHSEED="5")
    assert len(set(traces(one))) == 3
    assert traces(one) == traces(two)


@pytest.mark.parametrize("clock", ["monotonic", "time", "time_ns", "perf_counter"])
def test_a_run_asks_no_clock_of_the_machine(monkeypatch, clock):
    with monkeypatch.context() as patched:
        patched.setattr(time, clock, lambda: pytest.fail(f"time.{clock} was asked"))
        report = World(replace(draw(7), faulty_s=10.0)).run()
    assert report.violation == ""


def test_a_violation_is_told_with_the_command_that_shows_it_again():
    run = simulate("--seeds", 3, "--mutant", "no flush before an answer")
    assert run.returncode == 1
    assert "before it is synced" in run.stdout
    command = run.stdout.splitlines()[-1].removeprefix("again: ")
    assert command == "scripts/simulate.py --seeds 1 --start 0 --mutant 'no flush before an answer'"


def test_a_script_goes_before_the_seeds():
    run = simulate("--seeds", 1, "--mutant", "stale acknowledgements count")
    assert run.returncode == 1
    assert run.stdout.startswith("script: a_slow_acknowledgement: ")


def test_the_mutants_are_listed():
    run = simulate("--list-mutants")
    assert run.returncode == 0
    assert "always truncate" in run.stdout.splitlines()


def test_a_run_that_did_too_little_is_told_so():
    idle = Summary(seeds=200)
    missing = idle.too_little()
    assert any("operations" in what for what in missing)
    assert any("faults" in what for what in missing)
    assert all(f"never reached: fault: {fault}" in missing for fault in FAULTS)
    assert Summary(seeds=1).too_little() == []


def test_between_them_seeds_draw_every_kind_of_cluster():
    drawn = [draw(seed) for seed in range(200)]
    assert {options.nodes for options in drawn} >= {1, 3, 5}
    assert {options.adversarial for options in drawn} == {True, False}
    assert {options.rocksdb for options in drawn} == {True, False}
    assert {fault for options in drawn for fault in options.rates} == set(FAULTS)


# The last in this file: it alone keeps two processors busy, so nothing need wait for one.
@pytest.mark.slow
def test_nothing_promised_is_broken_under_faults():
    run = simulate("--seeds", SEEDS, "--jobs", 2, timeout=PATIENCE_S - 10)
    assert run.returncode == 0, run.stdout + run.stderr
    told = LINE.match(run.stdout)
    assert told, run.stdout
    assert int(told["seeds"]) >= SEEDS
    assert float(told["hours"]) >= HOURS_MIN
    assert int(told["operations"]) >= OPERATIONS_MIN
    assert int(told["faults"]) >= FAULTS_MIN
    assert int(told["violations"]) == 0
