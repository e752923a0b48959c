"""scripts/quickstart, as somebody runs it who has Python and a fresh checkout and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIME_MAX_S = 280


@pytest.mark.slow
@pytest.mark.timeout(2 * TIME_MAX_S + 60)
def test_it_holds_on_a_fresh_checkout_and_leaves_nothing_behind(tmp_path):
    checkout = tmp_path / "checkout"
    shutil.copytree(
        ROOT, checkout, ignore=shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build")
    )
    before = _files(checkout)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch)}
    environment.pop("VIRTUAL_ENV", None)
    for run in ("first", "second"):
        ended = subprocess.run(
            [checkout / "scripts" / "quickstart"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIME_MAX_S,
        )
        assert ended.returncode == 0, f"{run} run:\n{ended.stdout}\n{ended.stderr}"
        assert "each exactly once, the same on all three nodes" in ended.stdout
        assert list(scratch.iterdir()) == []
        assert _processes_about(scratch) == []
    assert _files(checkout) == before


def _files(checkout: Path) -> set[str]:
    found = (path.relative_to(checkout) for path in checkout.rglob("*") if path.is_file())
    return {str(path) for path in found if path.parts[0] != ".venv"}


def _processes_about(folder: Path) -> list[str]:
    found = []
    for command_line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = command_line.read_bytes()
        except OSError:
            continue
        if str(folder).encode() in words:
            found.append(words.decode(errors="replace"))
    return found
