"""Owns the stream on which the calls of many threads travel to one node together.

A call goes out with the next message; while one message is on its way, the next collects. So a lone
caller waits for nobody, and many share the price of a message. Threads wake one after another, so
callers who were answered together would ask one by one: a message waits a moment for them. It knows
gRPC's stream, and which reply belongs to whom; what a failure means, and whether to try again, is
not decided here. A fork of the process cancels the stream (forks.py).
"""

from __future__ import annotations

import threading
import time
from itertools import count
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import grpc
from statehouse_proto.v2 import state_pb2 as state

from statehouse_sdk.exchange_calls import (
    FULL_BYTES,
    IDLE_S,
    METHOD,
    Closed,
    Lost,
    TooLargeToShare,
    encode,
)
from statehouse_sdk.forks import gate
from statehouse_sdk.limits import EXCHANGE_CALLS_MAX, MESSAGE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator


HOLD_S: Final = 0.0005
"""How long a message waits for callers who were just answered; most of them ask again."""


class _Caller:
    """One who waits: `wait` is held until there is a reply, or there will be none."""

    __slots__ = ("reply", "wait")

    def __init__(self) -> None:
        self.wait = threading.Lock()
        self.wait.acquire()
        self.reply: state.Reply | None = None


class Exchange:
    """One stream, from the first call to its end; thread-safe."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._ids = count(1)
        self._outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._callers: dict[int, _Caller] = {}
        self._awake = 0
        """Callers who were answered and have not asked again; a guess, for threads share it."""
        self.ended = False
        self._error: grpc.RpcError | None = None
        start = channel.stream_stream(METHOD.path, None, self._receive)
        with gate.passage():
            self._call: Any = start(self._messages())
            gate.opened(self._call)
        threading.Thread(target=self._follow, name="statehouse-exchange", daemon=True).start()

    def ask(self, kind: str, request: Any, timeout_s: float) -> state.Reply:
        """The reply to one call of a kind of KINDS.

        Raises Closed, TooLargeToShare, Lost, or TimeoutError: then the reply, should it come, goes
        to nobody.
        """
        call_id = next(self._ids)
        encoded = encode(call_id, kind, request)
        if len(encoded) > MESSAGE_BYTES_MAX:
            raise TooLargeToShare
        caller = _Caller()
        with self._lock:
            if self.ended:
                raise Closed
            self._callers[call_id] = caller
            self._outgoing.put(encoded)
        try:
            in_time = caller.wait.acquire(timeout=timeout_s)
        finally:
            self._callers.pop(call_id, None)
        if caller.reply is not None:
            return caller.reply
        if in_time:
            raise Lost(self._error)
        raise TimeoutError

    def close(self) -> None:
        """Ends the stream; calls under way are lost."""
        gate.end(self._call.cancel)
        self._end(None)

    # -- On the thread by which gRPC asks for messages

    def _messages(self) -> Iterator[bytes]:
        waiting: bytes | None = None
        while True:
            first = waiting or self._next()
            if first is None:
                return
            parts, size_bytes, waiting = [first], len(first), None
            hold_until_s = time.monotonic() + HOLD_S
            while len(parts) < EXCHANGE_CALLS_MAX:
                try:
                    part = self._another(hold_until_s)
                except Empty:
                    break
                if part is None:
                    return
                size_bytes += len(part)
                if size_bytes > FULL_BYTES:
                    waiting = part
                    break
                parts.append(part)
            yield b"".join(parts)

    def _another(self, hold_until_s: float) -> bytes | None:
        """A call that waits already, or comes before that moment from one who was just answered.

        Raises Empty; then nobody is waited for until others were answered.
        """
        # The caller before this one has asked.
        self._awake = max(0, self._awake - 1)
        if not self._awake:
            return self._outgoing.get_nowait()
        try:
            return self._outgoing.get(timeout=max(0.0, hold_until_s - time.monotonic()))
        except Empty:
            self._awake = 0
            raise

    def _next(self) -> bytes | None:
        """The next call; None when there will be none."""
        while True:
            try:
                return self._outgoing.get(timeout=IDLE_S)
            except Empty:
                with self._lock:
                    if not self._callers and self._outgoing.empty():
                        self.ended = True
                        return None

    # -- On gRPC's threads, and on the one that follows

    def _receive(self, message: bytes) -> bool:
        """Hands out replies as they are parsed: one change of threads less than by iterating."""
        callers = self._callers
        for reply in state.ExchangeResponse.FromString(message).replies:
            caller = callers.pop(reply.id, None)
            if caller is not None:
                caller.reply = reply
                self._awake += 1
                caller.wait.release()
        return True

    def _follow(self) -> None:
        error: grpc.RpcError | None = None
        try:
            for _ in self._call:
                pass
        except grpc.RpcError as ended:
            error = ended
        self._end(error)

    def _end(self, error: grpc.RpcError | None) -> None:
        with self._lock:
            self.ended = True
            self._error = self._error or error
            callers = list(self._callers.values())
            self._callers.clear()
        self._outgoing.put(None)
        for caller in callers:
            caller.wait.release()
