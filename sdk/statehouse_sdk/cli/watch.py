"""Owns the commands of those who follow: `watch`, and `cursor` for what readers remember."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING

import click

from statehouse_sdk.cli import output
from statehouse_sdk.cli.settings import ACTOR, Settings, namespace_option, output_option

if TYPE_CHECKING:
    from statehouse_sdk.models import ReplayEvent


@click.command()
@click.argument("agent", default="")
@namespace_option
@output_option
@click.option("--prefix", default="", help="Only operations on keys that begin so.")
@click.option(
    "--after",
    type=click.IntRange(min=0),
    help="What was committed after this commit_ts too; 0: everything. Else only what comes.",
)
@click.option(
    "--subscribe",
    "name",
    default="",
    help="Remember in the cluster, under this name, how far was shown, and go on from there.",
)
@click.option("--limit", type=click.IntRange(min=0), default=0, help="End after so many events.")
@click.option("--verbose", is_flag=True, help="With transaction ids and whole values.")
@click.pass_obj
def watch(
    settings: Settings,
    agent: str,
    prefix: str,
    after: int | None,
    name: str,
    limit: int,
    verbose: bool,
) -> None:
    """Show what AGENT, or without one the whole namespace, commits, as it does, until Ctrl-C.

    Nothing is left out or shown twice, whichever nodes come and go. With --subscribe an event
    counts as seen once it is shown; who is stopped in between sees it again.
    """
    with settings.connect() as client:
        if not name:
            events = client.watch(agent, prefix=prefix, after=after)
            for event in islice(events, limit or None):
                _tell(settings, event, verbose)
            return
        with client.subscribe(name, agent, prefix=prefix, start=after) as subscription:
            for event in islice(subscription, limit or None):
                _tell(settings, event, verbose)
                subscription.ack(event)


def _tell(settings: Settings, event: ReplayEvent, verbose: bool) -> None:
    from statehouse_sdk.formatting import format_event_pretty, format_event_verbose

    if settings.json:
        output.json_line(event.to_dict())
        return
    for entry in (format_event_verbose if verbose else format_event_pretty)(event):
        output.line(entry)
    # Before it is acknowledged, and because somebody waits for it.
    sys.stdout.flush()


@click.group()
def cursor() -> None:
    """Look after what `watch --subscribe`, and programs that subscribe, remember."""


@cursor.command(name="list")
@namespace_option
@output_option
@click.pass_obj
def list_cursors(settings: Settings) -> None:
    """List the cursors of the namespace: how far each reader is, and what it follows."""
    with settings.connect() as client:
        found = client.cursors()
    if settings.json:
        output.json_document([one.to_dict() for one in found])
    elif not found:
        output.line(f"Namespace {settings.namespace!r} has no cursors.")
    else:
        rows = [(one.name, one.position, one.agent_id or "(all)", one.prefix) for one in found]
        output.table(("NAME", "THROUGH", "AGENT", "PREFIX"), rows)


@cursor.command()
@click.argument("name")
@namespace_option
@output_option
@click.pass_obj
def delete(settings: Settings, name: str) -> None:
    """Forget the cursor NAME: a reader of that name begins anew."""
    with settings.connect() as client:
        client.delete_cursor(name, actor=ACTOR)
    if settings.json:
        output.json_document({"name": name, "deleted": True})
    else:
        output.line(f"deleted cursor {name}")
