"""Marks: the names and values under which they are recorded, and what is none."""

from __future__ import annotations

import pytest

from statehouse.core import marks
from statehouse.core.marks import CURSORS, FORK, LABEL, Cursor, Fork, Label
from statehouse.core.model import Kind, Operation
from tests.oracle.writing import delete, mark, transaction, write

MARKS = [
    Label("before-refund", 7),
    Label("é \U0001f600", 2**63),
    Label("gone", 0),
    Fork("a", 0),
    Fork('quoted "é"', 12),
    Cursor("reader", 0),
    Cursor("reader", 9, "agent", "prefix/"),
    Cursor("reader", 0, deleted=True),
]


@pytest.mark.parametrize("one", MARKS, ids=repr)
def test_a_mark_is_read_as_it_was_recorded(one):
    made = mark(one)
    assert marks.mark_of(made.agent_id, made.key, made.kind, made.value) == one
    assert marks.is_mark(made.agent_id, made.key)
    assert marks.fault_of(transaction(made, sequence=1)) is None


def test_what_is_deleted_is_a_tombstone():
    for one in (Label("l", 0), Cursor("c", 5, "a", "p", deleted=True)):
        assert (mark(one).kind, mark(one).value) == (Kind.TOMBSTONE, b"")


def test_a_cursor_belongs_to_the_namespace():
    assert mark(Cursor("c", 5), agent="whoever").agent_id == CURSORS


def test_names_that_clients_may_give_are_no_marks():
    for name in ("k", "a\x00b", "\x01", "label", "fork"):
        assert not marks.is_mark("a", name)
        assert not marks.is_mark(name, "k")
        assert not marks.among(transaction(write(name), sequence=1))


def test_marks_are_found_among_others():
    assert marks.among(transaction(write("k"), mark(Label("l", 1)), sequence=1))
    assert marks.among(transaction(write("k"), mark(Cursor("c", 1)), sequence=1))


JSON = Kind.JSON.value
ODD = [
    (Operation("n", "a", "\x00", JSON, b"1"), "no mark is kept as key"),
    (Operation("n", "a", "\x00labels\x00l", JSON, b"1"), "no mark is kept as key"),
    (Operation("n", "\x00", "k", JSON, b"1"), "no mark is kept as key 'k' of agent"),
    (Operation("n", CURSORS, FORK, JSON, b'["a",1]'), "no mark is kept"),
    (Operation("n", "a", LABEL + "l", JSON, b"0"), "label 'l' names the point 0"),
    (Operation("n", "a", LABEL + "l", JSON, b"-1"), "names the point -1"),
    (Operation("n", "a", LABEL + "l", JSON, b"1.0"), "something else"),
    (Operation("n", "a", LABEL + "l", JSON, b" 1"), "something else"),
    (Operation("n", "a", LABEL + "l", JSON, b'"1"'), "something else"),
    (Operation("n", "a", LABEL + "l", JSON, b"\xff"), "something else"),
    (Operation("n", "a", LABEL + "l", Kind.BYTES.value, b"1"), "something else"),
    (Operation("n", "a", FORK, JSON, b'["a"]'), "something else"),
    (Operation("n", "a", FORK, JSON, b'["a",-1]'), "names the point -1"),
    (Operation("n", "a", FORK, JSON, b'["\\u0000cursors",1]'), "nobody's agent"),
    (Operation("n", CURSORS, "c", JSON, b"7"), "something else"),
    (Operation("n", CURSORS, "c", JSON, b'[-7,"",""]'), "names the point -7"),
    (delete(FORK), "something else"),
]


@pytest.mark.parametrize(("made", "says"), ODD, ids=repr)
def test_what_has_another_form_is_a_fault(made, says):
    with pytest.raises(ValueError, match=says):
        marks.mark_of(made.agent_id, made.key, made.kind, made.value)
    assert says in marks.fault_of(transaction(write("k"), made, sequence=1))


def test_a_fork_comes_alone():
    both = transaction(mark(Fork("a", 1), agent="f"), write("k", agent="f"), sequence=1)
    assert "commit it alone" in marks.fault_of(both)


def test_people_see_no_control_characters():
    for one, words in ((Label("l", 1), "label l"), (Fork("p", 1), "fork")):
        assert marks.shown("a", mark(one).key) == words
    assert marks.shown(CURSORS, "c") == "cursor c"
    assert marks.shown("a", "k") == "k"
