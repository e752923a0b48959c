"""Owns how a client is set up: argument before environment before default, each checked once.

STATEHOUSE_URL (host:port, several divided by commas), STATEHOUSE_NAMESPACE and STATEHOUSE_TIMEOUT
(seconds) are all the environment it reads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from statehouse_sdk.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_URL: Final = "localhost:50051"
DEFAULT_PORT: Final = 50051
DEFAULT_NAMESPACE: Final = "default"
DEFAULT_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """The settings of one client; `timeout_s` bounds each call with all its retries."""

    endpoints: tuple[str, ...]
    namespace: str = DEFAULT_NAMESPACE
    timeout_s: float = DEFAULT_TIMEOUT_S


def resolve(
    url: str | Sequence[str] | None,
    namespace: str | None,
    timeout: float | None,
    environment: Mapping[str, str],
) -> ClientConfig:
    """The configuration; InvalidRequestError names the setting that is wrong."""
    return ClientConfig(
        endpoints=_endpoints(
            environment.get("STATEHOUSE_URL") or DEFAULT_URL if url is None or url == "" else url
        ),
        namespace=namespace or environment.get("STATEHOUSE_NAMESPACE") or DEFAULT_NAMESPACE,
        timeout_s=_timeout_s(timeout, environment.get("STATEHOUSE_TIMEOUT")),
    )


def _endpoints(url: str | Sequence[str]) -> tuple[str, ...]:
    parts = url.split(",") if isinstance(url, str) else url
    if not isinstance(parts, Sequence) or not all(isinstance(part, str) for part in parts):
        raise InvalidRequestError(f"url is {url!r:.60}; give host:port, or several of them")
    endpoints = tuple(dict.fromkeys(_endpoint(part.strip()) for part in parts if part.strip()))
    if not endpoints:
        raise InvalidRequestError(f"url {url!r} names no endpoint; give host:port")
    return endpoints


def _endpoint(text: str) -> str:
    """``host:port``; the port may be left out, an IPv6 host stands in brackets."""
    if "/" in text:
        raise InvalidRequestError(f"url {text!r} has a scheme or a path; give plain host:port")
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        host, port = host + bracket, rest.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    if not host or ":" in port or (port and not _is_port(port)):
        raise InvalidRequestError(f"url {text!r} is not host:port")
    return f"{host}:{port or DEFAULT_PORT}"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536


def _timeout_s(argument: float | None, setting: str | None) -> float:
    source = "timeout" if argument is not None or not setting else "STATEHOUSE_TIMEOUT"
    given = argument if argument is not None else setting or DEFAULT_TIMEOUT_S
    try:
        timeout_s = float(given)
    except (TypeError, ValueError):
        timeout_s = math.nan
    if not (math.isfinite(timeout_s) and timeout_s > 0):
        raise InvalidRequestError(f"{source} is {given!r}; give a positive number of seconds")
    return timeout_s
