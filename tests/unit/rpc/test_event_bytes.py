"""Events written by hand say what the message objects would have said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from statehouse_proto.v2 import state_pb2

from statehouse.core import marks
from statehouse.core.model import Event, EventOperation, Kind, Metadata
from statehouse.rpc import convert
from statehouse.rpc.event_bytes import event_field, replay_response

names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=300)
texts = st.text(max_size=20)
numbers = st.integers(0, 2**63 - 1)
operations = st.builds(
    EventOperation,
    namespace=names,
    agent_id=names,
    key=names,
    version=st.integers(1, 2**40),
    kind=st.sampled_from([Kind.JSON.value, Kind.BYTES.value]),
    value=st.binary(max_size=5000),
)
deletes = st.builds(
    EventOperation,
    namespace=names,
    agent_id=names,
    key=names,
    version=st.integers(1, 2**40),
    kind=st.just(Kind.TOMBSTONE.value),
    value=st.just(b""),
)
events = st.builds(
    Event,
    commit_ts=st.integers(1, 2**63 - 1),
    committed_at_us=numbers,
    txn_id=texts,
    metadata=st.builds(
        Metadata,
        actor=texts,
        reason=texts,
        run_id=texts,
        tool_call_id=texts,
        caused_by=st.lists(numbers, max_size=3).map(tuple),
        extra=st.dictionaries(texts, texts, max_size=1).map(lambda extra: tuple(extra.items())),
    ),
    operations=st.lists(operations | deletes, max_size=4).map(tuple),
    hash=st.binary(min_size=32, max_size=32),
)
marked = st.sampled_from(
    [
        EventOperation("ns", "a", marks.LABEL + "here", 1, Kind.JSON.value, b"7"),
        EventOperation("ns", "a", marks.LABEL + "here", 2, Kind.TOMBSTONE.value, b""),
        EventOperation("ns", "b", marks.FORK, 1, Kind.JSON.value, b'["a",7]'),
        EventOperation("ns", marks.CURSORS, "c", 1, Kind.JSON.value, b'[7,"a",""]'),
    ]
)
proven = st.builds(
    lambda event, operation, previous, body: structs.replace(
        event, operations=(*event.operations, operation), previous_hash=previous, body=body
    ),
    events,
    operations | marked,
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=1, max_size=500),
)


@given(st.lists(events | proven, max_size=3), numbers)
def test_they_say_what_the_messages_say(told, served_at):
    by_objects = state_pb2.ReplayResponse(served_at=served_at)
    for event in told:
        convert.fill_event(by_objects.events.add(), event)
    by_hand = replay_response([event_field(event) for event in told], served_at)
    assert state_pb2.ReplayResponse.FromString(by_hand) == by_objects
