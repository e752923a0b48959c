"""Owns the channels of a client used by threads: one a node; takes the steps of links.py, blocking.

It never retries (session.py drives that). Whatever enters gRPC here passes the gate of forks.py.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from statehouse_sdk.exchange import Exchange
from statehouse_sdk.forks import gate
from statehouse_sdk.links import CONNECT_TIMEOUT_S, OPTIONS, Ask, Invoke, Link, Links
from statehouse_sdk.plans import carry_out
from statehouse_sdk.stall_watch import StallWatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statehouse_proto.services import Method


class _Link(Link):
    """A link that threads share."""

    def __init__(self, address: str) -> None:
        with gate.passage():
            super().__init__(address, grpc.insecure_channel(address, options=OPTIONS))
        self._lock = threading.Lock()
        self._exchange: Exchange | None = None

    def exchange(self) -> Exchange:
        """The stream that is open; a new one when there is none."""
        with self._lock:
            if self._exchange is None or self._exchange.ended:
                self._exchange = Exchange(self.channel)
            return self._exchange

    def take(self, step: Invoke | Ask) -> Any:
        """Takes one step of an attempt."""
        if isinstance(step, Invoke):
            with gate.passage():
                return self.callable_of(step.method)(step.request, timeout=step.timeout_s)
        return self.exchange().ask(step.kind, step.request, step.timeout_s)

    def close(self) -> None:
        """Calls under way fail."""
        with self._lock:
            if self._exchange is not None:
                self._exchange.close()
        gate.end(self.channel.close)


class Transport(Links[_Link]):
    """All channels of one client in one process; thread-safe."""

    client = "Statehouse"

    def __init__(self) -> None:
        super().__init__(_Link)
        self._watch = StallWatch()

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
        link = self.link(address)
        try:
            if sure and (anew or not link.stands):
                carry_out(self.connect(link, CONNECT_TIMEOUT_S), link.take)
            with gate.passage():
                call = link.callable_of(method)(request)
                gate.opened(call)
        except ValueError as error:
            raise self.closed_while_used(error) from None
        cancel = partial(gate.end, call.cancel)
        watched = self._watch.add(cancel, quiet_s)
        failure = partial(self.stream_failure, link, sure=sure)
        try:
            while True:
                try:
                    with watched:
                        message = next(call)
                except StopIteration:
                    return
                except grpc.RpcError as error:
                    raise failure(error, broken_off=watched.broken_off) from None
                link.stands = True
                yield message
        finally:
            self._watch.remove(watched)
            cancel()

    def close(self) -> None:
        """Closes every channel; calls under way fail, later ones are refused."""
        links = self.take_all()
        self._watch.close()
        for link in links:
            link.close()
