"""Owns the commands that tell history: `replay`, `tail` and `inspect`."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

import click

from statehouse_sdk.cli import output
from statehouse_sdk.cli.settings import Settings, namespace_option, output_option, point

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from statehouse_sdk.models import ReplayEvent

TAIL_ENTRIES = 10
INSPECT_KEYS_SHOWN = 10
INSPECT_EVENTS_SHOWN = 5


@click.command()
@click.argument("agent")
@namespace_option
@output_option
@click.option("--start-ts", type=point, help="From this commit_ts or time on, itself included.")
@click.option("--end-ts", type=point, help="Up to this commit_ts or time, itself included.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=0,
    help="At most so many operations; with JSON, events. 0: all.",
)
@click.option("--verbose", is_flag=True, help="With transaction ids and whole values.")
@click.option("--json", "as_json", is_flag=True, help="The same as -o json: one event a line.")
@click.pass_obj
def replay(
    settings: Settings,
    agent: str,
    start_ts: int | datetime | None,
    end_ts: int | datetime | None,
    limit: int,
    verbose: bool,
    as_json: bool,
) -> None:
    """Tell the history of AGENT, in commit order."""
    shown = 0
    with settings.connect() as client:
        # An event has at least one operation, so so many events are enough.
        events = client.replay(agent, start_ts, end_ts, limit=limit or None)
        if as_json or settings.json:
            _write_json(events)
            return
        for entry in islice(_entries(events, verbose), limit or None):
            output.line(entry)
            shown += 1
    if not shown:
        output.line(f"Agent {agent!r} has no events there.")


@click.command()
@click.argument("agent")
@namespace_option
@output_option
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=TAIL_ENTRIES,
    show_default=True,
    help="So many operations of the end; with JSON, events.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is committed, until Ctrl-C.")
@click.option("--verbose", is_flag=True, help="With transaction ids and whole values.")
@click.pass_obj
def tail(settings: Settings, agent: str, lines: int, follow: bool, verbose: bool) -> None:
    """Show the last operations of AGENT; with -f, go on as it acts."""
    with settings.connect() as client:
        # One event at least, even for -n 0: following starts after the last there is.
        ending = list(client.replay(agent, last=max(lines, 1)))
        if settings.json:
            _write_json(ending[len(ending) - min(lines, len(ending)) :])
        else:
            for entry in deque(_entries(ending, verbose), maxlen=lines):
                output.line(entry)
        if not follow:
            return
        after = ending[-1].commit_ts + 1 if ending else None
        coming = client.replay(agent, after, follow=True)
        if settings.json:
            _write_json(coming)
            return
        for entry in _entries(coming, verbose):
            output.line(entry)


@click.command()
@click.argument("agent")
@namespace_option
@output_option
@click.pass_obj
def inspect(settings: Settings, agent: str) -> None:
    """Sum up AGENT: its keys, how much history it has, and what it did last."""
    with settings.connect() as client:
        snapshot = client.snapshot(agent)
        recent: deque[ReplayEvent] = deque(maxlen=INSPECT_EVENTS_SHOWN)
        events = 0
        for event in client.replay(agent, end_ts=snapshot.commit_ts):
            events += 1
            recent.append(event)
    keys = list(snapshot.records)
    if settings.json:
        output.json_document(
            {
                "namespace": settings.namespace,
                "agent_id": agent,
                "served_at": snapshot.commit_ts,
                "key_count": len(keys),
                "keys": keys[:INSPECT_KEYS_SHOWN],
                "event_count": events,
                "recent": [event.to_dict() for event in recent],
            }
        )
        return
    output.line(f"Agent: {agent}\nNamespace: {settings.namespace}\nAs of: {snapshot.commit_ts}")
    output.line(f"Keys: {len(keys)}")
    for key in keys[:INSPECT_KEYS_SHOWN]:
        output.line(f"  • {key}")
    if len(keys) > INSPECT_KEYS_SHOWN:
        output.line(f"  ... and {len(keys) - INSPECT_KEYS_SHOWN} more")
    output.line(f"Events: {events}")
    if recent:
        output.line("Recent activity:")
    for entry in _entries(recent, verbose=False):
        output.line(f"  {entry}")


def _entries(events: Iterable[ReplayEvent], verbose: bool) -> Iterator[str]:
    """One text for each operation; verbose ones have several lines."""
    from statehouse_sdk.formatting import format_event_pretty, format_event_verbose

    form = format_event_verbose if verbose else format_event_pretty
    for event in events:
        yield from form(event)


def _write_json(events: Iterable[ReplayEvent]) -> None:
    for event in events:
        output.json_line(event.to_dict())
