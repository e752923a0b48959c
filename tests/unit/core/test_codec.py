"""What is encoded comes back; what is malformed is a CodecError and nothing else."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statehouse.core import codec
from statehouse.core.codec import (
    CodecError,
    GroupAge,
    Head,
    Receipts,
    Session,
    State,
)
from statehouse.core.digest import fingerprint
from statehouse.core.model import (
    Committed,
    Conflict,
    EventBody,
    EventOperationRow,
    Metadata,
    Operation,
    Precondition,
    Refused,
    Submission,
    Transaction,
)

texts = st.text(max_size=5)
numbers = st.integers(0, 2**63 - 1)
raws = st.binary(max_size=20)
operations = st.builds(Operation, texts, texts, texts, st.integers(0, 2), raws)
preconditions = st.builds(Precondition, texts, texts, texts, st.integers(0, 2), numbers)
metadata = st.builds(
    Metadata,
    texts,
    texts,
    texts,
    texts,
    st.lists(numbers, max_size=3).map(tuple),
    st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
)
transactions = st.builds(
    Transaction,
    raws,
    numbers,
    texts,
    st.lists(operations, max_size=3).map(tuple),
    st.lists(preconditions, max_size=3).map(tuple),
    metadata,
)
committed = st.builds(Committed, numbers, numbers, st.lists(numbers, max_size=3).map(tuple))
conflicts = st.builds(Conflict, preconditions, numbers, numbers, st.booleans())
refused = st.builds(Refused, numbers, texts, st.lists(conflicts, max_size=2).map(tuple))

DECODERS = [
    codec.decode_transaction,
    codec.decode_submission,
    codec.decode_group,
    codec.decode_event,
    codec.decode_latest,
    codec.decode_record_header,
    codec.decode_receipts,
    codec.decode_group_age,
    codec.decode_group_clients,
    codec.decode_session,
    codec.decode_state,
]


@given(transactions)
def test_a_transaction_comes_back(made):
    assert codec.decode_transaction(codec.encode_transaction(made)) == made


@given(numbers, numbers, raws)
def test_a_submission_comes_back(born_at, acknowledged, raw):
    made = Submission(born_at, acknowledged, raw)
    assert codec.decode_submission(codec.encode_submission(made)) == made


@given(numbers, st.lists(raws))
def test_a_group_comes_back(committed_at_us, submissions):
    group = codec.decode_group(codec.encode_group(committed_at_us, submissions))
    assert group == codec.Group(committed_at_us, tuple(submissions))


@given(
    st.dictionaries(numbers, st.integers(1, 2**63 - 1)),
    st.dictionaries(numbers, st.tuples(raws, refused)),
)
def test_receipts_come_back(committed_under, refused_with):
    made = Receipts(committed_under, refused_with)
    assert codec.decode_receipts(codec.encode_receipts(made)) == made


def test_a_receipt_is_found_among_others():
    no = Refused(1, "no")
    made = Receipts({3: 7}, {5: codec.refused_receipt(b"asked", no)})
    assert made.get(3) == 7
    assert made.get(4) is None
    assert made.get(5) == (fingerprint(b"asked"), no)
    assert made.highest() == 5


@given(numbers, numbers, st.dictionaries(raws, numbers))
def test_a_group_of_receipts_comes_back(committed_at_us, commit_ts, clients):
    row = codec.encode_receipt_group(GroupAge(committed_at_us, commit_ts), clients)
    assert codec.decode_group_age(row) == (committed_at_us, commit_ts)
    assert codec.decode_group_clients(row) == clients


def test_the_other_rows_come_back():
    session = Session(1, 2, 3, 4)
    state = State(7, 2, Head(1, 2, b"h" * 32, 3, 4))
    body = EventBody(
        *(1, 2, "t", b"c", 3, Metadata("me"), (Precondition("n", "a", "k", 1, 0),)),
        (EventOperationRow("n", "a", "k", 1, 2, b"d" * 32),),
    )
    assert codec.decode_session(codec.encode_session(session)) == session
    assert codec.decode_state(codec.encode_state(state)) == state
    row = b"h" * 32 + codec.encode_event_body(body)
    assert codec.decode_event(row) == body
    assert codec.decode_latest(codec.encode_latest(1, 2, 0, 3)) == (1, 2, 0, 3)
    assert codec.decode_record_header(codec.encode_record_header(1, 5) + b"value") == (1, 5)


@pytest.mark.parametrize("decode", DECODERS)
@given(data=st.one_of(st.binary(max_size=60), st.just(b"\x91" * 5000)))
def test_garbage_is_a_codec_error(decode, data):
    with contextlib.suppress(CodecError):
        decode(data)


@given(transactions, st.data())
def test_a_damaged_transaction_is_refused_or_is_another(made, data):
    encoded = bytearray(codec.encode_transaction(made))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        decoded = codec.decode_transaction(bytes(encoded))
    except CodecError:
        return
    assert codec.encode_transaction(decoded) == bytes(encoded)
    assert decoded != made


def test_a_form_that_is_not_canonical_is_refused():
    made = Transaction(b"c" * 16, 1, "t", ())
    encoded = codec.encode_transaction(made)
    longer = encoded.replace(b"\xc4\x10" + b"c" * 16, b"\xc5\x00\x10" + b"c" * 16)
    assert longer != encoded
    with pytest.raises(CodecError, match="canonical"):
        codec.decode_transaction(longer)


def test_an_unknown_format_is_refused_in_words():
    payload = codec.encode_group(1, [])
    with pytest.raises(CodecError, match="unknown format 02"):
        codec.decode_group(b"\x02" + payload[1:])
    with pytest.raises(CodecError, match="unknown format none"):
        codec.decode_group(b"")
    with pytest.raises(CodecError, match="unknown format"):
        codec.decode_event(b"h" * 32 + b"\x09")
