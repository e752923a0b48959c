"""Op ids: unique, dense, acknowledged only when nobody can ask again."""

from __future__ import annotations

import random
import threading

from hypothesis import given
from hypothesis import strategies as st
from statehouse_sdk.op_ids import CLIENT_ID_BYTES, OpIds


def born(at=5):
    op_ids = OpIds()
    assert op_ids.needs_birth
    assert op_ids.open() is None
    op_ids.begin(at)
    return op_ids


def test_sequences_count_from_one_under_one_client_id():
    op_ids = born()
    ops = [op_ids.open() for _ in range(3)]
    assert [op.sequence for op in ops] == [1, 2, 3]
    assert {op.identity.client_id for op in ops} == {ops[0].identity.client_id}
    assert len(ops[0].identity.client_id) == CLIENT_ID_BYTES
    assert ops[0].identity.born_at == 5


def test_a_second_beginning_changes_nothing():
    op_ids = born(5)
    op_ids.begin(9)
    assert op_ids.open().identity.born_at == 5


@given(st.lists(st.integers(0, 9)))
def test_acknowledged_are_exactly_those_below_the_lowest_open_one(closings):
    op_ids = born()
    ops = [op_ids.open() for _ in range(10)]
    still_open = set(range(1, 11))
    for place in closings:
        op_ids.close(ops[place])
        still_open.discard(ops[place].sequence)
        expected = min(still_open, default=11) - 1
        assert op_ids.acknowledged_through(ops[0]) == expected


def test_a_dropped_op_is_closed_with_the_next_call():
    op_ids = born()
    first, second = op_ids.open(), op_ids.open()
    op_ids.drop(first)
    assert op_ids.acknowledged_through(second) == 1


def test_a_forgotten_identity_is_replaced_once():
    op_ids = born()
    old = op_ids.open()
    op_ids.renew(old.identity)
    assert op_ids.open() is None
    op_ids.begin(7)
    new = op_ids.open()
    assert new.identity.client_id != old.identity.client_id
    op_ids.renew(old.identity)
    assert op_ids.open().identity is new.identity
    op_ids.close(old)
    assert op_ids.acknowledged_through(new) == 0


def test_threads_never_share_a_sequence_nor_acknowledge_an_open_one():
    op_ids = born()
    taken, wrong = [], []

    def work(seed):
        order = random.Random(seed)
        for _ in range(200):
            ops = [op_ids.open() for _ in range(order.randint(1, 4))]
            taken.extend(op.sequence for op in ops)
            lowest = min(op.sequence for op in ops)
            if op_ids.acknowledged_through(ops[0]) >= lowest:
                wrong.append(lowest)
            order.shuffle(ops)
            for op in ops:
                op_ids.close(op)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sorted(taken) == list(range(1, len(taken) + 1))
    assert op_ids.acknowledged_through(op_ids.open()) == len(taken)
