"""Owns the file that remembers this node's term and the vote it gave in it.

A node that forgot its vote could vote twice in one term, and two leaders would follow. So the file
is replaced whole, is on the disk before `store_vote` returns, and one that cannot be read is
damage, never "no vote". It must not know the log.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from statehouse_cluster.damage import JournalDamaged
from statehouse_cluster.files import read_whole, write_durably

if TYPE_CHECKING:
    from pathlib import Path

    from statehouse_cluster.files import Files

VOTE_NAME = "vote"
TERM_MAX = 2**64 - 1

_MAGIC = b"SHvote\r\n"
_FORMAT_VERSION = 1
_FIELDS = struct.Struct("<8sIQB")
"""Magic, format version, term, whether there is a vote; its name and a checksum follow."""
_CHECKSUM_BYTES = 4


class Vote(NamedTuple):
    """The current term, and whom this node voted for in it: a member's name, or None."""

    term: int
    name: str | None


def store_vote(files: Files, directory: Path, vote: Vote) -> None:
    """Durable when it returns."""
    name = b"" if vote.name is None else vote.name.encode()
    body = _FIELDS.pack(_MAGIC, _FORMAT_VERSION, vote.term, vote.name is not None) + name
    write_durably(files, directory / VOTE_NAME, body + crc32(body).to_bytes(4, "little"))


def load_vote(files: Files, directory: Path) -> Vote:
    """Raises JournalDamaged for anything but what `store_vote` wrote."""
    path = directory / VOTE_NAME
    data = read_whole(files, path)
    if len(data) < _FIELDS.size + _CHECKSUM_BYTES:
        raise JournalDamaged(path, 0, f"the file is too short, {len(data)} bytes")
    magic, version, term, voted = _FIELDS.unpack_from(data)
    if magic != _MAGIC:
        raise JournalDamaged(path, 0, "the file does not begin as a vote does")
    if version != _FORMAT_VERSION:
        raise JournalDamaged(
            path,
            len(_MAGIC),
            f"format version {version} is not known, only {_FORMAT_VERSION} is; the release that "
            "wrote it can read it",
        )
    body, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if crc32(body).to_bytes(4, "little") != checksum:
        raise JournalDamaged(path, 0, "the term and vote do not match their checksum")
    return Vote(term, body[_FIELDS.size :].decode() if voted else None)
