"""Proofs: what the server writes is read exactly, and no change of a record goes unnoticed."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statehouse_sdk import CursorMark, ForkMark, LabelMark, Metadata, Operation, ReplayEvent
from statehouse_sdk.bodies import BodyError, begins, body_of
from statehouse_sdk.models import Proof, datetime_of_us
from statehouse_sdk.proofs import GENESIS, Chain, check_event, check_events

from statehouse.core import codec, digest, marks, model

names = st.text(max_size=40)
numbers = st.integers(0, 2**64 - 1)
operations = st.lists(
    st.builds(
        model.EventOperationRow,
        names,
        names,
        names | st.just("k" * 70_000),
        numbers,
        st.integers(0, 2),
        st.binary(min_size=32, max_size=32),
    ),
    max_size=20,
)
bodies = st.builds(
    model.EventBody,
    numbers,
    st.integers(0, 2**62),
    names,
    st.binary(min_size=16, max_size=16),
    numbers,
    st.builds(
        model.Metadata,
        names,
        names,
        names,
        names,
        st.lists(numbers, max_size=40).map(tuple),
        st.lists(st.tuples(names, names), max_size=4).map(tuple),
    ),
    st.lists(
        st.builds(model.Precondition, names, names, names, st.integers(0, 2), numbers),
        max_size=3,
    ).map(tuple),
    operations.map(tuple),
)


@given(bodies)
def test_the_bytes_of_an_event_are_read_as_the_server_wrote_them(body):
    data = codec.encode_event_body(body)
    read = body_of(data)
    assert (read.commit_ts, read.committed_at_us, read.txn_id) == (
        body.commit_ts,
        body.committed_at_us,
        body.txn_id,
    )
    assert read.metadata[:4] == (
        body.metadata.actor,
        body.metadata.reason,
        body.metadata.run_id,
        body.metadata.tool_call_id,
    )
    assert tuple(read.metadata[4]) == body.metadata.caused_by
    assert [tuple(pair) for pair in read.metadata[5]] == list(body.metadata.extra)
    assert [tuple(operation) for operation in read.operations] == [
        (row.namespace, row.agent_id, row.key, row.version, row.kind, row.digest)
        for row in body.operations
    ]
    assert begins(data, body.commit_ts)
    assert not begins(data, (body.commit_ts + 1) % 2**64)


@given(st.binary(max_size=80))
def test_other_bytes_are_refused_in_words(data):
    for wrong in (data, b"\x01" + data, b"\x01\x98" + data):
        with pytest.raises(BodyError):
            body_of(wrong)


@given(bodies, st.data())
def test_bytes_cut_short_are_refused(body, data):
    whole = codec.encode_event_body(body)
    with pytest.raises(BodyError):
        body_of(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(BodyError):
        body_of(whole + b"\x00")


def test_a_length_that_is_not_there_costs_nothing():
    with pytest.raises(BodyError):
        body_of(b"\x01\xdd\xff\xff\xff\xff")
    with pytest.raises(BodyError):
        body_of(b"\x01\x98\xdb\xff\xff\xff\xff")
    with pytest.raises(BodyError):
        body_of(b"\x01" + b"\x91" * 100_000)


# -- A record of a few events, as the server makes it

WRITTEN = [
    [
        Operation("goal", {"find": "water"}, 1, agent_id="a"),
        Operation("b", b"\x00", 1, agent_id="a"),
    ],
    [Operation("goal", None, 2, deleted=True, agent_id="a")],
    [Operation("", None, 1, agent_id="a", mark=LabelMark("före", 2))],
    [Operation("", None, 1, agent_id="f", mark=ForkMark('pa"rent', 2))],
    [Operation("", None, 1, mark=CursorMark("c", 3, "a", "p/"))],
    [Operation("", None, 2, mark=CursorMark("c", 0, deleted=True))],
    [Operation("", None, 2, agent_id="a", mark=LabelMark("före", 0))],
    [],
]
STORED = {0: (b'{"find":"water"}', b"\x00")}


def recorded(operation, stored):
    """The operation as the server's log has it."""
    mark = operation.mark
    if isinstance(mark, LabelMark):
        mark = marks.Label(mark.name, mark.commit_ts)
    elif isinstance(mark, ForkMark):
        mark = marks.Fork(mark.parent_id, mark.commit_ts)
    elif isinstance(mark, CursorMark):
        mark = marks.Cursor(mark.name, mark.position, mark.agent_id, mark.prefix, mark.deleted)
    if mark is not None:
        told = marks.operation_of("default", operation.agent_id, mark)
    else:
        kind = 0 if operation.deleted else 2 if isinstance(operation.value, bytes) else 1
        told = model.Operation("default", operation.agent_id, operation.key, kind, stored or b"")
    return model.EventOperationRow(
        told.namespace,
        told.agent_id,
        told.key,
        operation.version,
        told.kind,
        digest.value_digest(told.value),
    )


def record():
    """All events with their proofs, in order."""
    events, previous = [], digest.GENESIS
    for number, operations in enumerate(WRITTEN):
        stored = STORED.get(number, (None,) * len(operations))
        metadata = Metadata(
            actor="x", caused_by=tuple(range(1, number)), extra={"b": "1", "a": "2"}
        )
        body = codec.encode_event_body(
            model.EventBody(
                number + 1,
                1_700_000_000_000_000 + number,
                f"txn-{number}",
                b"c" * 16,
                number + 1,
                model.Metadata(
                    actor="x", caused_by=metadata.caused_by, extra=(("a", "2"), ("b", "1"))
                ),
                (),
                tuple(map(recorded, operations, stored)),
            )
        )
        its_hash = digest.event_hash(previous, body)
        events.append(
            ReplayEvent(
                f"txn-{number}",
                number + 1,
                operations,
                agent_id="",
                committed_at=datetime_of_us(1_700_000_000_000_000 + number),
                metadata=metadata,
                hash=its_hash,
                proof=Proof(previous, body, stored),
            )
        )
        previous = its_hash
    return events


