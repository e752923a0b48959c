"""What a group does to the state: versions, events, conflicts, time, and what it never does."""

import pytest

from statehouse.core import codec
from statehouse.core.codec import Head
from statehouse.core.engine import Engine
from statehouse.core.errors import Reason
from statehouse.core.invariants import InvariantViolation
from statehouse.core.keys import Table, latest_key
from statehouse.core.model import (
    Committed,
    Expectation,
    Kind,
    Metadata,
    Operation,
    Precondition,
    Refused,
    Submission,
)
from tests.helpers.chain import check_chain
from tests.oracle.memory_store import MemoryStore
from tests.oracle.writing import (
    START_US,
    Writer,
    delete,
    expect,
    group,
    submission,
    transaction,
    version_is,
    write,
)


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def writer():
    return Writer()


def apply(store, *submissions, at_us=START_US):
    return store.apply(group(*submissions, at_us=at_us))[0]


def test_commits_count_from_one_and_versions_too(store, writer):
    first, second = apply(
        store, writer.submit(write("k"), write("other")), writer.submit(write("k"))
    )
    assert first == Committed(1, START_US, (1, 1))
    assert second == Committed(2, START_US, (2,))


def test_versions_go_on_in_later_groups(store, writer):
    apply(store, writer.submit(write("k")))
    assert apply(store, writer.submit(write("k")))[0].versions == (2,)


def test_one_transaction_may_write_a_key_twice_and_readers_see_the_last(store, writer):
    (answer,) = apply(store, writer.submit(write("k", b"1"), write("k", b"2"), delete("k")))
    assert answer.versions == (1, 2, 3)
    view = store.view()
    assert view.get("default", "a", "k").kind == Kind.TOMBSTONE
    assert view.get_version("default", "a", "k", 2).value == b"2"
    assert {view.get_version("default", "a", "k", n).commit_ts for n in (1, 2, 3)} == {1}


def test_a_delete_of_a_key_never_written_is_version_one(store, writer):
    (answer,) = apply(store, writer.submit(delete("k")))
    assert answer.versions == (1,)
    assert store.view().get("default", "a", "k").kind == Kind.TOMBSTONE


def test_versions_survive_deletes(store, writer):
    apply(store, writer.submit(write("k")), writer.submit(delete("k")), writer.submit(write("k")))
    assert store.view().get("default", "a", "k").version == 3


def test_an_empty_transaction_is_an_event(store, writer):
    assert apply(store, writer.submit()) == [Committed(1, START_US, ())]
    (event,) = store.view().events()
    assert event.operations == ()


def test_an_event_tells_all_of_its_transaction(store):
    metadata = Metadata("me", "why", "run", "call", (1,), (("a", "b"),))
    asked = version_is("k", 0)
    made = transaction(
        write("k", b"7"), sequence=9, preconditions=[asked], metadata=metadata, txn_id="name"
    )
    apply(store, Writer(2).submit(), submission(made))
    body = codec.decode_event(store.rows.get(Table.EVENTS, (2).to_bytes(8, "big")))
    assert (body.txn_id, body.client_id, body.sequence) == ("name", made.client_id, 9)
    assert (body.metadata, body.preconditions) == (metadata, (asked,))
    _, event = store.view().events()
    assert (event.txn_id, event.metadata, event.operations[0].value) == ("name", metadata, b"7")


def test_time_never_goes_back(store, writer):
    times = [
        apply(store, writer.submit(), at_us=at_us)[0].committed_at_us
        for at_us in (START_US, START_US - 1000, START_US + 5, 0)
    ]
    assert times == [START_US, START_US, START_US + 5, START_US + 5]


def test_a_value_is_stored_once(store, writer):
    apply(store, writer.submit(write("k", b'"needle"')))
    found = [
        table
        for table, rows in store.rows.tables.items()
        for row in rows.values()
        if b"needle" in row
    ]
    assert found == [Table.RECORDS]


class TestPreconditions:
    def test_a_conflict_writes_nothing_and_uses_no_commit_ts(self, store, writer):
        apply(store, writer.submit(write("k")))
        (answer,) = apply(
            store, writer.submit(write("k"), write("j"), preconditions=[version_is("k", 0)])
        )
        assert answer.reason == Reason.CONFLICT
        assert answer.conflicts[0].actual_version == 1
        assert store.head.commit_ts == 1
        assert store.view().get("default", "a", "j") is None

    def test_every_failing_one_is_told(self, store, writer):
        apply(store, writer.submit(write("k")))
        asked = [version_is("k", 5), version_is("x", 0), expect("k", Expectation.ABSENT)]
        (answer,) = apply(store, writer.submit(preconditions=asked))
        assert [conflict.precondition for conflict in answer.conflicts] == [asked[0], asked[2]]
        assert "and 1 more" in answer.message

    def test_all_are_judged_before_any_operation(self, store, writer):
        (answer,) = apply(
            store, writer.submit(write("k"), write("k"), preconditions=[version_is("k", 0)])
        )
        assert answer.versions == (1, 2)

    def test_they_see_what_the_same_group_committed_before(self, store, writer):
        answers = apply(
            store,
            writer.submit(write("k"), preconditions=[version_is("k", 0)]),
            writer.submit(write("k"), preconditions=[version_is("k", 0)]),
        )
        assert isinstance(answers[0], Committed)
        assert answers[1].reason == Reason.CONFLICT


