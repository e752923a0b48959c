"""Exactly once: an op id is decided once, whatever is lost, doubled, delayed or reordered."""

from __future__ import annotations

from random import Random

import pytest
from msgspec import structs

from statehouse.core import limits
from statehouse.core.errors import Reason
from statehouse.core.keys import Table
from statehouse.core.model import Committed, Metadata
from tests.helpers.chain import check_chain
from tests.oracle.memory_store import MemoryStore
from tests.oracle.writing import (
    START_US,
    client_id,
    delete,
    group,
    submission,
    transaction,
    version_is,
    write,
)

WINDOW_US = limits.RECEIPT_WINDOW_US


@pytest.fixture
def store():
    return MemoryStore()


def send(store, made, *, at_us=START_US, born_at=0, acknowledged=0):
    encoded = submission(made, born_at=born_at, acknowledged=acknowledged)
    return store.apply(group(encoded, at_us=at_us))[0][0]


def once(sequence, *operations, client=1, **more):
    return transaction(*(operations or [write("k")]), client=client, sequence=sequence, **more)


def age(store, at_us):
    """Time passes: two commits of somebody else, the second past what the first still guards."""
    send(store, once(1, client=98), at_us=at_us, born_at=store.head.commit_ts)
    send(store, once(1, client=99), at_us=at_us, born_at=store.head.commit_ts)


def test_a_retry_gets_the_first_answer_and_changes_nothing(store):
    first = send(store, once(1))
    rows = {table: dict(rows) for table, rows in store.rows.tables.items()}
    assert send(store, once(1), at_us=START_US + 5) == first
    assert store.head.commit_ts == 1
    assert store.rows.tables == rows


def test_a_retry_in_the_same_group_gets_the_first_answer(store):
    answers = store.apply(group(submission(once(1)), submission(once(1))))[0]
    assert answers[0] == answers[1]
    assert store.head.commit_ts == 1


def test_other_content_under_one_op_id_is_refused(store):
    send(store, once(1))
    answer = send(store, once(1, write("other")))
    assert answer.reason == Reason.OP_ID_REUSED
    assert store.head.commit_ts == 1


def test_a_conflict_stays_a_conflict(store):
    send(store, once(1))
    conflicting = once(2, preconditions=[version_is("k", 2)])
    assert send(store, conflicting).reason == Reason.CONFLICT
    send(store, once(3))
    # The precondition would hold now; but the client was told "conflict".
    again = send(store, conflicting)
    assert again.reason == Reason.CONFLICT
    assert store.head.commit_ts == 2


def test_sequences_may_come_in_any_order(store):
    for sequence in (5, 2, 9, 1):
        assert isinstance(send(store, once(sequence)), Committed)
    assert send(store, once(2)).commit_ts == 2


def test_other_content_is_refused_within_one_apply_too(store):
    same, other = once(1), once(1, write("other"))
    first, second, third = (
        store.apply(group(submission(same), submission(other)), group(submission(same)))[0]
        + store.apply(group(submission(other)))[0]
    )
    assert isinstance(first, Committed)
    assert second.reason == third.reason == Reason.OP_ID_REUSED


@pytest.mark.parametrize(
    "other",
    [
        once(1, write("k", b"2")),
        once(1, write("k"), write("k")),
        once(1, write("k", agent="b")),
        once(1, write("k", namespace="n")),
        once(1, delete("k")),
        once(1, preconditions=[version_is("k", 0)]),
        once(1, metadata=Metadata(reason="another")),
        structs.replace(once(1), txn_id="another"),
    ],
)
def test_every_part_of_a_transaction_tells_it_from_another(store, other):
    send(store, once(1))
    assert send(store, other).reason == Reason.OP_ID_REUSED
    assert store.head.commit_ts == 1


def test_receipts_of_one_group_share_a_row(store):
    store.apply(group(*[submission(once(number)) for number in (3, 1, 2)]))
    assert store.count(Table.RECEIPTS) == 1
    assert [send(store, once(number)).commit_ts for number in (1, 2, 3)] == [2, 3, 1]


