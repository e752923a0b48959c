"""Owns the edge of every call: bytes to request, deadline, refusal to status, response to bytes.

A service method behind it is a plain function of the request that raises `Failure` to refuse. No
exception passes here without becoming a code of ours: garbage is INVALID_ARGUMENT, a fault of ours
is INTERNAL with an id that the log explains. No interceptors: the path of a commit stays short.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from statehouse.core import limits
from statehouse.core.errors import Failure, LimitExceeded, Reason
from statehouse.logs import Log
from statehouse.rpc import status_codes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from google.protobuf.message import Message
    from statehouse_proto.services import Method

_log = Log("rpc")

Context = grpc.aio.ServicerContext[Any, Any]
Unary = Callable[[Any], Awaitable["Message"]]
Streaming = Callable[[Any], "AsyncGenerator[Message | bytes, None]"]
"""What it gives as bytes is a message already."""

_CALL_TIME_S_MAX = limits.CALL_TIME_MS_MAX / 1000


def unary(
    method: Method,
    answer: Unary,
    *,
    late: Reason = Reason.DEADLINE_EXCEEDED,
    prefix: str = "",
) -> grpc.RpcMethodHandler[Any, Any]:
    """Handles one request with one response.

    `late` is what running out of time means; `prefix` begins the text of every refusal.
    """
    parse = method.request.FromString

    async def handle(payload: bytes, context: Context) -> bytes:
        try:
            try:
                request = parse(payload)
            except Exception:  # protobuf raises several kinds for bytes that are no such message
                raise garbage(method) from None
            async with asyncio.timeout(_time_left_s(context)):
                response = await answer(request)
            return _encoded(method, response)
        except Exception as error:
            failure = failure_of(method, error, late)
        return await refuse(context, failure, prefix)

    return grpc.unary_unary_rpc_method_handler(handle)


def streaming(
    method: Method,
    answer: Streaming,
    *,
    late: Reason = Reason.DEADLINE_EXCEEDED,
    prefix: str = "",
) -> grpc.RpcMethodHandler[Any, Any]:
    """Handles one request with a stream, within the caller's deadline; `late` as above."""
    parse = method.request.FromString

    async def handle(payload: bytes, context: Context) -> None:
        try:
            try:
                request = parse(payload)
            except Exception:
                raise garbage(method) from None
            async with asyncio.timeout(context.time_remaining()), aclosing(answer(request)) as told:
                await _send_all(method, context, told)
            return
        except Exception as error:
            failure = failure_of(method, error, late)
        await refuse(context, failure, prefix)

    return grpc.unary_stream_rpc_method_handler(handle)


def named(name: str, method: Method, answer: Unary) -> grpc.RpcMethodHandler[Any, Any]:
    """A v1 call: clients of that protocol look for words in "<Method> failed: <cause>"."""
    late = Reason.OUTCOME_UNKNOWN if name == "Commit" else Reason.DEADLINE_EXCEEDED
    return unary(method, answer, late=late, prefix=f"{name} failed: ")


def failure_of(
    method: Method, error: Exception, late: Reason = Reason.DEADLINE_EXCEEDED
) -> Failure:
    """What the caller is told for an exception; a fault of ours is told to the log."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, TimeoutError):
        return _too_late(method, late)
    return _fault(method, error)


async def _send_all(
    method: Method, context: Context, messages: AsyncIterator[Message | bytes]
) -> None:
    async for message in messages:
        encoded = _encoded(method, message)
        # A reader that takes nothing would pin its view, and the files under it, for ever.
        async with asyncio.timeout(_CALL_TIME_S_MAX):
            await context.write(encoded)


def _encoded(method: Method, message: Message | bytes) -> bytes:
    """Refuses what gRPC would not send: one row alone may exceed a message."""
    encoded = message if isinstance(message, bytes) else message.SerializeToString()
    if len(encoded) > limits.MESSAGE_BYTES_MAX:
        raise Failure(
            Reason.TOO_LARGE,
            f"{method.name}: the answer has a part of {len(encoded)} bytes, above "
            f"message_bytes_max = {limits.MESSAGE_BYTES_MAX}; ask for less detail",
            limit=LimitExceeded("message_bytes_max", limits.MESSAGE_BYTES_MAX, len(encoded)),
        )
    return encoded


def _time_left_s(context: Context) -> float:
    left = context.time_remaining()
    return _CALL_TIME_S_MAX if left is None else min(left, _CALL_TIME_S_MAX)


async def refuse(context: Context, failure: Failure, prefix: str = "") -> NoReturn:
    """Ends the call with the failure's code and details."""
    await context.abort(
        status_codes.CODES[failure.reason],
        prefix + status_codes.text_of(failure),
        ((status_codes.DETAILS_KEY, status_codes.details_of(failure)),),
    )
    raise RuntimeError("grpc's abort returned")


def garbage(method: Method) -> Failure:
    """Bytes that are no request of the method."""
    return Failure(
        Reason.INVALID_ARGUMENT,
        f"{method.name}: the request is no valid {method.request.DESCRIPTOR.full_name}",
    )


def _too_late(method: Method, reason: Reason) -> Failure:
    if reason is Reason.OUTCOME_UNKNOWN:
        text = "no answer in time; it may or may not be committed: repeat it with the same op id"
    else:
        text = "not answered in time; nothing was changed: try again"
    return Failure(reason, f"{method.name}: {text}")


def _fault(method: Method, fault: Exception) -> Failure:
    fault_id = secrets.token_hex(8)
    _log.error("Call failed by a fault", cause=fault, method=method.path, fault_id=fault_id)
    return Failure(
        Reason.INTERNAL,
        f"{method.name}: a fault of this node; its log has the cause under fault_id={fault_id}",
    )
