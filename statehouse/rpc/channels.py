"""Owns the connections of a node to other nodes' native services, and what their failures mean.

A refusal of the other node comes out as the `Failure` it sent. A broken or stalled connection comes
out as OUTCOME_UNKNOWN: the other node may have done what it was asked.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import grpc

from statehouse.core import limits
from statehouse.core.errors import Failure, Reason
from statehouse.rpc import status_codes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator

    from google.protobuf.message import Message
    from statehouse_proto.services import Method

_CHANNELS_MAX = 16

_OPTIONS = (
    ("grpc.max_receive_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
)


class Channels:
    """Channels by address, the least recently used closed first."""

    def __init__(self) -> None:
        self._channels: OrderedDict[str, grpc.aio.Channel] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    async def unary(
        self, address: str, method: Method, request: Message, *, timeout_s: float
    ) -> Any:
        """One call; `timeout_s` bounds it all."""
        call = self._channel(address).unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        with _failures(address):
            return await call(request, timeout=timeout_s)

    async def stream(
        self, address: str, method: Method, request: Message, *, silence_s: float
    ) -> AsyncGenerator[Any, None]:
        """The messages of a streamed answer; `silence_s` bounds the wait for each."""
        start = self._channel(address).unary_stream(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        call = start(request)
        messages = aiter(call)
        try:
            while True:
                with _failures(address):
                    async with asyncio.timeout(silence_s):
                        message = await anext(messages, None)
                if message is None:
                    return
                yield message
        finally:
            call.cancel()

    async def close(self) -> None:
        while self._channels:
            _, channel = self._channels.popitem()
            await channel.close(None)
        if self._closing:
            await asyncio.wait(self._closing)

    def _channel(self, address: str) -> grpc.aio.Channel:
        channel = self._channels.get(address)
        if channel is None:
            channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
            self._channels[address] = channel
            if len(self._channels) > _CHANNELS_MAX:
                _, oldest = self._channels.popitem(last=False)
                self._close_later(oldest)
        self._channels.move_to_end(address)
        return channel

    def _close_later(self, channel: grpc.aio.Channel) -> None:
        task = asyncio.get_running_loop().create_task(channel.close(None))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


@contextmanager
def _failures(address: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise Failure(Reason.OUTCOME_UNKNOWN, f"node at {address} did not answer in time") from None
    except grpc.aio.AioRpcError as error:
        raise _failure(error, address) from None


def _failure(error: grpc.aio.AioRpcError, address: str) -> Failure:
    told = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    details = next((value for name, value in told if name == status_codes.DETAILS_KEY), None)
    text = error.details() or ""
    sent = status_codes.failure_from_wire(
        error.code(), text, details if isinstance(details, bytes) else None
    )
    if sent is not None:
        return sent
    return Failure(
        Reason.OUTCOME_UNKNOWN, f"node at {address} gave no answer: {error.code().name} {text}"
    )
