"""The tree of errors: as drawn, catchable as users expect, and picklable."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest
from statehouse_sdk import errors

CLASSES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.StatehouseError)
]


def drawn_tree():
    """Class name -> name of its parent, as the docstring of errors.py draws it."""
    parents, trail = {}, []
    for line in errors.__doc__.splitlines():
        match = re.match(r"    ([│├└─ ]*)(\w+Error)\b", line)
        if match:
            depth = len(match[1]) // 4
            trail[depth:] = [match[2]]
            parents[match[2]] = trail[depth - 1] if depth else None
    return parents


def test_the_drawn_tree_is_the_real_one():
    drawn = drawn_tree()
    assert set(drawn) == {kind.__name__ for kind in CLASSES}
    for kind in CLASSES:
        assert kind.__base__.__name__ == (drawn[kind.__name__] or "Exception")


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_one_of_ours_and_survives_pickling(kind):
    error = kind("what happened")
    error.add_note("a note")
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, errors.StatehouseError)
    assert (type(copy), str(copy), vars(copy)) == (kind, "what happened", vars(error))


def test_facts_survive_pickling():
    cause = errors.TooLargeError("too large", "value_bytes_max", 5, 9)
    conflict = errors.Conflict("n", "a", "k", expected_version=1, actual_version=2)
    for error in (
        cause,
        errors.InvalidValueError("bad", "$.x"),
        errors.ConflictError("conflict", (conflict,)),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert vars(copy) == vars(error)
    aborted = pickle.loads(pickle.dumps(errors.TransactionAbortedError("aborted", cause)))
    assert vars(aborted.cause) == vars(cause)


def test_a_wrong_request_is_a_value_error_too():
    assert issubclass(errors.InvalidValueError, ValueError)


def test_our_connection_error_is_not_the_builtin():
    assert not issubclass(errors.ConnectionError, OSError)


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"expected_version": 3}, "expected version 3, found never written"),
        (
            {"expected_absent": True, "actual_version": 2, "actual_commit_ts": 9}
            | {"actual_exists": True},
            "expected no value, found version 2 of commit_ts 9",
        ),
        (
            {"unchanged_since": 4, "actual_version": 2, "actual_commit_ts": 9},
            "expected unchanged since commit_ts 4, found deleted at version 2 of commit_ts 9",
        ),
    ],
)
def test_a_conflict_reads_as_a_sentence(facts, text):
    assert str(errors.Conflict("n", "a", "k", **facts)) == f"n/a/k: {text}"