def test_a_receipt_is_found_behind_rows_that_lack_it(store):
    """Sequences that come late leave rows in between, whose highest is above what is looked for."""
    for late in ((9, 1), (5,), (7, 2), (3,)):
        store.apply(group(*[submission(once(number)) for number in late]))
    assert [send(store, once(number)).commit_ts for number in (1, 2, 3, 5, 7, 9)] == [
        *(2, 5, 6, 3, 4, 1)
    ]
    assert isinstance(send(store, once(4)), Committed)


class TestAcknowledged:
    def test_what_is_acknowledged_is_refused(self, store):
        for sequence in (1, 2, 3):
            send(store, once(sequence))
        send(store, once(4), acknowledged=2)
        assert send(store, once(2)).reason == Reason.OP_ID_EXPIRED
        assert send(store, once(3)).commit_ts == 3
        assert store.head.commit_ts == 4

    def test_a_sequence_never_seen_but_acknowledged_is_refused(self, store):
        send(store, once(9), acknowledged=8)
        assert send(store, once(5)).reason == Reason.OP_ID_EXPIRED

    def test_acknowledging_does_not_go_back(self, store):
        send(store, once(9), acknowledged=8)
        send(store, once(10), acknowledged=1)
        assert send(store, once(5)).reason == Reason.OP_ID_EXPIRED

    def test_a_leap_costs_no_more_than_there_is(self, store):
        send(store, once(1))
        assert isinstance(send(store, once(2**62), acknowledged=2**62 - 1), Committed)
        assert store.count(Table.RECEIPTS) == 2


class TestAge:
    def test_within_the_window_a_retry_is_answered(self, store):
        first = send(store, once(1))
        age(store, START_US + WINDOW_US)
        assert send(store, once(1), at_us=START_US + WINDOW_US) == first

    def test_past_the_window_a_retry_is_refused(self, store):
        send(store, once(1))
        age(store, START_US + WINDOW_US + 1)
        answer = send(store, once(1), at_us=START_US + WINDOW_US + 1)
        assert answer.reason == Reason.OP_ID_EXPIRED
        assert store.head.commit_ts == 3

    def test_a_client_that_goes_on_keeps_its_session(self, store):
        send(store, once(1))
        send(store, once(2), at_us=START_US + WINDOW_US)
        age(store, START_US + WINDOW_US + 1)
        assert store.rows.get(Table.SESSIONS, client_id(1)) is not None
        assert send(store, once(1)).reason == Reason.OP_ID_EXPIRED
        assert send(store, once(2)).commit_ts == 2
        assert isinstance(send(store, once(3)), Committed)

    def test_a_client_that_rested_too_long_must_start_anew(self, store):
        send(store, once(1))
        age(store, START_US + WINDOW_US + 1)
        assert store.rows.get(Table.SESSIONS, client_id(1)) is None
        assert send(store, once(2)).reason == Reason.OP_ID_EXPIRED
        anew = once(1, client=7)
        assert isinstance(send(store, anew, born_at=store.head.commit_ts), Committed)

    def test_a_client_made_before_the_floor_that_never_wrote_is_refused(self, store):
        send(store, once(1))
        age(store, START_US + WINDOW_US + 1)
        assert send(store, once(1, client=7), born_at=1).reason == Reason.OP_ID_EXPIRED
        assert isinstance(send(store, once(1, client=8), born_at=2), Committed)

    def test_a_conflict_of_a_session_that_is_gone_cannot_commit_later(self, store):
        """The group that held only a conflict ends at the commit_ts its client was born at."""
        send(store, once(1))
        conflicting = once(1, client=2, preconditions=[version_is("k", 2)])
        assert send(store, conflicting, born_at=1).reason == Reason.CONFLICT
        send(store, once(2), at_us=START_US + WINDOW_US + 1)
        age(store, START_US + 3 * WINDOW_US)
        assert store.rows.get(Table.SESSIONS, client_id(2)) is None
        assert send(store, conflicting, born_at=1).reason == Reason.OP_ID_EXPIRED

    def test_a_new_client_is_never_locked_out(self, store):
        send(store, once(1))
        for number in range(2, 40):
            at_us = START_US + number * 2 * WINDOW_US
            conflicting = once(1, client=number, preconditions=[version_is("k", 9)])
            answer = send(store, conflicting, at_us=at_us, born_at=store.head.commit_ts)
            assert answer.reason == Reason.CONFLICT
        assert store.head.commit_ts == 1

    def test_only_some_groups_are_dropped_at_once_and_none_forgotten(self, store):
        for number in range(1, 11):
            send(store, once(1, client=number), born_at=store.head.commit_ts)
        later_us = START_US + WINDOW_US + 1
        send(store, once(1, client=50), at_us=later_us, born_at=store.head.commit_ts)
        assert store.count(Table.RECEIPT_GROUPS) == 11 - limits.RECEIPT_GROUPS_EXPIRED_MAX
        for number in (51, 52, 53):
            send(store, once(1, client=number), at_us=later_us, born_at=store.head.commit_ts)
        assert store.count(Table.RECEIPT_GROUPS) == store.count(Table.RECEIPTS) == 4
        assert store.count(Table.SESSIONS) == 4


