"""Owns the keys of stored rows: injective, ordered as their parts are, and their inverses.

A name becomes its UTF-8 bytes with each 0x00 written as 0x00 0xFF, ended by 0x00 0x01. So no name's
bytes begin another's, whatever they hold, and bytewise order of keys is bytewise order of names.
Numbers are 8 bytes, big endian; where the newest comes first they are subtracted from 2**64-1. It
must not know what the rows hold (codec.py).
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from struct import Struct

from statehouse.core.invariants import InvariantViolation

_TERMINATOR = b"\x00\x01"
_U64_MAX = 2**64 - 1
_PLACE = Struct(">QQ")
PLACE_BYTES = _PLACE.size
"""What follows the names in the key of a record."""


class Table(IntEnum):
    """The tables of one store. The names are stored; never change one."""

    META = 0
    """name -> what codec.py says."""
    EVENTS = 1
    """commit_ts -> event row."""
    RECORDS = 2
    """namespace, agent, key, inverted commit_ts, inverted version -> record row."""
    LATEST = 3
    """namespace, agent, key -> the last version of the key."""
    AGENT_EVENTS = 4
    """namespace, agent, commit_ts -> nothing."""
    TIMES = 5
    """committed_at_us -> the last commit_ts of that moment."""
    RECEIPTS = 6
    """client id, highest sequence -> the receipts that one log entry made for the client."""
    RECEIPT_GROUPS = 7
    """log index -> which rows of receipts were made there, and when."""
    SESSIONS = 8
    """client id -> session."""
    AGENTS = 9
    """namespace, agent -> the commit_ts that first wrote to it, and of a fork where from."""
    NAMESPACES = 10
    """namespace -> the commit_ts that first wrote to it."""
    FORKS = 11
    """namespace, agent, commit_ts -> the agent that this commit forked from it."""
    RUNS = 12
    """namespace, run id, commit_ts -> nothing."""
    CAUSES = 13
    """commit_ts of the cause, commit_ts of what it led to -> nothing."""


META_FORMAT = b"format"
META_CONFIGURATION = b"configuration"
META_STATE = b"state"


def u64(number: int) -> bytes:
    """A number as an ascending key."""
    return number.to_bytes(8, "big")


def number_of(row_key: bytes) -> int:
    """The number an ascending key is, or ends with."""
    return int.from_bytes(row_key[-8:], "big")


def escaped(name: str) -> bytes:
    """A name, or the beginning of one, as every key of a name that begins so begins."""
    return name.encode().replace(b"\x00", b"\x00\xff")


def terminated(name: str) -> bytes:
    """A whole name as it stands in a key."""
    return name.encode().replace(b"\x00", b"\x00\xff") + b"\x00\x01"


def namespace_key(namespace: str) -> bytes:
    """The key of a namespace, and what the keys of its agents begin with."""
    return terminated(namespace)


@lru_cache(maxsize=4096)
def agent_key(namespace: str, agent_id: str) -> bytes:
    """The key of an agent, and what all keys of its rows begin with."""
    return terminated(namespace) + terminated(agent_id)


def namespace_of(agent: bytes) -> bytes:
    """The key of the namespace of an agent's key."""
    return agent[: agent.index(_TERMINATOR) + len(_TERMINATOR)]


def run_key(namespace: str, run_id: str) -> bytes:
    """What the keys of a run's commits begin with."""
    return terminated(namespace) + terminated(run_id)


def latest_key(namespace: str, agent_id: str, key: str) -> bytes:
    """The key of a key's latest version, and what the keys of its records begin with."""
    return agent_key(namespace, agent_id) + terminated(key)


def record_key(latest: bytes, commit_ts: int, version: int = _U64_MAX) -> bytes:
    """The key of one record; without `version`, where the newest of that commit would begin."""
    return latest + _PLACE.pack(_U64_MAX - commit_ts, _U64_MAX - version)


def place_in_records(commit_ts: int, version: int) -> bytes:
    """What the key of a record has after its names; as in record_key, without a call between."""
    return _PLACE.pack(_U64_MAX - commit_ts, _U64_MAX - version)


def record_place(row_key: bytes) -> tuple[int, int]:
    """commit_ts and version of a record's key."""
    commit_ts, version = _PLACE.unpack(row_key[-PLACE_BYTES:])
    return _U64_MAX - commit_ts, _U64_MAX - version


def receipts_key(client_id: bytes, highest: int) -> bytes:
    """The key of a row of receipts, by the highest sequence in it; client ids have one length."""
    return client_id + highest.to_bytes(8, "big")


def last_name(row_key: bytes, prefix_bytes: int) -> str:
    """The one name left in a key of names after `prefix_bytes` bytes of others."""
    name = row_key[prefix_bytes:-2]
    if b"\x00" in name:
        name = name.replace(b"\x00\xff", b"\x00")
    return name.decode()


def names(row_key: bytes) -> tuple[str, ...]:
    """All names of a key that holds nothing else."""
    found = []
    start = 0
    while start < len(row_key):
        end = row_key.find(_TERMINATOR, start)
        # An escaped 0x00 is followed by 0xFF, so the first 0x00 0x01 ends the name.
        if end < 0:
            raise InvariantViolation(f"the stored key {row_key.hex()} ends inside a name")
        found.append(row_key[start:end].replace(b"\x00\xff", b"\x00").decode())
        start = end + 2
    return tuple(found)
