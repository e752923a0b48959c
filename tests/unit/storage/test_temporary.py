"""A directory that lives as long as its process; leftovers of killed ones are removed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from statehouse.storage.temporary import TemporaryDirectory

SCRIPT = """
import sys, tempfile, time
tempfile.tempdir = sys.argv[1]
from statehouse.storage.temporary import TemporaryDirectory
home = TemporaryDirectory()
(home.path / "file").write_text("x")
(home.path / "folder").mkdir()
print(home.path, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _temporary_files_here(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_it_is_there_until_it_is_removed():
    home = TemporaryDirectory()
    (home.path / "folder").mkdir()
    (home.path / "folder" / "file").write_text("x")
    (home.path / "file").write_text("x")
    assert home.path.stat().st_mode & 0o077 == 0
    home.remove()
    assert not home.path.exists()


def test_two_do_not_meet():
    one, other = TemporaryDirectory(), TemporaryDirectory()
    assert one.path != other.path
    assert one.path.exists()
    one.remove()
    other.remove()


def test_the_leftover_of_a_killed_process_is_removed_but_not_that_of_a_living_one(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    left = Path(process.stdout.readline().strip())
    TemporaryDirectory().remove()
    assert left.exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    TemporaryDirectory().remove()
    assert not left.exists()


def test_a_removal_that_was_cut_short_is_finished(tmp_path):
    left = tmp_path / "statehouse-memory-x"
    left.mkdir()
    TemporaryDirectory().remove()
    assert not left.exists()


def test_what_is_not_a_leftover_stays(tmp_path):
    other = tmp_path / "statehouse-memory-y"
    other.mkdir()
    (other / "somebody's").write_text("x")
    TemporaryDirectory().remove()
    assert other.exists()