class Client:
    """Does what the SDK promises: counts up, acknowledges what it knows, starts anew when told."""

    def __init__(self, number, born_at):
        self.number, self.born_at = number, born_at
        self.sequence = 0
        self.open = {}  # sequence -> transaction, no answer seen yet

    def begin(self, random):
        self.sequence += 1
        asked = [version_is("k", random.randrange(20))] if random.random() < 0.3 else []
        made = once(self.sequence, client=self.number, preconditions=asked)
        self.open[self.sequence] = structs.replace(made, txn_id=f"{self.number}.{self.sequence}")

    def attempt(self, random):
        made = self.open[random.choice(sorted(self.open))]
        return made, self.born_at, min(self.open) - 1


@pytest.mark.parametrize("seed", range(150))
def test_no_op_id_is_decided_twice_whatever_the_network_and_the_clock_do(seed, monkeypatch):
    random = Random(seed)
    monkeypatch.setattr(limits, "RECEIPT_WINDOW_US", 100)
    store, clients, clock_us = MemoryStore(), [], START_US
    on_the_way, told = [], {}
    for number in range(120):
        if random.random() < 0.1 or not clients:
            clients.append(Client(number, store.head.commit_ts))
        client = random.choice(clients[-3:])
        if random.random() < 0.6 or not client.open:
            client.begin(random)
        # Attempts are doubled and kept; old ones may arrive at any later time.
        on_the_way += [client.attempt(random)] * random.choice([1, 1, 2])
        clock_us += random.choice([0, 1, 10, 50, -20, 150])
        arriving = [random.choice(on_the_way) for _ in range(random.randrange(4))]
        encoded = [submission(made, born_at=b, acknowledged=a) for made, b, a in arriving]
        answers = store.apply(group(*encoded, at_us=clock_us))[0]
        for (made, _, _), answer in zip(arriving, answers, strict=True):
            _note(clients, told, made, answer)
    names = [event.txn_id for event in store.view().events()]
    assert len(names) == len(set(names)), "a transaction was applied twice"
    assert sorted(names) == sorted(
        f"{number}.{sequence}"
        for (number, sequence), answer in told.items()
        if isinstance(answer, Committed)
    ), "an answer was false"
    check_chain(store.view())


def _note(clients, told, made, answer):
    number = int.from_bytes(made.client_id, "big")
    op_id = (number, made.sequence)
    (client,) = [client for client in clients if client.number == number]
    if not isinstance(answer, Committed) and answer.reason == Reason.OP_ID_EXPIRED:
        told.setdefault(op_id, "never told")
        return
    if told.get(op_id) == "never told":
        # Refused before, as too old: then it may not be decided now.
        raise AssertionError(f"{op_id} was refused as too old, and then decided")
    assert told.setdefault(op_id, answer) == answer
    client.open.pop(made.sequence, None)
