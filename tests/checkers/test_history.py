from __future__ import annotations

import multiprocessing
import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.checkers import traffic
from tests.checkers.history import (
    FAILED,
    OK,
    UNKNOWN,
    Commit,
    Get,
    MalformedHistory,
    Recorder,
    Row,
    Write,
    now_ns,
    read_history,
    validate,
    write_history,
)


def commit(txn_id="t1", client="c", called=10, returned=20, **other):
    told = {"outcome": OK, "commit_ts": 1, "writes": (Write("k", "v"),), **other}
    return Commit(
        client=client, called_at_ns=called, returned_at_ns=returned, txn_id=txn_id, **told
    )


def test_every_kind_of_operation_comes_back_from_a_file_as_it_was(tmp_path):
    made = traffic.make(random.Random(1), traffic.Traffic(operations=400))
    kinds = {(type(one).__name__, one.outcome) for one in made.history}
    assert len(kinds) == 6, kinds
    write_history(tmp_path / "history", made.history)
    assert read_history([tmp_path / "history"]) == made.history


def record_three(path: str, client: str) -> None:
    recorder = Recorder(Path(path))
    for number in range(3):
        called = now_ns()
        recorder.add(commit(f"{client}{number}", client, called, now_ns()))
    recorder.close()


def test_processes_record_on_one_clock_and_one_history_is_read(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    before = now_ns()
    for client in ("a", "b"):
        process = spawn.Process(target=record_three, args=(str(tmp_path / client), client))
        process.start()
        process.join(60)
        assert process.exitcode == 0
    history = read_history(sorted(tmp_path.iterdir()))
    validate(history)
    assert len(history) == 6
    times = [time for one in history for time in (one.called_at_ns, one.returned_at_ns)]
    told = [before, *times, now_ns()]
    assert told == sorted(told)


def test_a_commit_recorded_before_and_after_is_one(tmp_path):
    recorder = Recorder(tmp_path / "history")
    sent = commit(outcome=UNKNOWN, returned=None, commit_ts=0)
    recorder.add(sent)
    recorder.add(commit("t2", "d", returned=None, outcome=UNKNOWN))
    recorder.add(commit())
    recorder.close()
    assert [one.outcome for one in read_history([tmp_path / "history"])] == [UNKNOWN, OK]


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "history"
    write_history(path, [commit(), commit("t2", called=30, returned=40)])
    path.write_bytes(path.read_bytes()[:-5])
    assert read_history([path]) == [commit()]


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "history"
    path.write_bytes(b'{"kind":"commit"}\n')
    with pytest.raises(MalformedHistory, match=r"history:1: .*txn_id"):
        read_history([path])


GET = Get(
    client="c",
    called_at_ns=10,
    returned_at_ns=20,
    outcome=OK,
    keys=("k",),
    rows=(Row("k", 1, "v", 1),),
)


@pytest.mark.parametrize(
    "history",
    [
        [],
        [commit(), commit("t2", called=20, returned=20)],
        [commit(), commit("t2", client="d")],
        [commit(versions=(1,)), replace(GET, client="d")],
        [commit(outcome=UNKNOWN, returned=None), commit("t2", called=11)],
        [commit(outcome=UNKNOWN, returned=15), commit("t2", called=15)],
        [commit(outcome=FAILED, commit_ts=0)],
    ],
)
def test_what_sequential_clients_can_record_is_valid(history):
    validate(history)


@pytest.mark.parametrize(
    ("history", "words"),
    [
        ([commit(), commit("t2", called=19)], "operation 1: its client was still busy"),
        ([commit(returned=None)], "not when"),
        ([replace(GET, returned_at_ns=None)], "not when"),
        ([commit(outcome=FAILED, returned=None)], "not when"),
        ([commit(called=21)], "returned before it was called"),
        ([commit(commit_ts=0)], "not told a commit_ts"),
        ([commit(versions=(1, 2))], "one version for each write"),
        ([commit(), commit(client="d")], "txn_id was used before"),
        ([replace(GET, rows=())], "rows are not those of its keys"),
        ([replace(GET, keys=("other",))], "rows are not those of its keys"),
        (
            [commit(outcome=UNKNOWN, returned=15), commit("t2", called=14)],
            "its client was still busy",
        ),
    ],
)
def test_what_no_sequential_client_can_record_is_refused(history, words):
    with pytest.raises(MalformedHistory, match=words):
        validate(history)
