"""What may not enter the log is refused by name, with the limit it exceeds."""

import time

import pytest
from msgspec import structs

from statehouse.core import limits, validation
from statehouse.core.errors import Failure, Reason
from statehouse.core.marks import Cursor, Fork, Label
from statehouse.core.model import Kind, Metadata, Operation, Precondition, Submission
from tests.oracle.writing import mark, transaction, version_is, write


def refusal(check, *arguments):
    with pytest.raises(Failure) as caught:
        check(*arguments)
    return caught.value


@pytest.mark.parametrize("name", ["a", "é", "\U0001f600", " ", "a" * 1024, "é" * 512, "a:b/c"])
def test_a_good_name_passes(name):
    validation.check_names(name, name, name)
    validation.check_namespace(name)
    validation.check_scope(name, name, name)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "empty"),
        ("a\x00b", "control character '\\\\x00'"),
        ("a\nb", "control character"),
        ("\x1f", "control character"),
        ("\x7f", "control character"),
        ("\ud800", "lone surrogate"),
        ("é\udfff", "lone surrogate"),
    ],
)
def test_a_bad_name_is_refused_with_its_field(name, says):
    for names, field in (
        ((name, "a", "k"), "namespace"),
        (("n", name, "k"), "agent_id"),
        (("n", "a", name), "key"),
    ):
        failure = refusal(validation.check_names, *names)
        assert failure.reason is Reason.INVALID_ARGUMENT
        assert failure.message.startswith(field)
        assert says.replace("\\\\", "\\") in failure.message


@pytest.mark.parametrize("name", ["a" * 1025, "é" * 513, "\U0001f600" * 257])
def test_a_long_name_names_the_limit(name):
    failure = refusal(validation.check_names, "n", "a", name)
    assert failure.reason is Reason.TOO_LARGE
    assert (failure.limit.name, failure.limit.maximum) == ("name_bytes_max", 1024)
    assert failure.limit.actual == len(name.encode())


@pytest.mark.parametrize(
    ("names", "field"),
    [
        (("n\na", "k", ""), "namespace"),
        (("n\na\nk", "", ""), "namespace"),
        (("n", "a\nk", ""), "agent_id"),
        (("", "n\na", "k"), "namespace"),
        (("n", "a", "k\n"), "key"),
    ],
)
def test_no_name_makes_up_for_another(names, field):
    failure = refusal(validation.check_names, *names)
    assert failure.message.startswith(field)


def test_only_a_prefix_may_be_empty():
    validation.check_scope("n", "a", "")
    assert refusal(validation.check_scope, "n", "", "").message.startswith("agent_id is empty")
    assert refusal(validation.check_scope, "n", "a", "\n").message.startswith("prefix")


@pytest.mark.parametrize(
    "text",
    ["null", "1", "-0", str(2**53 + 1), str(10**300), "1.5e300", '"\\u0000"', "[]", '{"a":[{}]}'],
)
def test_json_passes(text):
    validation.check_value(Kind.JSON, text.encode())


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"nul", b"NaN", b"Infinity", b"[1,]", b"{1:2}", b"1 2", b"'a'", b"01", b"1e999"),
        *(b"\xff", b'"\xed\xa0\x80"', b'"\\ud800"', b'"a\x01b"', b"\xef\xbb\xbf1", b'{"a":1'),
    ],
)
def test_what_is_not_json_is_refused(value):
    failure = refusal(validation.check_value, Kind.JSON, value, "operations[3].value")
    assert failure.reason is Reason.INVALID_ARGUMENT
    assert failure.message.startswith("operations[3].value is not JSON")


def test_json_may_nest_as_deep_as_the_limit():
    depth = limits.JSON_DEPTH_MAX
    validation.check_value(Kind.JSON, b"[" * depth + b"]" * depth)
    validation.check_value(Kind.JSON, b"[" + b"[]," * 2000 + b"[]]")
    validation.check_value(Kind.JSON, b'"' + b"[" * 5000 + b'"')


