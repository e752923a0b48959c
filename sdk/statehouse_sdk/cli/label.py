"""Owns the commands for names of points of an agent: `label set`, `label list`, `label delete`."""

from __future__ import annotations

import click

from statehouse_sdk.cli import output
from statehouse_sdk.cli.settings import (
    ACTOR,
    Point,
    Settings,
    at_option,
    namespace_option,
    output_option,
)


@click.group()
def label() -> None:
    """Name points of an agent's history; a name can stand wherever a commit_ts can."""


@label.command(name="set")
@click.argument("agent")
@click.argument("name")
@namespace_option
@output_option
@at_option("The point to name; now, if it is left out")
@click.pass_obj
def set_label(settings: Settings, agent: str, name: str, at: Point | None) -> None:
    """Let NAME be a point of AGENT; one that exists moves, and its history tells from where."""
    with settings.connect() as client:
        commit_ts = client.label(agent, name, at, actor=ACTOR)
    if settings.json:
        output.json_document({"agent_id": agent, "name": name, "commit_ts": commit_ts})
    else:
        output.line(f"{name} is commit_ts {commit_ts}")


@label.command(name="list")
@click.argument("agent")
@namespace_option
@output_option
@click.pass_obj
def list_labels(settings: Settings, agent: str) -> None:
    """List the labels of AGENT, and when each was set."""
    with settings.connect() as client:
        found = client.labels(agent)
    if settings.json:
        output.json_document([one.to_dict() for one in found])
    elif not found:
        output.line(f"Agent {agent!r} has no labels.")
    else:
        rows = [(one.name, one.commit_ts, output.moment(one.set_at_time)) for one in found]
        output.table(("NAME", "COMMIT_TS", "SET"), rows)


@label.command()
@click.argument("agent")
@click.argument("name")
@namespace_option
@output_option
@click.pass_obj
def delete(settings: Settings, agent: str, name: str) -> None:
    """Delete the label NAME of AGENT; that it was there stays in the history."""
    with settings.connect() as client:
        client.delete_label(agent, name, actor=ACTOR)
    if settings.json:
        output.json_document({"agent_id": agent, "name": name, "deleted": True})
    else:
        output.line(f"deleted label {name}")
