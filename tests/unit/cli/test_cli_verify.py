"""Whether it is so: verify, of the nodes and of a file."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from fake_history import FIRST_COMMIT_AT
from statehouse_sdk.cli import history_file
from statehouse_sdk.history_models import Head
from statehouse_sdk.models import (
    ForkMark,
    LabelMark,
    Metadata,
    Operation,
    Proof,
    ReplayEvent,
)

NODES = {f"n{k}": f"127.0.0.1:{50050 + k}" for k in (1, 2, 3)}


@pytest.fixture
def written(ctl):
    for number in range(20):
        ctl("put", "a", "k", str(number))


@pytest.mark.usefixtures("written")
def test_nodes_that_agree_are_sound(ctl):
    ended = ctl("verify")
    assert (ended.code, ended.err) == (0, "")
    rows = [line.split() for line in ended.out.splitlines()]
    assert [(row[0], row[2], row[3], row[5]) for row in rows[1:4]] == [
        (name, "20", "20", "sound") for name in NODES
    ]
    assert ended.out.endswith("all 3 nodes hold the same history up to commit_ts 20\n")
    told = json.loads(ctl("verify", "--agent", "a", "-o", "json").out)
    assert (told["ok"], told["compared_at"], len(told["nodes"])) == (True, 20, 3)


@pytest.mark.usefixtures("written")
def test_the_first_bad_event_and_its_node_are_named(ctl, fake):
    fake.past.faults[NODES["n2"]] = (7, "its value is not the one its hash covers")
    ended = ctl("verify")
    assert ended.code == 1
    assert ended.err == (
        f"n2 at {NODES['n2']}: commit_ts 7: its value is not the one its hash covers\n"
    )
    told = json.loads(ctl("verify", "-o", "json").out)
    assert [node["bad_commit_ts"] for node in told["nodes"]] == [None, 7, None]
    assert told["compared_at"] == 20, "the sound ones are compared as far as they go"


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("first", [1, 2, 13, 20])
def test_a_node_with_a_history_of_its_own_is_found_with_its_first_event(ctl, fake, first):
    fake.past.strays[NODES["n1"]] = first
    ended = ctl("verify")
    assert ended.code == 1
    assert ended.err == f"n1 at {NODES['n1']}: commit_ts {first} is another event than on n2\n"


@pytest.mark.usefixtures("written")
def test_a_node_that_does_not_answer_was_not_checked(ctl, fake):
    fake.silent.add(NODES["n3"])
    ended = ctl("verify")
    assert ended.code == 1
    assert ended.err == f"n3 at {NODES['n3']}: it was not checked: does not answer\n"


# -- Files


def _event(commit_ts, *operations, stored):
    place = (f"t{commit_ts}", commit_ts, list(operations), "default", "a", FIRST_COMMIT_AT)
    metadata = Metadata("me", "why", "run", "call", (1, 2), {"x": "y"})
    proof = Proof(bytes(32), b"\x01body", stored)
    return ReplayEvent(*place, metadata, b"\x02" * 32, proof)


EVENTS = [
    _event(
        3,
        Operation("k", {"n": [1, 2.5, None, "ü\ud800"]}, 1, agent_id="a"),
        Operation("raw", b"\x00\xff", 1, agent_id="a"),
        Operation("gone", None, 2, True, agent_id="parent"),
        # Not as this client writes it: the stored bytes stand in the file too.
        Operation("spaced", [1, 2], 1, agent_id="a"),
        stored=(b'{"n":[1,2.5,null,"\xc3\xbc\xed\xa0\x80"]}', b"\x00\xff", None, b"[1, 2]"),
    ),
    _event(
        5,
        Operation("", None, 1, agent_id="a", mark=LabelMark("here", 3)),
        Operation("", None, 1, agent_id="a", mark=ForkMark("parent", 2)),
        stored=(None, None),
    ),
]


def _written(events):
    file = io.StringIO()
    history_file.write(file, "default", "a", Head(5, b"\x03" * 32), events)
    return file.getvalue()


def test_a_file_gives_back_what_was_written():
    header, events = history_file.read(io.StringIO(_written(EVENTS)))
    assert header == ("default", "a", 5, "03" * 32)
    assert list(events) == EVENTS


@pytest.mark.parametrize(
    ("mend", "said"),
    [
        (lambda lines: [], "is not JSON"),
        (lambda lines: ["[1]"], "line 1 is no object"),
        (lambda lines: ['{"a": {"value": 1}}'], "it is not a history"),
        (lambda lines: [lines[0].replace('"format":1', '"format":2')], "it has format 2"),
        (lambda lines: [lines[0].replace('"head"', '"tail"')], "line 1 is no header"),
        (lambda lines: lines[:1], "it is cut short after 0 events"),
        (lambda lines: [lines[0], lines[-1]], "it should hold 2 events, and holds 0"),
        (
            lambda lines: [lines[0], '{"end":0}', lines[1]],
            "line 2 is the end, and more lines follow",
        ),
        (lambda lines: [lines[0], "{}", lines[-1]], "line 2 is no event"),
        (lambda lines: [lines[0], lines[1][:40]], "line 2 is not JSON"),
        (lambda lines: [lines[0], "[" * 100_000], "line 2 is not JSON"),
        (
            lambda lines: [lines[0], lines[1].replace('"value":[1,2]', '"value":[1,3]')],
            "the value of 'spaced' is not what is stored",
        ),
        (
            lambda lines: [lines[0], lines[1].replace('"value":null', '"value":1')],
            "line 2 is no event",
        ),
        (
            lambda lines: [lines[0], lines[1].replace('"body":"', '"body":"*')],
            "is not base64",
        ),
    ],
)
def test_a_file_that_is_none_is_refused_in_words(ctl, tmp_path, mend, said):
    lines = mend(_written(EVENTS).splitlines())
    (tmp_path / "file").write_text("\n".join(lines) + "\n")
    ended = ctl("verify", "--file", str(tmp_path / "file"))
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"Error: {tmp_path / 'file'}: ")
    assert said in ended.err


def test_a_file_of_somebody_else_is_refused():
    text = _written(EVENTS).replace('"agent_id":"a","head"', '"agent_id":"b","head"')
    _, events = history_file.read(io.StringIO(text))
    with pytest.raises(history_file.FileError, match="not of agent 'b': it tells of 'a'"):
        list(events)


def test_an_event_that_its_hash_does_not_cover_is_named(ctl, tmp_path):
    (tmp_path / "file").write_text(_written(EVENTS))
    ended = ctl("verify", "--file", str(tmp_path / "file"))
    assert (ended.code, ended.out) == (1, "")
    assert "commit_ts 3: its hash" in ended.err
    told = json.loads(ctl("verify", "--file", str(tmp_path / "file"), "-o", "json").out)
    assert (told["ok"], told["bad_commit_ts"]) == (False, 3)


def test_events_without_proofs_are_not_written():
    with pytest.raises(ValueError, match="without its proof"):
        _written([replace(EVENTS[0], proof=None)])
