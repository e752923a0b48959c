"""Owns the hashes: of a transaction, of a value, and the chain over all events."""

from __future__ import annotations

from hashlib import sha256

HASH_BYTES = 32
GENESIS = bytes(HASH_BYTES)
"""The hash before the first event."""

_FINGERPRINT_BYTES = 16


def fingerprint(transaction: bytes) -> bytes:
    """16 bytes that tell whether two attempts of one op id ask for the same."""
    return sha256(transaction).digest()[:_FINGERPRINT_BYTES]


def value_digest(value: bytes) -> bytes:
    """What an event says of a value it does not hold."""
    return sha256(value).digest()


def event_hash(previous: bytes, body: bytes) -> bytes:
    """The chain: the hash of an event from the previous event's hash and its own bytes."""
    return sha256(previous + body).digest()