def test_a_sound_record_is_found_sound():
    events = record()
    checked = check_events(events, whole=True)
    assert checked.ok, checked
    assert (checked.events, checked.through, checked.chain_hash) == (8, 8, events[-1].hash)


def test_the_events_of_one_agent_need_not_follow_each_other():
    assert check_events(record()[::2]).ok
    assert check_events(record()[::2], whole=True).bad_commit_ts == 3
    assert check_events(record()[2:], whole=True).ok


def first_operation(event, **changes):
    told, *others = event.operations
    return replace(event, operations=[replace(told, **changes), *others])


FORGERIES = {
    "a value": lambda event: replace(
        event, proof=replace(event.proof, stored=(b'{"find":"gold"}', b"\x00"))
    ),
    "a kind": lambda event: first_operation(event, value=b'{"find":"water"}'),
    "a version": lambda event: first_operation(event, version=7),
    "a key": lambda event: first_operation(event, key="other"),
    "an agent": lambda event: first_operation(event, agent_id="b"),
    "a namespace": lambda event: first_operation(event, namespace="elsewhere"),
    "a delete": lambda event: first_operation(event, deleted=True, value=None),
    "a mark": lambda event: first_operation(event, mark=LabelMark("x", 1)),
    "an actor": lambda event: replace(event, metadata=replace(event.metadata, actor="y")),
    "free-form strings": lambda event: replace(event, metadata=replace(event.metadata, extra={})),
    "a cause": lambda event: replace(event, metadata=replace(event.metadata, caused_by=(9,))),
    "a time": lambda event: replace(event, committed_at=datetime_of_us(5)),
    "no time": lambda event: replace(event, committed_at=None),
    "a transaction id": lambda event: replace(event, txn_id="other"),
    "a hash": lambda event: replace(event, hash=bytes(32)),
    "the hash before": lambda event: replace(
        event, proof=replace(event.proof, previous_hash=b"\x01" * 32)
    ),
    "its bytes": lambda event: replace(event, proof=replace(event.proof, body=b"\x01\x98")),
    "no proof": lambda event: replace(event, proof=None),
    "values of others": lambda event: replace(event, proof=replace(event.proof, stored=())),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_forged_event_is_the_first_bad_one(what):
    events = record()
    events[0] = FORGERIES[what](events[0])
    assert check_event(events[0])
    checked = check_events(events)
    assert (checked.ok, checked.bad_commit_ts, checked.events) == (False, 1, 0)


@pytest.mark.parametrize("number", range(2, 7))
def test_a_forged_mark_is_noticed(number):
    events = record()
    changes = {"version": 9} if number == 5 else {}
    mark = events[number].operations[0].mark
    field = "parent_id" if isinstance(mark, ForkMark) else "name"
    forged = replace(mark, **{field: "other"})
    events[number] = first_operation(events[number], mark=forged, **changes)
    assert check_events(events).bad_commit_ts == number + 1


def test_an_event_with_bytes_of_another_is_noticed():
    events = record()
    wrong = replace(events[1], proof=events[2].proof, hash=events[2].hash)
    assert "commit_ts 3" in check_event(wrong)


def test_bytes_that_hash_well_and_say_nothing_are_noticed():
    body = b"\x01\x98"
    event = replace(record()[0], proof=Proof(GENESIS, body), hash=sha256(GENESIS + body).digest())
    assert "malformed" in check_event(event)


def test_events_out_of_order_or_repeated_are_noticed():
    events = record()
    assert check_events([events[1], events[0]]).bad_commit_ts == 1
    assert check_events([events[0], events[0]]).bad_commit_ts == 1


def test_a_record_cut_and_joined_is_noticed():
    events = record()
    assert check_events([events[0], *events[2:]], whole=True).bad_commit_ts == 3
    body = events[1].proof.body
    joined = replace(
        events[1],
        proof=replace(events[1].proof, previous_hash=GENESIS),
        hash=sha256(GENESIS + body).digest(),
    )
    assert check_events([events[0], joined]).bad_commit_ts == 2


class TestTheChain:
    def links(self):
        return [(event.proof.previous_hash, event.proof.body, event.hash) for event in record()]

    def test_it_goes_on_event_by_event(self):
        chain = Chain()
        assert [chain.fault_of(*link) for link in self.links()] == [None] * 8
        assert (chain.commit_ts, chain.chain_hash) == (8, record()[-1].hash)

    def test_it_goes_on_from_any_head(self):
        links = self.links()
        chain = Chain(3, links[2][2])
        assert [chain.fault_of(*link) for link in links[3:]] == [None] * 5

    def test_another_past_is_noticed_at_the_first_event(self):
        chain = Chain(3, b"\x07" * 32)
        assert "follows" in chain.fault_of(*self.links()[3])
        assert chain.commit_ts == 3

    def test_a_left_out_event_is_noticed(self):
        chain = Chain()
        chain.fault_of(*self.links()[0])
        assert chain.fault_of(*self.links()[2])

    def test_a_wrong_hash_is_noticed(self):
        previous, body, _ = self.links()[0]
        assert "not that of its bytes" in Chain().fault_of(previous, body, bytes(32))

    def test_an_event_of_another_number_is_noticed(self):
        _, body, _ = self.links()[1]
        its_hash = sha256(GENESIS + body).digest()
        assert "commit_ts 1" in Chain().fault_of(GENESIS, body, its_hash)
