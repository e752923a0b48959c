"""Owns the settings of a node: what they are, where each may come from, which values make sense.

A setting comes from its flag, else its environment variable, else the TOML file, else its default;
an empty variable counts as not set. All of them are read once, at the start, into a frozen value.
docs/configuration.md lists exactly these fields.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from statehouse import addresses
from statehouse.logs import FORMATS, LEVELS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_OFF = frozenset({"0", "false", "no", "off"})
_ON = frozenset({"1", "true", "yes", "on"})
_SECONDS_MIN, _SECONDS_MAX = 0.1, 86_400.0


class ConfigError(Exception):
    """A setting that cannot be; the text names it, where it came from, and what would do."""


_DEFAULT_DATA_DIR = Path("data")


def _setting(default: Any, flag: str, variable: str, text: str) -> Any:
    told = {"flag": flag, "variable": variable, "text": text}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=told)
    return field(default=default, metadata=told)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """The settings of one node; addresses are host:port."""

    name: str = _setting(
        "n1",
        "--name",
        "STATEHOUSE_NAME",
        "The node's id in its cluster: letters, digits, dot, dash, underscore. A node whose disk "
        "was lost comes back under a new name.",
    )
    listen: str = _setting(
        "127.0.0.1:50051",
        "--listen",
        "STATEHOUSE_ADDR",
        "Where clients connect. Port 0 takes a free one.",
    )
    advertise: str = _setting(
        "",
        "--advertise",
        "STATEHOUSE_ADVERTISE",
        "The address clients are told to find this node at; empty: the one it listens on.",
    )
    peer_listen: str = _setting(
        "",
        "--peer-listen",
        "STATEHOUSE_PEER_LISTEN",
        "Where the other nodes connect; empty: this node's address in `peers`, or nowhere for a "
        "node that stays alone.",
    )
    peers: Mapping[str, str] = _setting(
        {},
        "--peers",
        "STATEHOUSE_PEERS",
        "Every founding member and its peer address, this node included: "
        "n1=host:port,n2=host:port,... (in the file: a table). Empty: a cluster of one.",
    )
    join: bool = _setting(
        False,
        "--join",
        "STATEHOUSE_JOIN",
        "Wait to be added to a running cluster by `statehousectl cluster add`.",
    )
    data_dir: Path = _setting(  # noqa: RUF009  # it makes a field, not a value
        _DEFAULT_DATA_DIR,
        "--data",
        "STATEHOUSE_DATA_DIR",
        "The data directory; made when it is not there. One node, one directory.",
    )
    use_memory: bool = _setting(
        False,
        "--use-memory",
        "STATEHOUSE_USE_MEMORY",
        "Keep nothing: a cluster of one for tests, whose state ends with the process.",
    )
    insecure: bool = _setting(
        False,
        "--insecure",
        "STATEHOUSE_INSECURE",
        "Allow to listen beyond this machine although nothing is encrypted and nobody is asked "
        "who they are: only on a network where everybody may read and write everything.",
    )
    compare_interval_s: float = _setting(
        10.0,
        "--compare-interval",
        "STATEHOUSE_COMPARE_INTERVAL",
        "Seconds between comparisons of this node's record with the other members'; a node that a "
        "majority does not confirm stops. 0: never.",
    )
    log_level: str = _setting(
        "info",
        "--log-level",
        "STATEHOUSE_LOG_LEVEL",
        "The least that is logged: debug, info, warning or error.",
    )
    log_format: str = _setting(
        "text",
        "--log-format",
        "STATEHOUSE_LOG_FORMAT",
        "One line an event, for people (text) or for machines (json).",
    )

    @property
    def alone(self) -> bool:
        """Whether this node founds a cluster of one."""
        return not self.peers and not self.join

    @property
    def peer_address(self) -> str:
        """Where this node listens for its peers; empty: nowhere."""
        return self.peer_listen or self.peers.get(self.name, "")


@dataclass(frozen=True, slots=True)
class Effective:
    """A checked configuration, and for each field where its value came from, in words."""

    config: NodeConfig
    sources: Mapping[str, str]

    def shown(self) -> str:
        """One TOML line a field, its source as a comment; read back, it means the same."""
        lines = []
        for told in dataclasses.fields(NodeConfig):
            value = getattr(self.config, told.name)
            lines.append(f"{told.name} = {_toml(value)}  # {self.sources[told.name]}")
        return "\n".join(lines)


def load(
    flags: Mapping[str, object], environment: Mapping[str, str], file: Path | None
) -> Effective:
    """The effective configuration; `flags` holds only those that were given.

    Raises ConfigError for the first setting that cannot be.
    """
    written = {} if file is None else _read(file)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for told in dataclasses.fields(NodeConfig):
        variable = told.metadata["variable"]
        if told.name in flags:
            raw, source = flags[told.name], f"flag {told.metadata['flag']}"
        elif environment.get(variable, "") != "":
            raw, source = environment[variable], f"environment variable {variable}"
        elif told.name in written:
            raw, source = written[told.name], f"file {file}"
        else:
            sources[told.name] = "default"
            continue
        values[told.name] = _parsed(told.name, raw, source)
        sources[told.name] = source
    effective = Effective(NodeConfig(**values), sources)
    _check_together(effective)
    return effective


def _read(file: Path) -> dict[str, Any]:
    try:
        written = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"file {file} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"file {file} is no TOML: {error}") from None
    unknown = sorted(written.keys() - {told.name for told in dataclasses.fields(NodeConfig)})
    if unknown:
        raise ConfigError(f"file {file} sets {unknown[0]}, which is no setting; remove it")
    return written


def _parsed(name: str, raw: object, source: str) -> object:
    try:
        return _PARSERS[name](raw)
    except ValueError as error:
        raise ConfigError(f"{name} ({source}): {error}") from None


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"{raw!r} is no text")
    return raw.strip()


def _name(raw: object) -> str:
    text = _text(raw)
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"{text!r} is no node name; use up to 63 letters, digits, dots, dashes, underscores"
        )
    return text


def _address(raw: object) -> str:
    return str(addresses.parse(_text(raw), port_zero=True))


def _address_or_nothing(raw: object) -> str:
    text = _text(raw)
    return str(addresses.parse(text)) if text else ""


def _peers(raw: object) -> dict[str, str]:
    if isinstance(raw, Mapping):
        pairs = [(name, address) for name, address in raw.items()]
    else:
        parts = [part for part in _text(raw).split(",") if part.strip()]
        pairs = [_pair(part) for part in parts]
    peers = {_name(name): str(addresses.parse(_text(address))) for name, address in pairs}
    if len(peers) != len(pairs):
        raise ValueError("a name is listed twice")
    if len(set(peers.values())) != len(peers):
        raise ValueError("two names have one address")
    return peers


def _pair(part: str) -> tuple[str, str]:
    name, equals, address = part.partition("=")
    if not equals:
        raise ValueError(f"{part.strip()!r} is no name=host:port")
    return name.strip(), address.strip()


def _flag(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    text = _text(raw).lower()
    if text in _ON or text in _OFF:
        return text in _ON
    raise ValueError(f"{text!r} is neither on nor off; use 1 or 0")


def _seconds(raw: object) -> float:
    text = str(raw) if isinstance(raw, int | float) and not isinstance(raw, bool) else _text(raw)
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number of seconds") from None
    if not (seconds == 0 or _SECONDS_MIN <= seconds <= _SECONDS_MAX):
        raise ValueError(
            f"{text} must be 0 or lie between {_SECONDS_MIN:g} and {_SECONDS_MAX:g} seconds"
        )
    return seconds


def _path(raw: object) -> Path:
    text = str(raw) if isinstance(raw, Path) else _text(raw)
    if not text or "\0" in text:
        raise ValueError("is no path")
    return Path(text)


def _one_of(choices: tuple[str, ...]) -> Callable[[object], str]:
    def parse(raw: object) -> str:
        text = _text(raw).lower()
        if text not in choices:
            raise ValueError(f"{text!r} is none of {', '.join(choices)}")
        return text

    return parse


_PARSERS: Mapping[str, Callable[[object], object]] = {
    "name": _name,
    "listen": _address,
    "advertise": _address_or_nothing,
    "peer_listen": _address_or_nothing,
    "peers": _peers,
    "join": _flag,
    "data_dir": _path,
    "use_memory": _flag,
    "insecure": _flag,
    "compare_interval_s": _seconds,
    "log_level": _one_of(LEVELS),
    "log_format": _one_of(FORMATS),
}


def _check_together(effective: Effective) -> None:
    config, sources = effective.config, effective.sources
    if config.use_memory and not config.alone:
        raise ConfigError(
            f"use_memory ({sources['use_memory']}) is for a cluster of one; "
            "leave out peers and join, or give the node a data directory"
        )
    if config.join and config.peers:
        raise ConfigError(
            f"join ({sources['join']}) and peers ({sources['peers']}) exclude each other: "
            "a joining node learns its peers from the cluster"
        )
    if config.join and not config.peer_listen:
        raise ConfigError("peer_listen (default) is empty; a joining node needs it")
    if config.peers and config.name not in config.peers:
        raise ConfigError(
            f"peers ({sources['peers']}) does not list this node, {config.name} "
            f"({sources['name']}); list every founding member"
        )
    _check_reach(effective)


def _check_reach(effective: Effective) -> None:
    """Plaintext stays on this machine unless somebody said otherwise."""
    config = effective.config
    for name, address in (("listen", config.listen), ("peer_listen", config.peer_address)):
        if address and not config.insecure and not _stays_here(address):
            source = effective.sources[name if getattr(config, name) else "peers"]
            raise ConfigError(
                f"{name} ({source}): {address} reaches beyond this machine, and the connection "
                "would be neither encrypted nor authenticated; use 127.0.0.1, or --insecure"
            )
    listens = addresses.parse(config.listen, port_zero=True)
    if listens.is_wildcard() and not config.advertise and not config.alone:
        raise ConfigError(
            f"listen ({effective.sources['listen']}): clients cannot be sent to "
            f"{config.listen}; set advertise to the address they find this node at"
        )


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{json.dumps(name)} = {_toml(item)}" for name, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    return json.dumps(str(value))


def _stays_here(address: str) -> bool:
    return addresses.parse(address, port_zero=True).is_loopback()


def page_rows() -> list[str]:
    """The table rows of docs/configuration.md, one a setting, in the order of the fields."""
    rows = []
    for told in dataclasses.fields(NodeConfig):
        default = {} if told.default is dataclasses.MISSING else told.default
        cells = (told.name, told.metadata["flag"], told.metadata["variable"], _toml(default))
        rows.append(" | ".join(["", *(f"`{cell}`" for cell in cells)]).strip())
        rows[-1] += f" | {told.metadata['text']} |"
    return rows
