"""G1, G4, G6, G9: killed at any system call, a node comes back with all that was acknowledged."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

from tests.chaos.needs import needs
from tests.chaos.sandbox import ROOT
from tests.crashpoints.points import Point, chosen, counted, missing

POINTS_MIN = 25


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_what_was_acknowledged_is_there_after_a_crash_at_any_call(tmp_path):
    needs(missing())
    command = [sys.executable, str(ROOT / "scripts" / "crashpoints.py"), "--points", "30"]
    command += ["--points-min", str(POINTS_MIN), "--folder", str(tmp_path / "points")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads((tmp_path / "points" / "report.json").read_text())
    assert report["points"] >= POINTS_MIN
    assert set(report["points_by_role"]) == {"born", "reborn", "one of three"}


def test_points_are_spread_over_the_calls_and_drawn_from_the_seed():
    counts = {"fdatasync": 40, "rename": 2, "unlink": 0, "write": 100}
    picked = chosen(counts, 9, random.Random(4))
    assert picked == chosen(counts, 9, random.Random(4))
    assert len(set(picked)) == len(picked) == 8, "there are only two renames"
    assert {point.call for point in picked} == {"fdatasync", "rename", "write"}
    assert all(1 <= point.number <= counts[point.call] for point in picked)


def test_all_points_are_all_points():
    assert chosen({"rename": 2, "fsync": 1}, None, random.Random(4)) == [
        Point("rename", 1),
        Point("rename", 2),
        Point("fsync", 1),
    ]


def test_calls_are_counted_by_the_thread_that_made_most(tmp_path):
    trace = tmp_path / "trace"
    trace.write_text(
        "11 fsync(3) = 0\n12 fsync(3) = 0\n12 fsync(4 <unfinished ...>\n"
        '12 <... fsync resumed>) = 0\n11 rename("a", "b") = 0\n12 fsyncing(1) = 0\n'
    )
    told = counted(trace)
    assert (told["fsync"], told["rename"], told["write"]) == (2, 1, 0)
