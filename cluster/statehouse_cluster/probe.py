"""Owns blocking connections to a peer: asking who it is, and opening a snapshot's stream.

For threads other than the raft thread. Must not know what is done with the answer or the stream.
"""

from __future__ import annotations

import socket
import time
from typing import Final

import msgspec

from statehouse_cluster.addresses import AddressError, look_up, parse
from statehouse_cluster.connection import set_options
from statehouse_cluster.hello import (
    HELLO_BYTES_MAX,
    Hello,
    HelloReply,
    decode_reply,
    encode_hello,
)
from statehouse_cluster.wire import FrameReader, WireError, frame

_RECEIVE_BYTES_MAX: Final = 64 * 1024


class ProbeFailed(OSError):
    """No reply to a hello: nobody there, too slow, or it speaks something else. The text says."""


def probe(address: str, identity: Hello, timeout_s: float) -> HelloReply:
    """Asks the node at an address who it is; ProbeFailed without an answer in time."""
    hello = msgspec.structs.replace(identity, purpose="probe")
    connection, reply = open_stream(address, hello, timeout_s)
    connection.close()
    return reply


def open_stream(address: str, hello: Hello, timeout_s: float) -> tuple[socket.socket, HelloReply]:
    """A blocking socket without timeout whose hello was answered, with the answer, yes or no.

    ProbeFailed without an answer in time. The looking up of a host name is not bounded by
    `timeout_s` but by the system's resolver.
    """
    try:
        endpoint = look_up(parse(address))[0]
        deadline = time.monotonic() + timeout_s
        connection = socket.socket(endpoint.family, socket.SOCK_STREAM)
    except (AddressError, OSError) as error:
        raise ProbeFailed(f"{address}: {error}") from error
    try:
        set_options(connection)
        connection.settimeout(timeout_s)
        connection.connect(endpoint.sockaddr)
        connection.sendall(frame(encode_hello(hello)))
        reply = _receive_reply(connection, deadline)
        connection.settimeout(None)
    except (OSError, WireError) as error:
        connection.close()
        raise ProbeFailed(f"{address}: {error}") from error
    return connection, reply


def _receive_reply(connection: socket.socket, deadline: float) -> HelloReply:
    reader = FrameReader(HELLO_BYTES_MAX)
    while True:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        connection.settimeout(left_s)
        data = connection.recv(_RECEIVE_BYTES_MAX)
        if not data:
            raise WireError("the connection was closed before a reply to the hello")
        payloads = reader.feed(data)
        if payloads:
            if len(payloads) > 1 or reader.buffered_bytes:
                raise WireError("more than a reply to the hello was sent")
            return decode_reply(payloads[0])
