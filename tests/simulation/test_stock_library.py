"""Why there is an adapter: scripts that break the library as it comes, and do no harm to ours.

Each script is lawful: links keep order and lose nothing unless they break, at most a minority
fails. It is played twice; the first test of a pair fails if the library learns to survive it, and
then the repair can be thought over.
"""

import logging
import os
import shutil
from pathlib import Path
from random import Random

import pytest
from pysyncobj.journal import MetaStorer
from statehouse_cluster.interfaces import Position
from statehouse_cluster.journal import Journal
from statehouse_cluster.recovery import Diverged, InstallNote, reconcile

from tests.simulation.files import Crash, SimulatedFiles
from tests.simulation.scripted import a_slow_acknowledgement, wrote
from tests.simulation.stage import EngineStage, StockStage

# It opens files and leaves them to the garbage collector.
LEAKS = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def _quiet():
    """The library shouts about what these scripts make it do."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def play():
    """Plays a script on a stage made of the given kind, and closes the stage afterwards."""
    stages = []

    def on(kind, names, **settings):
        stages.append(kind(names, **settings))
        return stages[-1]

    yield on
    for stage in stages:
        stage.close()


# An old leader, cut off with a tail nobody else has, meets a snapshot.


def snapshot_meets_an_old_leader(stage):
    stage.campaign("A")
    stage.settle("ABC")
    stage.isolate("A")
    wrote(stage, "A", [f"lost{number}" for number in range(5)])
    stage.tick("A")
    stage.campaign("B")
    stage.settle("BC")
    wrote(stage, "B", [f"good{number}" for number in range(60)])
    stage.settle("BC")
    stage.compact("B")
    stage.connect("A", "B")
    for _ in range(2):
        stage.wait(1)
        stage.tick("B")
        stage.deliver("B", "A", 1)
        stage.deliver("A", "B", 1)
    stage.wait(1)
    stage.tick("B")
    stage.deliver("B", "A", 1)
    stage.tick("A")
    return sorted(value for value in stage.acked if value.startswith("lost"))


def test_stock_acknowledges_what_was_never_committed(play):
    assert snapshot_meets_an_old_leader(play(StockStage, "ABC", chunk_bytes=64))


def test_ours_acknowledges_only_what_is_committed(play):
    stage = play(EngineStage, "ABC")
    assert snapshot_meets_an_old_leader(stage) == []
    stage.settle("ABC", rounds=20)
    assert stage.lost("A", "B", "C") == []
    assert not any(value.startswith("lost") for value in stage.data("A"))


# A late second reset makes the leader send again what is acknowledged, in pieces.


def a_late_reset(stage):
    stage.campaign("A")
    stage.settle("ABC")
    stage.cut("A", "C")
    wrote(stage, "A", [f"w{number:02d}" + "x" * 20 for number in range(20)])
    stage.tick("A")
    stage.wait(1)
    stage.tick("A")
    stage.cut("A", "B")
    stage.connect("A", "B")
    stage.beat("A")
    stage.beat("A")
    stage.deliver("A", "B")
    stage.deliver("B", "A", 1)
    stage.beat("A")
    stage.deliver("A", "B")
    stage.deliver("B", "A", 1)
    stage.beat("A")
    stage.deliver("B", "A")
    stage.tick("A")
    stage.tick("A")
    assert stage.acked
    stage.deliver("A", "B", 1)
    stage.cut("A", "B")
    stage.campaign("B")
    stage.settle("BC")
    assert stage.leads("B")
    return stage.lost("B")


def test_stock_truncates_what_it_acknowledged(play):
    assert a_late_reset(play(StockStage, "ABC", batch_bytes=200))


def test_ours_truncates_only_what_conflicts(play):
    assert a_late_reset(play(EngineStage, "ABC", batch_bytes=200)) == []


# An acknowledgement of an earlier leadership arrives in a later one.


def test_stock_counts_acknowledgements_of_another_term(play):
    assert a_slow_acknowledgement(play(StockStage, "ABCDE"))


def test_ours_counts_acknowledgements_of_its_term_only(play):
    stage = play(EngineStage, "ABCDE")
    assert a_slow_acknowledgement(stage) == []
    stage.connect_all("ABCDE")
    stage.settle("ABCDE", rounds=20)
    assert stage.data("A") == stage.data("E")


# The process is killed between the two steps of a compaction.


@LEAKS
def test_stock_loses_acknowledged_writes_to_a_kill_while_it_compacts(play, tmp_path):
    stage = play(StockStage, "ABC", folder=tmp_path)
    stage.campaign("A")
    stage.settle("ABC")
    wrote(stage, "A", [f"base{number}" for number in range(10)])
    stage.settle("ABC")
    stage.isolate("C")
    wrote(stage, "A", [f"w{number}" for number in range(10)])
    stage.tick("A")
    stage.beat("A")
    stage.deliver("A", "B")
    stage.deliver("B", "A")
    stage.tick("A")
    stage.tick("A")
    assert len(stage.acked) == 20
    stage.nodes["B"].forceLogCompaction()
    stage.tick("B")
    for path in list(tmp_path.glob("B.*")):
        shutil.copy(path, tmp_path / f"kept {path.name}")
    stage.nodes["B"].destroy()
    for path in list(tmp_path.glob("kept *")):
        os.replace(path, tmp_path / path.name.removeprefix("kept "))
    stage.links.clear()
    stage.queues.clear()
    stage.nodes["B"] = stage.make("B", "ABC")
    stage.tick("B")
    stage.connect("B", "C")
    stage.campaign("B")
    stage.settle("BC")
    assert stage.leads("B")
    assert stage.lost("B")


@pytest.mark.parametrize("operation", range(1, 12))
def test_ours_keeps_all_that_is_not_cut_wherever_a_cut_is_stopped(operation):
    disk = SimulatedFiles()
    journal = Journal.open(Path("/disk/j"), disk, segment_bytes=60, report=lambda line: None)
    for index in range(1, 9):
        journal.append(b"payload", index, 1)
        journal.flush()
    disk.crash_at(disk.operation_count + operation)
    try:
        journal.cut_to(6)
    except Crash:
        disk.crash(Random(operation))
    else:
        disk.kill()
    again = Journal.open(Path("/disk/j"), disk, segment_bytes=60, report=lambda line: None)
    assert again.first_index <= 6
    assert again.last_index == 8


# Two members are added at once while the leader is cut off from the others.


def two_additions_at_once(stage):
    stage.campaign("A")
    stage.settle("ABC")
    stage.cut("A", "B")
    stage.cut("A", "C")
    stage.join("D", "ABCE", "A")
    stage.join("E", "ABCD", "A")
    stage.tick("A")
    stage.connect("A", "D")
    stage.connect("A", "E")
    stage.write("A", "left")
    stage.settle("ADE")
    stage.campaign("B")
    stage.settle("BC")
    stage.write("B", "right")
    stage.settle("BC")
    return {"left", "right"} <= stage.acked


def test_stock_splits_in_two_clusters(play):
    assert two_additions_at_once(play(StockStage, "ABC"))


def test_ours_makes_one_change_at_a_time(play):
    stage = play(EngineStage, "ABC")
    assert not two_additions_at_once(stage)
    assert "right" in stage.acked


# A client's callback fails, or a command does.


def test_stock_applies_a_command_twice_when_a_callback_fails(play):
    stage = play(StockStage, "ABC")
    stage.campaign("A")
    stage.settle("ABC")

    def fails(*_):
        raise RuntimeError("the client is gone")

    stage.nodes["A"].put("x", callback=fails)
    stage.nodes["A"].put("y")
    stage.tick("A")
    for _ in range(8):
        stage.wait(0.2)
        for name in "ABC":
            try:
                stage.tick(name)
            except RuntimeError:
                continue
        for a in "ABC":
            for b in "ABC":
                stage.deliver(a, b)
    assert stage.data("A") == ["x", "x", "y"]
    assert stage.data("B") == ["x", "y"]


def test_ours_stops_when_a_command_cannot_be_applied_and_calls_nobody_back(play, monkeypatch):
    stage = play(EngineStage, "A")
    stage.campaign("A")
    stage.tick("A")
    stage.write("A", "x")

    def fails(*_):
        raise OSError("no space left")

    monkeypatch.setattr(stage.machines["A"], "apply", fails)
    with pytest.raises(OSError, match="no space left"):
        stage.settle("A")
    assert stage.acked == set()
    assert stage.data("A") == []


# A connection breaks while a snapshot is on its way.


def a_broken_snapshot(stage, break_it):
    stage.campaign("A")
    stage.settle("ABC")
    stage.isolate("A")
    wrote(stage, "A", [f"stale{number}" for number in range(100)])
    stage.tick("A")
    stage.campaign("B")
    stage.settle("BC")
    wrote(stage, "B", [f"g{number}" for number in range(20)])
    stage.settle("BC")
    stage.compact("B")
    stage.cut("B", "C")
    stage.connect("A", "B")
    stage.wait(1)
    stage.tick("B")
    break_it(stage)
    stage.deliver("A", "B")
    wrote(stage, "B", [f"w{number}" for number in range(5)])
    for _ in range(3):
        stage.tick("B")
    stage.cut("A", "B")
    stage.connect("A", "C")
    stage.campaign("C")
    stage.settle("AC")
    assert stage.leads("C")
    return stage.lost("C")


@LEAKS
def test_stock_takes_a_snapshot_with_a_hole_for_the_whole_log(play):
    def lose_one_chunk(stage):
        stage.deliver("B", "A", 2)
        stage.queues["B", "A"].popleft()
        while stage.queues["B", "A"]:
            try:
                stage.deliver("B", "A", 1)
            except Exception:  # whatever a broken snapshot makes the library raise
                continue

    assert a_broken_snapshot(play(StockStage, "ABC", chunk_bytes=64), lose_one_chunk)


def test_ours_acknowledges_no_snapshot_that_has_not_arrived(play):
    def lose_it(stage):
        stage.desks["A"].is_broken = True
        for _ in range(4):
            stage.deliver("B", "A")
            stage.tick("A")
            stage.deliver("A", "B")
            stage.wait(1)
            stage.tick("B")

    assert a_broken_snapshot(play(EngineStage, "ABC"), lose_it) == []


# Nodes restart after the cluster has grown.


def a_restart_after_growing(stage):
    stage.campaign("A")
    stage.settle("ABC")
    for name, others in (("D", "ABC"), ("E", "ABCD")):
        stage.join(name, others, "A")
        for other in others:
            stage.connect(other, name)
        stage.settle("ABCDE" if name == "E" else "ABCD", rounds=12)
    stage.links.clear()
    stage.queues.clear()
    for name in "BC":
        stage.restart(name)
    stage.connect("B", "C")
    stage.connect_all("ADE")
    stage.campaign("B")
    stage.deliver("B", "C")
    stage.deliver("C", "B")
    stage.write("B", "right")
    stage.tick("B")
    for _ in range(3):
        stage.beat("B")
        stage.deliver("B", "C")
        stage.deliver("C", "B")
    stage.tick("B")
    if not stage.leads("A"):
        stage.campaign("A")
    stage.settle("ADE")
    stage.write("A", "left")
    stage.settle("ADE")
    return stage.acked & {"left", "right"}


@LEAKS
def test_stock_lets_two_of_five_commit_alone(play, tmp_path):
    stage = play(StockStage, "ABC", folder=tmp_path)
    for node in stage.nodes.values():
        # All of it happens within the second between two writes of the commit index.
        node._SyncObj__numOneSecondDumps = 10**9
    assert a_restart_after_growing(stage) == {"left", "right"}


def test_ours_counts_every_member_its_log_knows_from_the_start(play):
    assert a_restart_after_growing(play(EngineStage, "ABC")) == {"left"}


# A follower has a tail that nobody else has, and more to learn than one message holds.


def a_long_way_back(stage):
    stage.campaign("A")
    stage.settle("ABC")
    stage.isolate("A")
    wrote(stage, "A", [f"u{number}" for number in range(5)])
    stage.tick("A")
    stage.campaign("B")
    stage.settle("BC")
    wrote(stage, "B", [f"{number:02d}" + "v" * 5000 for number in range(30)])
    stage.settle("BC")
    stage.campaign("C")
    stage.settle("BC")
    assert stage.leads("C")
    stage.connect("A", "B")
    stage.connect("A", "C")
    stage.settle("ABC", rounds=100)
    return stage.lost("A")


def test_stock_never_brings_the_follower_back(play):
    assert len(a_long_way_back(play(StockStage, "ABC", batch_bytes=2**16))) == 30


def test_ours_brings_the_follower_back(play):
    assert a_long_way_back(play(EngineStage, "ABC", batch_bytes=2**16)) == []


# The disk kept what was committed, but not the entries.


@LEAKS
def test_stock_acknowledges_alone_after_its_log_was_lost(play, tmp_path):
    for name in "ABC":
        kept = {"raftCommitIndex": 50, "currentTerm": 3, "votedForNodeId": None}
        MetaStorer(str(tmp_path / f"{name}.journal.meta")).storeMeta(kept)
    stage = play(StockStage, "ABC", folder=tmp_path)
    stage.campaign("A")
    stage.deliver("A", "B")
    stage.deliver("B", "A")
    assert stage.leads("A")
    stage.isolate("A")
    stage.write("A", "w")
    stage.tick("A")
    stage.tick("A")
    assert stage.acked == {"w"}


def test_ours_refuses_to_start_without_the_entries_it_applied():
    disk = SimulatedFiles()
    journal = Journal.open(Path("/disk/journal"), disk, report=lambda line: None)
    with pytest.raises(Diverged, match="has applied entry 50 of term 3"):
        reconcile(
            journal, Position(50, 3), InstallNote(Path("/disk"), disk), report=lambda line: None
        )
