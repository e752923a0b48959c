import contextlib
import os
import pickle
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statehouse_cluster import wire
from statehouse_cluster.wire import FRAME_BYTES_MAX, FrameReader, WireError, decode, encode, frame

U64 = st.integers(0, 2**64 - 1)


@st.composite
def append_entries(draw):
    terms = sorted(draw(st.lists(U64, max_size=5)))
    previous = draw(st.integers(0, 2**64 - 10)) if terms or draw(st.booleans()) else None
    payloads = [draw(st.binary(max_size=40)) for _ in terms]
    return {
        "type": "append_entries",
        "x_term": draw(U64),
        "term": draw(U64),
        "commit_index": draw(U64),
        "x_round": draw(U64),
        "prevLogIdx": previous,
        "prevLogTerm": None if previous is None else draw(st.integers(0, min([*terms, 2**64 - 1]))),
        "entries": [
            (payload, previous + place, term)
            for place, (payload, term) in enumerate(zip(payloads, terms, strict=True), 1)
        ],
    }


def plain(type_, *numbers, **others):
    fields = {"x_term": U64} | dict.fromkeys(numbers, U64) | others
    return st.fixed_dictionaries({"type": st.just(type_)} | fields)


MESSAGES = st.one_of(
    append_entries(),
    plain("next_node_idx", "next_node_idx", "x_round", reset=st.booleans(), success=st.booleans()),
    plain("request_vote", "term", "last_log_index", "last_log_term", x_transfer=st.booleans()),
    plain("response_vote", "term"),
    plain("x_reject"),
    plain("x_removed"),
    plain("x_prevote", "next", "last_log_index", "last_log_term"),
    plain("x_prevote_ok", "next"),
    plain("x_timeout_now", "term"),
    plain(
        "x_snap_offer",
        "term",
        "snap_index",
        "snap_term",
        "x_round",
        snapshot_id=st.text(max_size=60),
    ),
)

APPEND = {
    "type": "append_entries",
    "x_term": 3,
    "term": 3,
    "commit_index": 7,
    "prevLogIdx": 8,
    "prevLogTerm": 2,
    "entries": [(b"one", 9, 2), (b"", 10, 3)],
    "x_round": 5,
}
VOTE = {
    "type": "request_vote",
    "x_term": 1,
    "term": 1,
    "last_log_index": 0,
    "last_log_term": 0,
    "x_transfer": False,
}


@given(MESSAGES)
def test_a_message_comes_back_as_it_was(message):
    assert decode(encode(message)) == message


