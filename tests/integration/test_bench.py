"""scripts/bench.py on a real cluster, with counts that say nothing but that it works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.bench.results import Results
from tests.bench.work import QUICK

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "bench.py"


def _run(*arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_a_short_run_measures_everything_and_leaves_nothing_behind(tmp_path):
    file, folder = tmp_path / "figures.json", tmp_path / "data"
    folder.mkdir()
    ran = _run(
        *("--quick", "--only", "statehouse", "--rounds", 1, "--measure-s", 0.1, "--events", 200),
        *("--failovers", 0, "--json", file, "--folder", folder),
    )
    assert ran.returncode == 0, ran.stderr
    results = Results.from_json(file.read_text())
    assert [sample.work for sample in results.samples["statehouse"]] == list(QUICK)
    assert all(sample.count > 0 for sample in results.samples["statehouse"])
    assert results.systems["statehouse"].version
    assert "commit, 256 callers" in ran.stdout
    assert list(folder.iterdir()) == []
    assert not [pid for pid in _processes() if str(folder) in pid]


def test_known_results_are_shown_again_without_measuring(tmp_path):
    file = tmp_path / "figures.json"
    results = Results({"processors": "2 x known"}, {}, left_out={"etcd": "not here"})
    file.write_text(results.to_json())
    ran = _run("--from", file)
    assert ran.returncode == 0, ran.stderr
    assert "2 x known" in ran.stdout
    assert "left out: not here" in ran.stdout


def _processes():
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name != str(os.getpid()):
            try:
                yield (folder / "cmdline").read_bytes().decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
