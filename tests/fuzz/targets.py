"""What is fuzzed: every function that reads bytes from outside, and the only errors it may raise.

A target takes bytes and returns; anything it raises is a finding. Where there is an encoder, what
was decoded must encode to the same bytes: one meaning, one form.
"""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from google.protobuf.message import DecodeError
from statehouse_cluster import hello, membership, wire
from statehouse_cluster.damage import JournalDamaged
from statehouse_cluster.journal import Journal
from statehouse_cluster.wire import WireError
from statehouse_proto.v1 import statehouse_pb2 as v1
from statehouse_proto.v2 import state_pb2

from statehouse.config import ConfigError, load
from statehouse.core import codec, validation
from statehouse.core.codec import CodecError
from statehouse.core.errors import Failure
from statehouse.rpc import convert, v1_values
from tests.simulation.files import SimulatedFiles

if TYPE_CHECKING:
    from collections.abc import Callable


def peer_frames(data: bytes) -> None:
    """The stream of a peer's connection, in pieces of any size."""
    reader = wire.FrameReader()
    cut = data[0] + 1 if data else 1
    with contextlib.suppress(WireError):
        for start in range(0, len(data), cut):
            for payload in reader.feed(data[start : start + cut]):
                peer_message(payload)
    if reader.buffered_bytes > wire.FRAME_BYTES_MAX + cut + 16:
        raise AssertionError(f"{reader.buffered_bytes} bytes are held for one frame")


def peer_message(data: bytes) -> None:
    """One message of a peer."""
    try:
        message = wire.decode(data)
    except WireError:
        return
    if wire.encode(message) != data:
        raise AssertionError("a message has two encodings")


def peer_hello(data: bytes) -> None:
    """The first frame of a connection, either way."""
    with contextlib.suppress(WireError):
        if hello.encode_hello(hello.decode_hello(data)) != data:
            raise AssertionError("a hello has two encodings")
    with contextlib.suppress(WireError):
        if hello.encode_reply(hello.decode_reply(data)) != data:
            raise AssertionError("a reply has two encodings")


def log_entry(data: bytes) -> None:
    """The payloads of the log: groups and what is in them, membership changes."""
    with contextlib.suppress(CodecError):
        for encoded in codec.decode_group(data).submissions:
            codec.decode_submission(encoded)
    with contextlib.suppress(CodecError):
        # Only the transaction within has a fingerprint, so only that needs to be canonical.
        codec.decode_transaction(codec.decode_submission(data).transaction)
    with contextlib.suppress(CodecError):
        transaction = codec.decode_transaction(data)
        if codec.encode_transaction(transaction) != data:
            raise AssertionError("a transaction has two encodings")
        with contextlib.suppress(Failure):
            validation.check_transaction(transaction)
    with contextlib.suppress(msgspec.DecodeError, ValueError):
        membership.decode_change(data)
    with contextlib.suppress(msgspec.DecodeError, ValueError):
        membership.decode_configuration(data)


def client_commit(data: bytes) -> None:
    """A commit from the wire, as far as the proposal."""
    try:
        request = state_pb2.CommitRequest.FromString(data)
    except DecodeError:
        return
    with contextlib.suppress(Failure):
        validation.check_transaction(*convert.transaction_from_wire(request))


def client_value(data: bytes) -> None:
    """A JSON value as a client sends it, and as a v1 client would read it back."""
    with contextlib.suppress(Failure):
        validation.check_value(1, data)
        with contextlib.suppress(Failure):
            v1_values.struct_of(1, data, "key")


def v1_write(data: bytes) -> None:
    """A v1 value, to stored JSON and back."""
    try:
        request = v1.WriteRequest.FromString(data)
    except DecodeError:
        return
    with contextlib.suppress(Failure):
        stored = v1_values.json_of(request.value)
        validation.check_value(1, stored)
        v1_values.struct_of(1, stored, "key")


def settings_file(data: bytes) -> None:
    """A TOML file of settings."""
    path = Path("/dev/shm/statehouse-fuzz-settings.toml")
    path.write_bytes(data)
    with contextlib.suppress(ConfigError):
        load({}, {}, path)


def journal_file(data: bytes) -> None:
    """A journal with some of its bytes replaced: read, cut at a torn end, or refused by name."""
    disk = SimulatedFiles()
    directory = Path("/disk/journal")
    disk.make_directory(directory.parent)
    journal = Journal.open(directory, disk, report=lambda line: None)
    for index in range(1, 6):
        journal.append(b"\x00payload %d" % index, index, 1)
    journal.flush()
    journal.close()
    draw = random.Random(data)
    name = draw.choice(disk.list_directory(directory))
    handle = disk.open(directory / name)
    size = disk.size(handle)
    disk.write(handle, draw.randrange(size), data[: draw.randrange(1, 64)])
    disk.close(handle)
    with contextlib.suppress(JournalDamaged):
        Journal.open(directory, disk, report=lambda line: None).close()


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        peer_frames,
        peer_message,
        peer_hello,
        log_entry,
        client_commit,
        client_value,
        v1_write,
        settings_file,
        journal_file,
    )
}


def seeds() -> dict[str, list[bytes]]:
    """A few good inputs for each target, to start from."""
    member = hello.Hello("raft", "n2", "uuid", "cluster", "127.0.0.1:1", "127.0.0.1:2")
    append = {
        "type": "append_entries",
        "x_term": 3,
        "term": 3,
        "commit_index": 4,
        "prevLogIdx": 4,
        "prevLogTerm": 2,
        "entries": [(b"\x00payload", 5, 3)],
        "x_round": 9,
    }
    commit = state_pb2.CommitRequest(op_id={"client_id": b"c" * 16, "sequence": 1})
    write = commit.operations.add(namespace="default", agent_id="agent", key="key")
    write.value.json = b'{"nested": [1, 2.5, "text", null, true]}'
    transaction = codec.encode_transaction(convert.transaction_from_wire(commit)[0])
    submission = codec.encode_submission(codec.Submission(0, 0, transaction))
    old = v1.WriteRequest(txn_id="t", namespace="n", agent_id="a", key="k")
    old.value.update({"number": 1, "list": [1, {"deep": None}], "text": "x"})
    message = wire.encode(append)
    return {
        "peer_frames": [wire.frame(message), wire.frame(hello.encode_hello(member))],
        "peer_message": [message],
        "peer_hello": [hello.encode_hello(member)],
        "log_entry": [transaction, submission, codec.encode_group(1, [submission])],
        "client_commit": [commit.SerializeToString(), *_marks()],
        "client_value": [write.value.json, b"[[[[]]]]", b"1e3"],
        "v1_write": [old.SerializeToString()],
        "settings_file": [b'name = "n1"\nlisten = "127.0.0.1:1"\n'],
        "journal_file": [b"\x00" * 40, b"\xff" * 8],
    }


def _marks() -> list[bytes]:
    """Commits of one mark each."""
    op_id = {"client_id": b"c" * 16, "sequence": 1}
    marks = (
        {"label": {"name": "x", "commit_ts": 1}, "if_version": 1, "if_version_given": True},
        {"fork": {"parent_id": "a", "commit_ts": 1}},
        {"cursor": {"name": "x", "through": 1, "agent_id": "a", "prefix": "k"}},
    )
    operations = [
        {"namespace": "n", "agent_id": "" if "cursor" in mark else "b", "mark": mark}
        for mark in marks
    ]
    return [
        state_pb2.CommitRequest(op_id=op_id, operations=[told]).SerializeToString()
        for told in operations
    ]
