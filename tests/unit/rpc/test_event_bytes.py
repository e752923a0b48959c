"""Events written by hand say what the message objects would have said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from statehouse_proto.v2 import state_pb2

from statehouse.core import marks
from statehouse.core.model import Event, EventBody, EventOperationRow, Kind, Metadata
from statehouse.rpc import convert
from statehouse.rpc.event_bytes import event_field, replay_response

names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=300)
texts = st.text(max_size=20)
numbers = st.integers(0, 2**63 - 1)


def operations(kinds, values):
    row = st.builds(
        EventOperationRow,
        namespace=names,
        agent_id=names,
        key=names,
        version=st.integers(1, 2**40),
        kind=kinds,
        digest=st.just(b""),
    )
    return st.tuples(row, values)


writes = operations(st.sampled_from([Kind.JSON.value, Kind.BYTES.value]), st.binary(max_size=5000))
deletes = operations(st.just(Kind.TOMBSTONE.value), st.just(b""))
marked = st.sampled_from(
    [
        (EventOperationRow("ns", "a", marks.LABEL + "here", 1, Kind.JSON.value, b""), b"7"),
        (EventOperationRow("ns", "a", marks.LABEL + "here", 2, Kind.TOMBSTONE.value, b""), b""),
        (EventOperationRow("ns", "b", marks.FORK, 1, Kind.JSON.value, b""), b'["a",7]'),
        (EventOperationRow("ns", marks.CURSORS, "c", 1, Kind.JSON.value, b""), b'[7,"a",""]'),
    ]
)
bodies = st.builds(
    EventBody,
    commit_ts=st.integers(1, 2**63 - 1),
    committed_at_us=numbers,
    txn_id=texts,
    client_id=st.just(b""),
    sequence=st.just(1),
    metadata=st.builds(
        Metadata,
        actor=texts,
        reason=texts,
        run_id=texts,
        tool_call_id=texts,
        caused_by=st.lists(numbers, max_size=3).map(tuple),
        extra=st.dictionaries(texts, texts, max_size=1).map(lambda extra: tuple(extra.items())),
    ),
    preconditions=st.just(()),
    operations=st.just(()),
)
hashes = st.binary(min_size=32, max_size=32)
events = st.builds(
    lambda body, told, *hashed: Event(
        body, tuple(row for row, _ in told), tuple(value for _, value in told), *hashed
    ),
    bodies,
    st.lists(writes | deletes | marked, max_size=4),
    hashes,
)
proven = st.builds(
    lambda event, previous, canonical: structs.replace(
        event, previous_hash=previous, canonical=canonical
    ),
    events,
    hashes,
    st.binary(min_size=1, max_size=500),
)


@given(st.lists(events | proven, max_size=3), numbers)
def test_they_say_what_the_messages_say(told, served_at):
    by_objects = state_pb2.ReplayResponse(served_at=served_at)
    for event in told:
        convert.fill_event(by_objects.events.add(), event)
    by_hand = replay_response([event_field(event) for event in told], served_at)
    assert state_pb2.ReplayResponse.FromString(by_hand) == by_objects
