"""Commits written by hand are what the message objects would have written."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statehouse_proto.v2 import state_pb2 as state
from statehouse_proto.varints import varint
from statehouse_sdk import commit_bytes, convert, values
from statehouse_sdk.exchange_calls import encode

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)
numbers = st.integers(0, 2**64 - 1)
stored = st.none() | st.text(max_size=300) | st.binary(max_size=30_000) | st.integers()
operations = st.tuples(names, names, names, st.just(None) | stored.map(values.encode))
preconditions = st.tuples(
    names, names, names, st.sampled_from(["version", "absent", "unchanged_since"]), numbers
)
op_ids = st.tuples(st.binary(min_size=16, max_size=16), numbers, numbers, numbers)


def op_of(client_id, born_at, sequence):
    return SimpleNamespace(
        identity=SimpleNamespace(client_id=client_id, born_at=born_at), sequence=sequence
    )


def precondition_bytes(namespace, agent_id, key, kind, number):
    place = commit_bytes.place(namespace, agent_id, key)
    if kind == "absent":
        return commit_bytes.expects_absent(place)
    return getattr(commit_bytes, f"expects_{kind}")(place, number)


@given(
    st.lists(operations, max_size=4),
    st.lists(preconditions, max_size=4),
    op_ids,
    st.dictionaries(st.sampled_from(["actor", "reason", "run_id"]), names),
    names,
)
def test_a_commit_is_the_message_of_its_parts(writes, demands, op_id, facts, txn_id):
    client_id, born_at, sequence, acknowledged = op_id
    fields = [
        commit_bytes.operation(commit_bytes.place(namespace, agent_id, key), value)
        for namespace, agent_id, key, value in writes
    ]
    fields += [precondition_bytes(*demand) for demand in demands]
    fields.append(commit_bytes.metadata(state.Metadata(**facts).SerializeToString()))
    fields.append(commit_bytes.txn_id(txn_id))
    told = commit_bytes.request(op_of(client_id, born_at, sequence), acknowledged, fields)

    expected = state.CommitRequest(txn_id=txn_id, metadata=facts)
    expected.op_id.client_id = client_id
    expected.op_id.born_at = born_at
    expected.op_id.sequence = sequence
    expected.op_id.acknowledged_through = acknowledged
    for namespace, agent_id, key, value in writes:
        added = expected.operations.add(namespace=namespace, agent_id=agent_id, key=key)
        if value is not None:
            setattr(added.value, "json" if value.is_json else "raw", value.data)
    for namespace, agent_id, key, kind, number in demands:
        what = {kind: True if kind == "absent" else number}
        expected.preconditions.add(namespace=namespace, agent_id=agent_id, key=key, **what)
    assert state.CommitRequest.FromString(told) == expected


@given(st.integers(1, 2**64 - 1), st.binary(max_size=3000))
def test_a_call_is_the_message_of_it(call_id, value):
    request = state.GetRequest(namespace="n", agent_id="a", key=value.hex())
    for kind, call in (("get", request), ("commit", state.CommitRequest(txn_id=value.hex()))):
        expected = state.ExchangeRequest(calls=[state.Call(id=call_id, **{kind: call})])
        assert encode(call_id, kind, call) == expected.SerializeToString()
        assert encode(call_id, kind, call.SerializeToString()) == expected.SerializeToString()
    many = state.GetManyRequest(keys=["x"])
    expected = state.ExchangeRequest(calls=[state.Call(id=call_id, get_many=many)])
    assert encode(call_id, "get_many", many) == expected.SerializeToString()


@pytest.mark.parametrize("power", range(64))
def test_numbers_of_every_length(power):
    for number in (2**power - 1, 2**power, 2**power + 1):
        message = state.ReplayResponse(served_at=number)
        assert message.SerializeToString() == (b"\x10" + varint(number) if number else b"")


@pytest.mark.parametrize("wrong", ["", 7, None, b"x", [], {}, "\ud800", "x" * 1025])
def test_names_are_checked_however_they_are_remembered(client, wrong):
    tx = client.begin_transaction()
    for agent_id, key in ((wrong, "k"), ("a", wrong)):
        with pytest.raises(convert.InvalidRequestError):
            tx.write(agent_id, key, 1)
        with pytest.raises(convert.InvalidRequestError):
            tx.delete(agent_id, key)
        with pytest.raises(convert.InvalidRequestError):
            tx.require(agent_id, key, absent=True)
        with pytest.raises(convert.InvalidRequestError):
            tx.get(agent_id, key)
    tx.write("a", "k", 1)
    assert tx.commit() == 1
