"""Owns the commands that tell history: `replay`, `tail` and `inspect`."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

import click

from statehouse_sdk.cli import output
from statehouse_sdk.cli.settings import Point, Settings, namespace_option, output_option, point

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from statehouse_sdk.models import ReplayEvent

TAIL_ENTRIES = 10
INSPECT_KEYS_SHOWN = 10
INSPECT_EVENTS_SHOWN = 5


@click.command()
@click.argument("agent")
@namespace_option
@output_option
@click.option("--start-ts", type=point, help="From this point on, itself included.")
@click.option("--end-ts", "--until", "end_ts", type=point, help="Up to this point, itself too.")
@click.option("--run", "run_id", default="", help="Only what this run committed.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=0,
    help="At most so many operations; with JSON, events. 0: all.",
)
@click.option("--verbose", is_flag=True, help="With transaction ids and whole values.")
@click.option("--json", "as_json", is_flag=True, help="The same as -o json: one event a line.")
@click.option("--step", is_flag=True, help="One event at a time, forward and back; h tells how.")
@click.option("--verify", is_flag=True, help="Replay into nothing; compare with the cluster.")
@click.pass_obj
def replay(
    settings: Settings,
    agent: str,
    start_ts: Point | None,
    end_ts: Point | None,
    run_id: str,
    limit: int,
    verbose: bool,
    as_json: bool,
    step: bool,
    verify: bool,
) -> None:
    """Tell the history of AGENT, in commit order.

    A point is a commit_ts, a time in ISO 8601, or a label.
    """
    _check_together(step=step, verify=verify, limited=bool(limit), partial=start_ts or run_id)
    if as_json:
        settings.output = "json"
    if verify:
        _verify(settings, agent, end_ts)
        return
    if step:
        from statehouse_sdk.cli.stepping import Walk, step_through

        with settings.connect() as client:
            step_through(settings, Walk(client, agent, start_ts, end_ts, run_id))
        return
    shown = 0
    with settings.connect() as client:
        # An event has at least one operation, so so many events are enough.
        events = client.replay(agent, start_ts, end_ts, limit=limit or None, run_id=run_id)
        if settings.json:
            _write_json(events)
            return
        for entry in islice(_entries(events, verbose), limit or None):
            output.line(entry)
            shown += 1
    if not shown:
        output.line(f"Agent {agent!r} has no events there.")


def _check_together(*, step: bool, verify: bool, limited: bool, partial: object) -> None:
    if step and verify:
        raise click.UsageError("--step and --verify exclude each other")
    if limited and (step or verify):
        raise click.UsageError("--limit goes with neither --step nor --verify")
    if verify and partial:
        raise click.UsageError(
            "--verify needs the events from the first on: leave out --start-ts and --run"
        )


def _verify(settings: Settings, agent: str, end: Point | None) -> None:
    """Folds the events into a state, and compares it with the cluster's at that commit_ts."""
    from statehouse_sdk.folding import replay_state, state_hash

    with settings.connect() as client:
        theirs = client.snapshot(agent, at=end)
        ours = replay_state(client.replay(agent, end_ts=theirs.commit_ts))
    replayed, kept = state_hash(ours).hex(), state_hash(theirs).hex()
    if settings.json:
        output.json_document(
            {"agent_id": agent, "commit_ts": theirs.commit_ts, "keys": len(theirs.records)}
            | {"ok": replayed == kept, "replayed_hash": replayed, "state_hash": kept}
        )
    if replayed != kept:
        raise click.ClickException(
            f"replayed up to commit_ts {theirs.commit_ts}, the events of {agent!r} give state "
            f"{replayed}, but the cluster has {kept}: run `statehousectl verify`"
        )
    if not settings.json:
        output.line(
            f"the events give the state at commit_ts {theirs.commit_ts}: "
            f"{len(theirs.records)} keys, state hash {kept}"
        )


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
