"""Owns how the node logs: one line an event, facts as fields, never a value or a key's content.

Two forms of one line: `text` for people (time level message key=value ...), `json` for machines.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

ROOT = "statehouse"


class Log:
    """A named logger whose calls take a sentence and facts: ``log.info("Bound", address=a)``."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"{ROOT}.{name}")

    def debug(self, message: str, **facts: object) -> None:
        self._write(logging.DEBUG, message, facts, None)

    def info(self, message: str, **facts: object) -> None:
        self._write(logging.INFO, message, facts, None)

    def warning(self, message: str, **facts: object) -> None:
        self._write(logging.WARNING, message, facts, None)

    def error(self, message: str, *, cause: BaseException | None = None, **facts: object) -> None:
        """`cause` adds its traceback, for faults that are ours to repair."""
        self._write(logging.ERROR, message, facts, cause)

    def _write(
        self, level: int, message: str, facts: dict[str, object], cause: BaseException | None
    ) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, message, extra={"facts": facts}, exc_info=cause)


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Sends the node's log lines to `stream` (standard error by default); the last call counts."""
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger(ROOT)
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
    # grpc and asyncio speak up only when something is wrong: keep that in the same stream.
    other = logging.getLogger()
    other.handlers[:] = [handler]
    other.setLevel(logging.WARNING)


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.123Z INFO    message key=value``; a traceback takes its own lines."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [_time(record), f"{record.levelname:<7}", record.getMessage()]
        parts += [f"{name}={_plain(value)}" for name, value in _facts(record).items()]
        line = " ".join(parts)
        return line if record.exc_info is None else f"{line}\n{self._trace(record)}"

    def _trace(self, record: logging.LogRecord) -> str:
        return "" if not record.exc_info else self.formatException(record.exc_info)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the facts."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_facts(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _facts(record: logging.LogRecord) -> dict[str, object]:
    facts: dict[str, object] = getattr(record, "facts", {})
    return facts


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: object) -> str:
    text = str(value)
    # Quoting keeps one event on one line, whatever a fact holds.
    return text if text.isprintable() and " " not in text and text else json.dumps(text)