@pytest.mark.parametrize("depth", [limits.JSON_DEPTH_MAX + 1, 5000, 500_000])
def test_json_that_nests_deeper_names_the_limit(depth):
    failure = refusal(validation.check_value, Kind.JSON, b"[" * depth + b"]" * depth)
    assert failure.limit.name == "json_depth_max"
    assert failure.limit.actual == depth


@pytest.mark.parametrize(
    "value",
    [b"[" * 600 + b'"' + b'\\"' * 500_000, b"[" * 600 + b'"' * 500_000, b"[" * 600 + b'"\\' * 9999],
)
def test_a_hostile_text_is_judged_in_linear_time(value):
    began_s = time.monotonic()
    refusal(validation.check_value, Kind.JSON, value)
    assert time.monotonic() - began_s < 2


def test_values_have_a_kind_and_a_size():
    validation.check_value(Kind.BYTES, b"\xff" * limits.VALUE_BYTES_MAX)
    failure = refusal(validation.check_value, Kind.BYTES, b"x" * (limits.VALUE_BYTES_MAX + 1))
    assert failure.limit.name == "value_bytes_max"
    assert "kind 9" in refusal(validation.check_value, 9, b"").message
    assert "deletes" in refusal(validation.check_value, Kind.TOMBSTONE, b"x").message


def test_a_good_transaction_passes():
    metadata = Metadata("me", "why", "run", "call", (1, 2), (("a", "1"), ("b", "2")))
    good = transaction(
        write("k"), sequence=1, preconditions=[version_is("k", 0)], metadata=metadata
    )
    validation.check_transaction(good)
    validation.check_transaction(transaction(sequence=2**63 - 1))


MARKS = [
    mark(Label("l", 1)),
    mark(Label("l", 0)),
    mark(Fork("parent", 1)),
    mark(Cursor("c", 0, "a", "p")),
    mark(Cursor("c", 0, deleted=True)),
]


@pytest.mark.parametrize("one", MARKS, ids=repr)
def test_a_mark_passes_where_it_was_asked_for_as_one(one):
    asked = [
        version_is(one.key, 0, namespace=one.namespace, agent=one.agent_id),
        version_is("k", 0),
    ]
    made = transaction(one, sequence=1, preconditions=asked)
    validation.check_transaction(made, frozenset({0}))
    assert validation.shape_fault(Submission(0, 0, b""), made, marked=True) is None


@pytest.mark.parametrize("one", MARKS, ids=repr)
def test_what_a_client_names_like_a_mark_is_refused(one):
    made = transaction(write("k"), one, sequence=1)
    assert "control character" in refusal(validation.check_transaction, made).message
    assert "control character" in refusal(validation.check_operation, one).message
    asked = version_is(one.key, 0, namespace=one.namespace, agent=one.agent_id)
    alone = transaction(mark(Label("other", 1)), sequence=1, preconditions=[asked])
    failure = refusal(validation.check_transaction, alone, frozenset({0}))
    assert failure.message.startswith("preconditions[0].")


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (mark(Label("", 1)), "operations[0].mark.label.name is empty"),
        (mark(Label("a\nb", 1)), "operations[0].mark.label.name holds the control"),
        (mark(Label("l", 1), agent="a\nb"), "operations[0].agent_id"),
        (mark(Label("l", 1), namespace=""), "operations[0].namespace is empty"),
        (mark(Fork("", 1)), "operations[0].mark.fork.parent_id is empty"),
        (mark(Fork("\x01", 1)), "operations[0].mark.fork.parent_id holds"),
        (mark(Cursor("", 1)), "operations[0].mark.cursor.name is empty"),
        (mark(Cursor("c", 1, "\x01")), "operations[0].mark.cursor.agent_id"),
        (mark(Cursor("c", 1, "a", "\x01")), "operations[0].mark.cursor.prefix"),
        (Operation("n", "a", "\x00odd", 1, b"1"), "operations[0].mark: no mark is kept"),
        (Operation("n", "a", "k", 1, b"1"), "operations[0].mark: no mark is kept as key 'k'"),
    ],
    ids=repr,
)
def test_a_bad_mark_is_refused_with_its_field(one, says):
    failure = refusal(validation.check_transaction, transaction(one, sequence=1), frozenset({0}))
    assert failure.reason is Reason.INVALID_ARGUMENT
    assert failure.message.startswith(says)


