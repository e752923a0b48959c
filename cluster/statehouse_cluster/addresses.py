"""Owns how an address of a peer is written, "host:port" or "[v6]:port", and how it is looked up.

A name that is no number needs the resolver of the system, which blocks: `Resolver` asks it on a
thread of its own and answers on the thread that polls.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from statehouse_cluster.poller import Poller, Wakeup

_PORT_MAX: Final = 65535


class AddressError(ValueError):
    """A text that is no address."""


class Address(NamedTuple):
    """Where a node listens; the host is a name or a number, without brackets."""

    host: str
    port: int


class Endpoint(NamedTuple):
    """One thing an address resolves to, as `socket` takes it."""

    family: int
    sockaddr: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


Resolved = Callable[[list[Endpoint], str], None]
"""Called with what was found; when nothing was, with an empty list and the reason."""


def parse(text: str) -> Address:
    """The address in "host:port" or "[v6]:port"; AddressError says what is wrong with it."""
    host, colon, port_text = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise AddressError(f"{text!r}: an IPv6 address stands in brackets: [::1]:50051")
    if not colon or not host or not (port_text.isascii() and port_text.isdigit()):
        raise AddressError(f"{text!r} is no address; write host:port, as in 127.0.0.1:50051")
    port = int(port_text)
    if not 0 < port <= _PORT_MAX:
        raise AddressError(f"{text!r}: a port is between 1 and {_PORT_MAX}")
    return Address(host, port)


def is_number(address: Address) -> bool:
    """Whether looking the address up needs no resolver."""
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        return False
    return True


def look_up(address: Address) -> list[Endpoint]:
    """What an address resolves to; may block unless it `is_number`; OSError if it is nothing."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{address.host!r} cannot be a host name: {error}") from error
    return [Endpoint(family, sockaddr) for family, _, _, _, sockaddr in found]


class Resolver:
    """Looks names up beside the thread that polls; owned by that thread."""

    def __init__(self, poller: Poller) -> None:
        self._answers: deque[tuple[Resolved, list[Endpoint], str]] = deque()
        self._wakeup = Wakeup(poller, self._deliver)

    def resolve(self, address: Address, done: Resolved) -> None:
        """Calls `done` in a later poll, or before it returns when the address is a number."""
        if is_number(address):
            done(*_ask(address))
            return
        threading.Thread(
            target=self._work, args=(address, done), name="peer-resolver", daemon=True
        ).start()

    def close(self) -> None:
        """Ends it; answers under way are dropped."""
        self._wakeup.close()
        self._answers.clear()

    def _work(self, address: Address, done: Resolved) -> None:
        self._answers.append((done, *_ask(address)))
        self._wakeup.set()

    def _deliver(self) -> None:
        while self._answers:
            done, endpoints, reason = self._answers.popleft()
            done(endpoints, reason)


def _ask(address: Address) -> tuple[list[Endpoint], str]:
    try:
        return look_up(address), ""
    except OSError as error:
        return [], str(error)
