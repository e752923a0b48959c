"""Owns the channels: one a node, opened when first needed; one attempt of one call goes through it.

It never retries (session.py drives that) and says of every failure what it proves. The one thing it
adds to gRPC: a call that may not be repeated blindly is sent only once the connection stands. So
"no connection" surely means "not sent", and a commit that never left is not reported as unknown.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

import grpc
from statehouse_proto.services import CLUSTER_SERVICE, methods
from statehouse_proto.v2 import cluster_pb2 as cluster

from statehouse_sdk import faults
from statehouse_sdk.errors import StatehouseError
from statehouse_sdk.exchange import KINDS, Closed, Exchange, Lost
from statehouse_sdk.limits import MESSAGE_BYTES_MAX
from statehouse_sdk.stall_watch import StallWatch, Watched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statehouse_proto.services import Method

OPTIONS: Final = (
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", 2 * MESSAGE_BYTES_MAX),
    # Error details travel in headers, and conflicts may name many keys.
    ("grpc.max_metadata_size", 64 * 1024),
    # A dead peer is noticed on an idle stream within about 15 s; calls have deadlines of their own.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    # Reconnecting is quick: endpoints.py already spreads and spaces the attempts.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Retries are ours alone, for only we know what may be repeated.
    ("grpc.enable_retries", 0),
    # Two clients of one process share nothing, and a forked child shares nothing with its parent.
    ("grpc.use_local_subchannel_pool", 1),
    # A node is reached directly, whatever proxy the environment names for the web.
    ("grpc.enable_http_proxy", 0),
)


CONNECT_TIMEOUT_S: Final = 1.5

_STATUS: Final = methods(CLUSTER_SERVICE)["Status"]


class _Link:
    """The channel to one node, and whether its connection is known to stand."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.channel = grpc.insecure_channel(address, options=OPTIONS)
        self.stands = False
        self.exchanges = True
        """False: this node has said that it knows no exchange."""
        self._callables: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._exchange: Exchange | None = None

    def callable_of(self, method: Method) -> Any:
        bound = self._callables.get(method.path)
        if bound is None:
            make = (
                self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
            )
            bound = make(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            self._callables[method.path] = bound
        return bound

    def exchange(self) -> Exchange:
        """The stream that is open; a new one when there is none."""
        with self._lock:
            if self._exchange is None or self._exchange.ended:
                self._exchange = Exchange(self.channel)
            return self._exchange

    def close(self) -> None:
        """Calls under way fail."""
        with self._lock:
            if self._exchange is not None:
                self._exchange.close()
        self.channel.close()

    def connect(self, timeout_s: float, *, anew: bool) -> None:
        """Returns when the connection stands; raises CallFailed when it does not come about.

        `anew`: that it stood a while ago is not enough; the node may have died since.

        The proof is a harmless question. (Watching a channel's connectivity would do too, but gRPC
        polls it from a thread of its own, which fails aloud when the channel is closed meanwhile.)
        """
        if self.stands and not anew:
            return
        try:
            self.callable_of(_STATUS)(cluster.StatusRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            failure = faults.failure_of(error, self.address)
            if failure.broken or failure.fault.stalled:
                raise faults.not_connected(self.address) from None
        self.stands = True


class Transport:
    """All channels of one client in one process; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: dict[str, _Link] = {}
        self._watch = StallWatch()
        self._closed = False

    def call(
        self,
        address: str,
        method: Method,
        request: Any,
        timeout_s: float,
        *,
        sure: bool,
        anew: bool = False,
    ) -> Any:
        """One attempt of a unary call; raises CallFailed. `sure`: connect before it is sent."""
        link = self._link(address)
        deadline_s = time.monotonic() + timeout_s
        try:
            if sure:
                link.connect(timeout_s, anew=anew)
            answer = None
            if link.exchanges and method.name in KINDS:
                answer = self._exchanged(link, KINDS[method.name], request, deadline_s, sure=sure)
            if answer is None:
                remaining_s = max(deadline_s - time.monotonic(), 0.001)
                answer = link.callable_of(method)(request, timeout=remaining_s)
        except grpc.RpcError as error:
            raise self._failure(link, error, sure=sure) from None
        except ValueError as error:
            raise self._closed_while_used(error) from None
        link.stands = True
        return answer

    def stream(
        self,
        address: str,
        method: Method,
        request: Any,
        quiet_s: float | None,
        *,
        sure: bool,
        anew: bool = False,
    ) -> Iterator[Any]:
        """One attempt of a streamed call; broken off when the node is quiet for `quiet_s`."""
        link = self._link(address)
        try:
            if sure:
                link.connect(CONNECT_TIMEOUT_S, anew=anew)
            call = link.callable_of(method)(request)
        except ValueError as error:
            raise self._closed_while_used(error) from None
        watched = self._watch.add(call.cancel, quiet_s)
        try:
            while True:
                try:
                    with watched:
                        message = next(call)
                except StopIteration:
                    return
                except grpc.RpcError as error:
                    raise self._stream_failure(link, watched, error, sure=sure) from None
                link.stands = True
                yield message
        finally:
            self._watch.remove(watched)
            call.cancel()

    def close(self) -> None:
        """Closes every channel; calls under way fail, later ones are refused."""
        with self._lock:
            self._closed = True
            links = list(self._links.values())
            self._links.clear()
        self._watch.close()
        for link in links:
            link.close()

    def _exchanged(
        self, link: _Link, kind: str, request: Any, deadline_s: float, *, sure: bool
    ) -> Any:
        """The answer to a call that travelled with others; None: it has to travel alone."""
        while True:
            try:
                timeout_s = max(deadline_s - time.monotonic(), 0.001)
                reply = link.exchange().ask(kind, request, timeout_s)
                break
            except Closed:
                continue
            except TimeoutError:
                raise faults.stalled(link.address) from None
            except Lost as lost:
                if lost.error is None:
                    raise self._ended(link) from None
                if lost.unknown_method:
                    link.exchanges = False
                    return None
                raise self._failure(link, lost.error, sure=sure) from None
        if reply is None:
            return None
        if reply.HasField("error"):
            raise faults.refusal_of(reply.error, reply.code, link.address)
        return getattr(reply, kind)

    def _ended(self, link: _Link) -> Exception:
        if self._closed:
            return _client_closed()
        link.stands = False
        return faults.ended(link.address)

    def _link(self, address: str) -> _Link:
        with self._lock:
            if self._closed:
                raise _client_closed()
            link = self._links.get(address)
            if link is None:
                link = self._links[address] = _Link(address)
            return link

    def _failure(self, link: _Link, error: grpc.RpcError, *, sure: bool) -> Exception:
        if self._closed:
            return _client_closed()
        failure = faults.failure_of(error, link.address)
        if not failure.broken:
            return failure
        stood, link.stands = link.stands, False
        # Another version may run there when it is back.
        link.exchanges = True
        # A call that was sent on a standing connection is never told as "not sent": in between,
        # another thread may have seen the connection break.
        if not (sure or stood):
            return faults.not_connected(link.address)
        return failure

    def _stream_failure(
        self, link: _Link, watched: Watched, error: grpc.RpcError, *, sure: bool
    ) -> Exception:
        if watched.broken_off and not self._closed:
            return faults.stalled(link.address)
        return self._failure(link, error, sure=sure)

    def _closed_while_used(self, error: ValueError) -> Exception:
        # gRPC refuses calls on a closed channel with a bare ValueError.
        return _client_closed() if self._closed else error


def _client_closed() -> StatehouseError:
    return StatehouseError("this client is closed; make a new Statehouse()")
