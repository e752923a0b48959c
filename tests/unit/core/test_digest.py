"""The chain covers the order and every byte of every event."""

from hashlib import sha256

from statehouse.core.digest import GENESIS, event_hash, fingerprint, value_digest


def test_an_event_hash_covers_the_event_before_it():
    first = event_hash(GENESIS, b"one")
    assert first == sha256(bytes(32) + b"one").digest()
    assert event_hash(first, b"two") == sha256(first + b"two").digest()
    assert event_hash(first, b"two") != event_hash(GENESIS, b"two")


def test_a_value_is_known_by_its_sha_256():
    assert value_digest(b"v") == sha256(b"v").digest()


def test_a_fingerprint_is_short_and_tells_contents_apart():
    assert len(fingerprint(b"one")) == 16
    assert fingerprint(b"one") != fingerprint(b"two")
