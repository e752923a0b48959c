"""Short words for making what a store applies."""

from __future__ import annotations

from statehouse.core import codec, marks
from statehouse.core.codec import Group
from statehouse.core.model import (
    Expectation,
    Kind,
    Metadata,
    Operation,
    Precondition,
    Submission,
    Transaction,
)

START_US = 1_700_000_000_000_000


def client_id(number):
    return number.to_bytes(16, "big")


def write(key, value=b"1", *, namespace="default", agent="a", kind=Kind.JSON):
    return Operation(namespace, agent, key, kind.value, value)


def delete(key, *, namespace="default", agent="a"):
    return Operation(namespace, agent, key, Kind.TOMBSTONE.value, b"")


def expect(key, expectation, number=0, *, namespace="default", agent="a"):
    return Precondition(namespace, agent, key, expectation.value, number)


def version_is(key, number, **names):
    return expect(key, Expectation.VERSION, number, **names)


def mark(one, *, namespace="default", agent="a"):
    return marks.operation_of(namespace, agent, one)


def transaction(*operations, client=1, sequence, preconditions=(), metadata=None, txn_id="t"):
    return Transaction(
        client_id(client),
        sequence,
        txn_id,
        tuple(operations),
        tuple(preconditions),
        metadata or Metadata(),
    )


def submission(made, *, born_at=0, acknowledged=0):
    return codec.encode_submission(
        Submission(born_at, acknowledged, codec.encode_transaction(made))
    )


def group(*submissions, at_us=START_US):
    return Group(at_us, tuple(submissions))


class Writer:
    """Counts the sequences of one client."""

    def __init__(self, client=1):
        self.client = client
        self.sequence = 0

    def submit(self, *operations, preconditions=(), acknowledged=0, born_at=0, **more):
        self.sequence += 1
        made = transaction(
            *operations,
            client=self.client,
            sequence=self.sequence,
            preconditions=preconditions,
            **more,
        )
        return submission(made, born_at=born_at, acknowledged=acknowledged)
