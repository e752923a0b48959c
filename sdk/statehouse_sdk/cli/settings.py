"""Owns what every command is told alike: where, in which namespace, how long to wait, how to show.

The group sets them; `--namespace` and `-o` may also stand after the command's name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from statehouse_sdk.config import DEFAULT_NAMESPACE, DEFAULT_TIMEOUT_S, DEFAULT_URL

if TYPE_CHECKING:
    from statehouse_sdk.client import Statehouse

OUTPUTS = ("table", "json")

ACTOR = "statehousectl"
"""Who the events of this program say made them."""

Command = TypeVar("Command", bound=Callable[..., Any])

Point = int | datetime | str
"""A point of history, as `point` reads it."""


@dataclass(slots=True)
class Settings:
    """One invocation's settings; `url` may list several endpoints, separated by commas."""

    url: str = DEFAULT_URL
    namespace: str = DEFAULT_NAMESPACE
    timeout_s: float = DEFAULT_TIMEOUT_S
    output: str = "table"

    @property
    def json(self) -> bool:
        return self.output == "json"

    def connect(self) -> Statehouse:
        """A client for this invocation; the caller closes it."""
        return open_client(self.url, self.namespace, self.timeout_s)


def open_client(url: str, namespace: str, timeout_s: float) -> Statehouse:
    """The one place where the CLI makes clients; tests put their own here."""
    from statehouse_sdk.client import Statehouse

    return Statehouse(url=url, namespace=namespace, timeout=timeout_s)


def _replaces(field: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def replace(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            setattr(context.obj, field, value)

    return replace


def namespace_option(command: Command) -> Command:
    """Lets a command take --namespace after its name."""
    option = click.option(
        "--namespace",
        expose_value=False,
        callback=_replaces("namespace"),
        help="The namespace, as before the command.",
    )
    return option(command)


def output_option(command: Command) -> Command:
    """Lets a command take -o after its name."""
    option = click.option(
        "-o",
        "--output",
        type=click.Choice(OUTPUTS),
        expose_value=False,
        callback=_replaces("output"),
        help="The form of the output, as before the command.",
    )
    return option(command)


def point(text: str) -> Point:
    """A commit_ts, a moment in ISO 8601 with its time zone, or a label; an option's type for click.

    BadParameter, told by click as wrong usage, for what can be none of them.
    """
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        if not text:
            raise click.BadParameter("an empty text names no point") from None
        return text
    if moment.tzinfo is None:
        raise click.BadParameter(f"{text!r} has no time zone: end it with Z or one like +02:00")
    return moment


def at_option(explained: str) -> Callable[[Command], Command]:
    """The option --at of commands that look at one point of history."""
    return click.option(
        "--at", type=point, help=f"{explained}: a commit_ts, a time in ISO 8601, or a label."
    )
