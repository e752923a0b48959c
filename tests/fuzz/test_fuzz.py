"""G10: bytes from outside raise typed errors only, in bounded memory and time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, seeds

ROOT = Path(__file__).resolve().parents[2]
SECONDS = int(os.environ.get("FUZZ_SECONDS", "15"))
EXECUTIONS_MIN = 500


def fuzz(name: str) -> tuple[str, int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", name, str(SECONDS)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=SECONDS * 6 + 60,
        check=False,
    )
    return name, done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_of_each_target_pass(name: str) -> None:
    assert seeds()[name]
    for seed in seeds()[name]:
        TARGETS[name](seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_input_raises_anything_but_typed_errors() -> None:
    if not os.environ.get("CI"):
        pytest.importorskip("atheris", reason="atheris is not installed: nothing was fuzzed")
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(fuzz, TARGETS))
    for name, code, said in results:
        assert code == 0, f"{name}: {said[-3000:]}"
        executed = re.search(r"stat::number_of_executed_units: (\d+)", said)
        assert executed is not None, f"{name}: {said[-3000:]}"
        print(f"{name}: {executed[1]} inputs in {SECONDS} s")
        assert int(executed[1]) >= EXECUTIONS_MIN, f"{name} tried {executed[1]} inputs only"