class TestContentNeverStopsTheNode:
    @pytest.mark.parametrize(
        "garbage",
        [
            b"",
            b"\xff",
            b"\x93\x00\x00\xc4\x01\xff",
            codec.encode_submission(Submission(0, 0, b"garbage")),
            submission(transaction(sequence=0)),
            submission(transaction(sequence=2**64 - 1)),
            submission(transaction(Operation("n", "a", "k", 3, b""), sequence=1)),
            submission(transaction(Operation("n", "a", "k", -1, b""), sequence=1)),
            submission(transaction(sequence=1, preconditions=[Precondition("n", "a", "k", 9, 0)])),
            submission(transaction(sequence=1), acknowledged=1),
            codec.encode_submission(
                Submission(0, 0, codec.encode_transaction(transaction(sequence=1)) + b"\x00")
            ),
        ],
    )
    def test_what_slipped_through_is_refused_and_changes_nothing(self, store, garbage):
        before = store.head
        (answer,) = apply(store, garbage)
        assert isinstance(answer, Refused)
        assert answer.reason == Reason.INVALID_ARGUMENT
        assert store.head == before
        assert store.count(Table.SESSIONS) == store.count(Table.RECEIPTS) == 0

    def test_the_others_of_its_group_are_served(self, store, writer):
        answers = apply(store, writer.submit(write("k")), b"garbage", writer.submit(write("k")))
        assert [isinstance(answer, Committed) for answer in answers] == [True, False, True]
        assert store.head.commit_ts == 2

    def test_odd_names_are_just_names(self, store, writer):
        apply(store, writer.submit(write("", agent="", namespace=""), write("a\x00b")))
        assert store.view().get("", "", "").version == 1
        assert list(store.view().keys("default", "a")) == ["a\x00b"]


class TestContradictionsStopTheNode:
    def test_a_key_written_by_the_future(self, store, writer):
        key = latest_key("default", "a", "k")
        store.rows.write([(Table.LATEST, key, codec.encode_latest(1, 5, 1, 0))], [])
        with pytest.raises(InvariantViolation, match="only 0 are committed"):
            apply(store, writer.submit(write("k")))

    def test_a_receipt_without_a_session(self, store, writer):
        apply(store, writer.submit(write("k")), Writer(2).submit(write("k")))
        store.rows.write([], [(Table.SESSIONS, bytes(15) + b"\x01")])
        apply(store, Writer(3).submit(write("k")))
        with pytest.raises(InvariantViolation, match="no session"):
            apply(store, Writer(4).submit(write("k")), at_us=START_US * 2)


def test_the_log_comes_to_the_same_rows_however_it_is_cut():
    writers = [Writer(1), Writer(2)]
    groups = [
        group(
            *[writers[n % 2].submit(write(f"k{n % 3}"), acknowledged=max(0, n // 4)) for _ in "ab"],
            at_us=START_US + n * 600_000_000,
        )
        for n in range(30)
    ]
    at_once, one_by_one = MemoryStore(), MemoryStore()
    answers = at_once.apply(*groups)
    assert answers == [one_by_one.apply(one)[0] for one in groups]
    assert at_once.head == one_by_one.head
    assert at_once.rows.tables == one_by_one.rows.tables


def test_the_chain_verifies_and_breaks_when_anything_is_changed(store, writer):
    apply(store, writer.submit(write("k", b"1")), writer.submit(write("k", b"2")))
    check_chain(store.view())
    for table in (Table.EVENTS, Table.RECORDS):
        for key, row in list(store.rows.tables[table].items()):
            store.rows.tables[table][key] = row[:-1] + bytes([row[-1] ^ 1])
            with pytest.raises(Exception, match=r"commit_ts|malformed"):
                check_chain(store.view())
            store.rows.tables[table][key] = row
    check_chain(store.view())


def test_nothing_is_written_before_the_effects_are(store, writer):
    class Nothing:
        def head(self):
            return Head()

        def get(self, table, key):
            return None

        def first(self, table, key):
            return None

    engine = Engine(Nothing())
    assert engine.apply(group(writer.submit(write("k"))), 1) == [Committed(1, START_US, (1,))]
    effects = engine.effects()
    assert effects.head.commit_ts == 1
    assert {table for table, _, _ in effects.puts} == {
        *(Table.EVENTS, Table.RECORDS, Table.LATEST, Table.AGENT_EVENTS, Table.TIMES),
        *(Table.RECEIPTS, Table.RECEIPT_GROUPS, Table.SESSIONS, Table.AGENTS, Table.NAMESPACES),
    }
