"""Owns what is known of the connection to each node, and how one attempt of a call goes through it.

It sends nothing itself: an attempt is a plan of two steps, `Invoke` and `Ask`, which a transport
takes. Nothing is retried here; of every failure it is said what it proves. The one thing added to
gRPC: a call that may not be repeated blindly is sent only once the connection stands. So "no
connection" surely means "not sent", and a commit that never left is not reported as unknown.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

import grpc
from statehouse_proto.services import CLUSTER_SERVICE, methods
from statehouse_proto.v2 import cluster_pb2 as cluster

from statehouse_sdk import faults
from statehouse_sdk.errors import StatehouseError
from statehouse_sdk.exchange_calls import KINDS, Closed, Lost, TooLargeToShare
from statehouse_sdk.limits import MESSAGE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from statehouse_proto.services import Method

    from statehouse_sdk.plans import Plan

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


@dataclass(slots=True)
class Invoke:
    """A unary call by itself: its answer, or a grpc.RpcError."""

    link: Any
    method: Method
    request: Any
    timeout_s: float


@dataclass(slots=True)
class Ask:
    """A call on the exchange: its Reply; or Closed, Lost, TooLargeToShare or TimeoutError."""

    link: Any
    kind: str
    request: Any
    timeout_s: float


class Link:
    """The channel to one node, and whether its connection is known to stand."""

    def __init__(self, address: str, channel: Any) -> None:
        self.address = address
        self.channel = channel
        self.stands = False
        self.exchanges = True
        """False: this node has said that it knows no exchange."""
        self._callables: dict[str, Any] = {}

    def callable_of(self, method: Method) -> Any:
        """What gRPC calls the method with."""
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


L = TypeVar("L", bound=Link)


class Links(Generic[L]):
    """The links of one client in one process; thread-safe."""

    client: ClassVar[str]
    """What users call the client."""

    def __init__(self, make: Callable[[str], L]) -> None:
        self._lock = threading.Lock()
        self._make = make
        self._links: dict[str, L] = {}
        self._closed = False

    def attempt(
        self, link: L, method: Method, request: Any, timeout_s: float, *, sure: bool, anew: bool
    ) -> Plan[Any]:
        """One attempt of a unary call; raises CallFailed.

        sure: it is sent only once the connection stands. anew: and that it stood a while ago is not
        enough, for the node may have died since.
        """
        deadline_s = time.monotonic() + timeout_s
        kind = KINDS.get(method.name)
        try:
            if sure and (anew or not link.stands):
                yield from self.connect(link, timeout_s)
                timeout_s = _remaining_s(deadline_s)
            # Not a plan of its own: what nearly every call goes through stays one level deep.
            while kind is not None and link.exchanges:
                try:
                    reply = yield Ask(link, kind, request, timeout_s)
                except Closed:
                    timeout_s = _remaining_s(deadline_s)
                    continue
                except (TooLargeToShare, TimeoutError, Lost) as failed:
                    self._unanswered(link, failed, sure=sure)
                    break
                if reply.HasField("error"):
                    raise faults.refusal_of(reply.error, reply.code, link.address)
                link.stands = True
                return getattr(reply, kind)
            if isinstance(request, bytes):
                request = method.request.FromString(request)
            answer = yield Invoke(link, method, request, _remaining_s(deadline_s))
        except grpc.RpcError as error:
            raise self.failure(link, error, sure=sure) from None
        except (ValueError, grpc.aio.UsageError) as error:
            raise self.closed_while_used(error) from None
        link.stands = True
        return answer

    def standing(self, address: str) -> L | None:
        """The link to this node, if calls may travel on it together and at once."""
        link = self._links.get(address)
        return link if link is not None and link.stands and link.exchanges else None

    def asked_in_vain(self, link: L, error: Exception, *, sure: bool) -> None:
        """Raises CallFailed for an `Ask` that failed so; returns when it was not sent at all.

        That is an attempt that went no way but this: see straight.py.
        """
        try:
            if not isinstance(error, Closed):
                self._unanswered(link, error, sure=sure)
        except grpc.RpcError as raised:
            raise self.failure(link, raised, sure=sure) from None
        except (ValueError, grpc.aio.UsageError) as raised:
            raise self.closed_while_used(raised) from None

    def connect(self, link: L, timeout_s: float) -> Plan[None]:
        """Ends when the connection is proved to stand; raises CallFailed when it is not.

        The proof is a harmless question. (Watching a channel's connectivity would do too, but gRPC
        polls it from a thread of its own, which fails aloud when the channel is closed meanwhile.)
        """
        try:
            yield Invoke(link, _STATUS, cluster.StatusRequest(), timeout_s)
        except grpc.RpcError as error:
            failure = faults.failure_of(error, link.address)
            if failure.broken or failure.fault.stalled:
                raise faults.not_connected(link.address) from None
        link.stands = True

    def failure(self, link: L, error: grpc.RpcError, *, sure: bool) -> Exception:
        """What gRPC's error means for a call on this link."""
        if self._closed:
            return self.client_closed()
        failure = faults.failure_of(error, link.address)
        if not failure.broken:
            return failure
        stood, link.stands = link.stands, False
        # Another version may run there when it is back.
        link.exchanges = True
        # A call that was sent on a standing connection is never told as "not sent": in between,
        # another call may have seen the connection break.
        if not (sure or stood):
            return faults.not_connected(link.address)
        return failure

    def stream_failure(
        self, link: L, error: grpc.RpcError, *, broken_off: bool, sure: bool
    ) -> Exception:
        """As `failure`; `broken_off`: by us, for the node was quiet for too long."""
        if broken_off and not self._closed:
            return faults.stalled(link.address)
        return self.failure(link, error, sure=sure)

    def closed_while_used(self, error: Exception) -> Exception:
        """gRPC refuses calls on a closed channel with errors that are none of its RpcErrors."""
        return self.client_closed() if self._closed else error

    def link(self, address: str) -> L:
        """The link to this node, opened when first needed."""
        link = self._links.get(address)
        if link is not None:
            return link
        with self._lock:
            if self._closed:
                raise self.client_closed()
            link = self._links.get(address)
            if link is None:
                link = self._links[address] = self._make(address)
            return link

    def take_all(self) -> list[L]:
        """The links, to be closed; later calls are refused."""
        with self._lock:
            self._closed = True
            links = list(self._links.values())
            self._links.clear()
        return links

    def client_closed(self) -> StatehouseError:
        return StatehouseError(f"this client is closed; make a new {self.client}()")

    def _unanswered(self, link: L, error: Exception, *, sure: bool) -> None:
        """Raises what that means of a call; returns if it has to travel alone."""
        if isinstance(error, TooLargeToShare):
            return
        if isinstance(error, TimeoutError):
            raise faults.stalled(link.address) from None
        if not isinstance(error, Lost):
            raise error
        if error.error is None:
            if self._closed:
                raise self.client_closed() from None
            link.stands = False
            raise faults.ended(link.address) from None
        if not error.unknown_method:
            raise self.failure(link, error.error, sure=sure) from None
        link.exchanges = False


def _remaining_s(deadline_s: float) -> float:
    return max(deadline_s - time.monotonic(), 0.001)
