"""One record: what goes in comes out, and the verdict on bytes that are none."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from statehouse_cluster.record import (
    HEADER_BYTES,
    OVERHEAD_BYTES,
    SECTOR_BYTES,
    Fault,
    Record,
    encode_record,
    later_batch,
    read_record,
)

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
PAYLOADS = st.one_of(
    st.binary(max_size=100),
    st.builds(
        lambda start, size, end: start + bytes(size) + end,
        st.binary(max_size=30),
        st.integers(0, 3000),
        st.binary(max_size=30),
    ),
)


def record(payload: bytes, offset: int = 0, *, index: int = 9, batch: int = 9, seed: int = 5):
    return encode_record(payload, index, 3, batch=batch, offset=offset, seed=seed)


@given(PAYLOADS, U64, U64, U64, st.integers(0, 10_000), U32)
def test_a_record_reads_back(payload, index, term, batch, offset, seed):
    data = encode_record(payload, index, term, batch=batch, offset=offset, seed=seed)
    assert len(data) == len(payload) + OVERHEAD_BYTES
    found = read_record(b"before" + data + b"behind", 6, offset=offset - 6, seed=seed)
    assert isinstance(found, Record)
    assert (found.index, found.term, found.batch) == (index, term, batch)
    assert (b"before" + data)[found.payload_start : found.payload_stop] == payload
    assert found.stop == 6 + len(data)


@given(PAYLOADS, st.integers(0, 2000), st.integers(1, 600), U32)
def test_a_record_is_none_at_another_place_or_in_another_segment(payload, offset, distance, seed):
    data = record(payload, offset, seed=seed)
    other = (seed + 1) % 2**32
    assert read_record(data, 0, offset=offset + distance, seed=seed) is Fault.DAMAGED
    assert read_record(data, 0, offset=offset, seed=other) is Fault.DAMAGED


@given(PAYLOADS, st.integers(0, 2000), st.data())
def test_a_flipped_bit_is_damage_and_nothing_milder(payload, offset, data):
    whole = bytearray(record(payload, offset))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    assert read_record(bytes(whole), 0, offset=offset, seed=5) is Fault.DAMAGED


@given(PAYLOADS, st.integers(0, 2000), st.data())
def test_a_record_that_is_cut_runs_past_the_end(payload, offset, data):
    whole = record(payload, offset)
    size_bytes = data.draw(st.integers(0, len(whole) - 1))
    assert read_record(whole[:size_bytes], 0, offset=offset, seed=5) is Fault.PAST_END


@given(PAYLOADS, st.integers(0, 2000), st.data())
@example(bytes(2000), 500, None)
def test_sectors_that_were_not_written_are_told_from_zeros_that_were(payload, offset, data):
    whole = record(payload, offset)
    first, last = offset // SECTOR_BYTES, (offset + len(whole) - 1) // SECTOR_BYTES
    for sector in range(first, last + 1):
        start = max(sector * SECTOR_BYTES - offset, 0)
        stop = min((sector + 1) * SECTOR_BYTES - offset, len(whole))
        torn = whole[:start] + bytes(stop - start) + whole[stop:]
        found = read_record(torn, 0, offset=offset, seed=5)
        if torn == whole:
            assert isinstance(found, Record)
        else:
            assert found is Fault.UNWRITTEN


@given(st.binary(max_size=300), st.integers(0, 200), U32)
def test_any_bytes_get_a_verdict(garbage, start, seed):
    assert isinstance(read_record(garbage, start, offset=0, seed=seed), Fault)
    assert later_batch(garbage, 0, offset=0, seed=seed, index=0) is None


def test_nothing_but_zeros_was_never_written():
    assert read_record(bytes(HEADER_BYTES), 0, offset=0, seed=5) is Fault.UNWRITTEN
    assert read_record(bytes(5000), 100, offset=0, seed=5) is Fault.UNWRITTEN


def test_a_later_batch_is_found_behind_bytes_that_are_no_record():
    garbage = b"\xb5Shj" * 20
    same = record(b"same batch", len(garbage), index=10, batch=9)
    later = record(b"later batch", len(garbage + same), index=11, batch=11)
    data = garbage + same + later
    assert later_batch(garbage + same, 0, offset=0, seed=5, index=9) is None
    found = later_batch(data, 0, offset=0, seed=5, index=9)
    assert found is not None
    assert found.index == 11
    assert later_batch(data, 0, offset=0, seed=6, index=9) is None
    assert later_batch(data[:-1], 0, offset=0, seed=5, index=9) is None