@given(MESSAGES, st.data())
def test_a_changed_message_is_refused_or_is_another_message_in_its_one_encoding(message, data):
    payload = bytearray(encode(message))
    place = data.draw(st.integers(0, len(payload) - 1))
    payload[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        other = decode(bytes(payload))
    except WireError:
        return
    assert other != message
    assert encode(other) == payload


@given(MESSAGES, st.data())
def test_a_message_cut_short_or_drawn_out_is_refused_or_in_its_one_encoding(message, data):
    whole = encode(message)
    length = data.draw(st.integers(0, len(whole) - 1))
    for payload in (whole[:length], whole + data.draw(st.binary(min_size=1, max_size=9))):
        try:
            assert encode(decode(payload)) == payload
        except WireError:
            continue
        assert message["type"] == "x_snap_offer", "only a text may end anywhere"


@given(st.binary(max_size=200), st.integers(0, 12))
def test_garbage_is_refused_with_a_wire_error_only(garbage, kind):
    for payload in (garbage, bytes([kind]) + garbage):
        with contextlib.suppress(WireError):
            assert encode(decode(payload)) == payload


def test_every_message_type_has_a_round_trip_here():
    assert set(wire.MESSAGE_TYPES) == {
        *("append_entries", "next_node_idx", "request_vote", "response_vote", "x_reject"),
        *("x_removed", "x_prevote", "x_prevote_ok", "x_timeout_now", "x_snap_offer"),
    }


@pytest.mark.parametrize(
    ("message", "change"),
    [
        (APPEND, {"prevLogTerm": None}),
        (APPEND, {"prevLogIdx": None, "prevLogTerm": None}),
        (APPEND, {"entries": [(b"gap", 10, 3)]}),
        (APPEND, {"entries": [(b"old", 9, 1)]}),
        (APPEND, {"entries": [("text", 9, 3)]}),
        (APPEND, {"entries": None}),
        (APPEND, {"term": -1}),
        (APPEND, {"term": 2**64}),
        (APPEND, {"term": "3"}),
        (APPEND, {"serialized": None}),
        (VOTE, {"x_transfer": 0}),
        (VOTE, {"x_transfer": None}),
        (VOTE, {"x_term": 1.0}),
        (VOTE, {"extra": 1}),
        (VOTE, {"type": "apply_command"}),
        (VOTE, {"type": None}),
        (VOTE, {"type": ["request_vote"]}),
    ],
)
def test_a_message_outside_the_schema_cannot_be_sent(message, change):
    with pytest.raises(WireError):
        encode(message | change)


@pytest.mark.parametrize("missing", [*APPEND])
def test_a_message_that_lacks_a_field_cannot_be_sent(missing):
    with pytest.raises(WireError):
        encode({name: value for name, value in APPEND.items() if name != missing})


def test_a_snapshot_id_that_is_too_long_or_no_text_cannot_be_sent_nor_received():
    offer = {"type": "x_snap_offer", "x_term": 1, "term": 1, "snapshot_id": "", "snap_index": 1}
    offer |= {"snap_term": 1, "x_round": 1}
    for bad in ("x" * 257, "\ud800"):
        with pytest.raises(WireError):
            encode(offer | {"snapshot_id": bad})
    for bad in (b"x" * 257, b"\xff"):
        with pytest.raises(WireError):
            decode(encode(offer) + bad)


def test_a_count_of_entries_that_cannot_be_is_refused_before_any_is_read():
    payload = bytearray(encode(APPEND | {"entries": []}))
    payload[-4:] = b"\xff\xff\xff\xff"
    with pytest.raises(WireError, match="more entries"):
        decode(bytes(payload))


def test_a_pickle_never_runs(monkeypatch):
    def unpickle(*_):
        raise AssertionError("a pickle was read")

    monkeypatch.setattr(pickle, "loads", unpickle)
    with pytest.raises(WireError):
        decode(pickle.dumps(os.getcwd))


@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.integers(1, 80), max_size=40))
def test_frames_come_out_whole_however_the_bytes_are_cut(payloads, sizes):
    stream = b"".join(frame(payload) for payload in payloads)
    reader, received = FrameReader(), []
    for size in sizes:
        received += reader.feed(stream[:size])
        stream = stream[size:]
    received += reader.feed(stream)
    assert received == payloads
    assert reader.buffered_bytes == 0


@given(st.binary(max_size=200))
def test_a_stream_of_garbage_is_refused_with_a_wire_error_only(garbage):
    with contextlib.suppress(WireError):
        FrameReader(1000).feed(garbage)


def test_an_oversized_frame_is_refused_by_its_header_alone():
    reader = FrameReader()
    with pytest.raises(WireError, match="over the limit"):
        reader.feed(struct.pack("!II", FRAME_BYTES_MAX + 1, 0))
    assert reader.buffered_bytes == 8


def test_the_largest_frame_passes_and_one_byte_more_cannot_be_made():
    payload = bytes(FRAME_BYTES_MAX)
    assert FrameReader().feed(frame(payload)) == [payload]
    with pytest.raises(WireError, match="over"):
        frame(payload + b"x")


def test_a_frame_with_one_flipped_bit_is_refused():
    framed = bytearray(frame(b"payload"))
    framed[-1] ^= 1
    with pytest.raises(WireError, match="checksum"):
        FrameReader().feed(bytes(framed))


def test_the_layout_of_a_frame_and_a_message_is_the_written_one():
    payload = encode({"type": "response_vote", "x_term": 1, "term": 2})
    assert payload == b"\x04" + struct.pack("!QQ", 1, 2)
    assert frame(payload) == struct.pack("!II", 17, zlib.crc32(payload)) + payload
