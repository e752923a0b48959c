"""Every guard of consensus is missed when it is taken out, and the run that misses it is clean
while it is there."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.known_seeds import known_seeds
from tests.simulation.mutants import MUTANTS, mutation
from tests.simulation.scripted import SCRIPTS, played

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.patient, pytest.mark.timeout(900)]

SEEDED = {seed.mutant: seed.number for seed in known_seeds() if seed.mutant}


@pytest.fixture(autouse=True)
def _quiet():
    """The library shouts about what mutants make it do."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def simulate(*arguments):
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "simulate.py", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        check=False,
    )


def test_each_guard_has_a_script_or_a_seed():
    assert set(MUTANTS) == set(SCRIPTS) | set(SEEDED)


@pytest.mark.parametrize("mutant", SCRIPTS)
def test_a_script_misses_the_guard(mutant):
    with mutation(mutant):
        assert played(mutant)


@pytest.mark.parametrize("mutant", SCRIPTS)
def test_its_script_does_no_harm_while_it_is_there(mutant):
    assert played(mutant) == ""


@pytest.mark.parametrize("mutant", SEEDED)
def test_a_seed_misses_the_guard(mutant):
    run = simulate("--mutant", mutant, "--seeds", "20")
    assert run.returncode == 1, run.stdout + run.stderr
    assert ", 1 violations" in run.stdout
