"""Owns how an address is written, host:port with IPv6 in brackets, and what can be seen from it."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

_HOST_CHARACTERS_MAX = 253


class Address(NamedTuple):
    """A host, without brackets, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def is_loopback(self) -> bool:
        """Whether only this machine can reach it; a name other than localhost counts as not."""
        if self.host == "localhost":
            return True
        number = _number(self.host)
        return number is not None and number.is_loopback

    def is_wildcard(self) -> bool:
        """Whether it stands for every address of the machine, and so for none to connect to."""
        number = _number(self.host)
        return number is not None and number.is_unspecified


def parse(text: str, *, port_zero: bool = False) -> Address:
    """The address in `text`; ValueError says what is wrong. Port 0 only where `port_zero`."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if _number(host) is None:
            raise ValueError(f"{text!r} is no host:port")
    elif ":" in host:
        raise ValueError(f"{text!r}: write an IPv6 address in brackets, [::1]:50051")
    plain = host.isascii() and host.isprintable() and not set(host) & set(" /@,=?#")
    if not (colon and host and plain and len(host) <= _HOST_CHARACTERS_MAX):
        raise ValueError(f"{text!r} is no host:port")
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) < 65536):
        raise ValueError(f"{text!r}: the port is no number below 65536")
    if int(port) == 0 and not port_zero:
        raise ValueError(f"{text!r}: port 0 is no port that others could connect to")
    return Address(host, int(port))


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
