"""Owns the words of an exchange, the stream on which calls travel together: kinds, bytes, ends.

A call goes out with the next message; while one message is on its way, the next collects.
exchange.py does that for threads, async_exchange.py for tasks.
"""

from __future__ import annotations

from typing import Any, Final

import grpc
from statehouse_proto.services import STATE_SERVICE, methods
from statehouse_proto.varints import varint

METHOD: Final = methods(STATE_SERVICE)["Exchange"]

KINDS: Final = {"Commit": "commit", "Get": "get", "GetMany": "get_many"}
"""The methods whose calls may travel here, and the field of the wire each is put in."""

FULL_BYTES: Final = 512 * 1024
"""Bytes after which a message takes no more calls; a larger call has one of its own."""

IDLE_S: Final = 15.0
"""A stream nobody used for so long is closed."""


class Closed(Exception):
    """The stream is over; the call was not sent. Begin a new one."""


class TooLargeToShare(Exception):
    """The call fills a message by itself, so it must be made by itself; it was not sent."""


class Lost(Exception):
    """The stream ended before the reply; `error` is gRPC's, None when the node just ended it."""

    def __init__(self, error: grpc.RpcError | None) -> None:
        super().__init__(str(error))
        self.error = error
        code = error.code() if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else None
        self.unknown_method = code is grpc.StatusCode.UNIMPLEMENTED
        """The node knows no Exchange, so nothing was done."""


_KIND_TAGS: Final = {"commit": b"\x12", "get": b"\x1a", "get_many": b"\x22"}


def encode(call_id: int, kind: str, request: Any) -> bytes:
    """An ExchangeRequest of one call of a kind of KINDS; `request` may be serialized already.

    Messages of repeated fields may be joined as bytes: the result is the message of all.
    """
    body: bytes = request if isinstance(request, bytes) else request.SerializeToString()
    number, size = varint(call_id), varint(len(body))
    whole = varint(2 + len(number) + len(size) + len(body))
    return b"".join((b"\x0a", whole, b"\x08", number, _KIND_TAGS[kind], size, body))