def test_the_name_of_a_mark_may_be_as_long_as_any():
    longest = "x" * limits.NAME_BYTES_MAX
    for one in (Label(longest, 1), Fork(longest, 1), Cursor(longest, 1, longest, longest)):
        made = transaction(mark(one, agent=longest), sequence=1)
        validation.check_transaction(made, frozenset({0}))
    longer = transaction(mark(Label(longest + "x", 1)), sequence=1)
    failure = refusal(validation.check_transaction, longer, frozenset({0}))
    assert failure.limit.name == "name_bytes_max"


def test_a_fork_comes_without_other_operations():
    made = transaction(mark(Fork("a", 1), agent="f"), write("k"), sequence=1)
    failure = refusal(validation.check_transaction, made, frozenset({0}))
    assert "commit it alone" in failure.message


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"sequence": 0}, "op_id.sequence is 0"),
        ({"sequence": 2**63}, "op_id.sequence"),
        ({"txn_id": "a\nb"}, "txn_id"),
        ({"preconditions": [Precondition("n", "a", "k", 7, 0)]}, "preconditions[0].expectation 7"),
        ({"preconditions": [version_is("k", 2**63)]}, "preconditions[0].number"),
        ({"preconditions": [version_is("", 0)]}, "preconditions[0].key is empty"),
        ({"metadata": Metadata(caused_by=(0,))}, "metadata.caused_by[0]"),
        ({"metadata": Metadata(extra=(("b", ""), ("a", "")))}, "metadata.extra"),
        ({"metadata": Metadata(extra=(("a", ""), ("a", "")))}, "metadata.extra"),
        ({"metadata": Metadata(actor="\ud800")}, "lone surrogate"),
    ],
)
def test_a_bad_transaction_is_refused_with_its_field(more, says):
    failure = refusal(validation.check_transaction, transaction(**{"sequence": 1, **more}))
    assert failure.reason is Reason.INVALID_ARGUMENT
    assert says in failure.message


def test_the_field_of_a_bad_operation_says_which_one():
    bad = transaction(write("k"), write("k", b"nul"), sequence=1)
    assert refusal(validation.check_transaction, bad).message.startswith("operations[1].value")


def test_a_client_id_has_sixteen_bytes():
    bad = structs.replace(transaction(sequence=1), client_id=b"short")
    assert "5 bytes" in refusal(validation.check_transaction, bad).message


@pytest.mark.parametrize(
    ("made", "limit"),
    [
        (transaction(*[write("k")] * 1025, sequence=1), "transaction_operations_max"),
        (
            transaction(sequence=1, preconditions=[version_is("k", 0)] * 4097),
            "transaction_preconditions_max",
        ),
        (
            transaction(sequence=1, metadata=Metadata(reason="x" * 16385)),
            "metadata_bytes_max",
        ),
        (
            transaction(sequence=1, metadata=Metadata(caused_by=(1,) * 65)),
            "metadata_causes_max",
        ),
        (
            transaction(
                *[write(f"k{n}", b"x" * 2**20, kind=Kind.BYTES) for n in range(3)], sequence=1
            ),
            "transaction_bytes_max",
        ),
    ],
)
def test_what_is_too_large_names_the_limit(made, limit):
    failure = refusal(validation.check_transaction, made)
    assert failure.reason is Reason.TOO_LARGE
    assert failure.limit.name == limit
    assert failure.limit.actual > failure.limit.maximum


def test_what_passes_has_a_shape_the_engine_takes():
    good = transaction(write("k"), sequence=2, preconditions=[version_is("k", 0)])
    assert validation.shape_fault(Submission(0, 1, b""), good, marked=False) is None
    assert "acknowledged_through 2" in validation.shape_fault(
        Submission(0, 2, b""), good, marked=False
    )
    odd = transaction(Operation("n", "a", "k", 3, b""), sequence=1)
    assert "unknown kind 3" in validation.shape_fault(Submission(0, 0, b""), odd, marked=False)
