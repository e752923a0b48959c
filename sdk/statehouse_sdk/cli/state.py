"""Owns the commands that read state: one key at any point, keys, agents, namespaces."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from statehouse_sdk.cli import output
from statehouse_sdk.cli.settings import Point, Settings, at_option, namespace_option, output_option

if TYPE_CHECKING:
    from statehouse_sdk.models import StateResult

EXIT_NOT_FOUND = 1


@click.command()
@click.argument("agent")
@click.argument("key")
@namespace_option
@output_option
@click.option("--json-output", is_flag=True, help="The same as -o json.")
@click.option("--pretty", is_flag=True, help="When, and the value, on one line.")
@at_option("As it was")
@click.option("--version", "number", type=click.IntRange(min=1), help="This version of the key.")
@click.pass_context
def get(
    context: click.Context,
    agent: str,
    key: str,
    json_output: bool,
    pretty: bool,
    at: Point | None,
    number: int | None,
) -> None:
    """Show the value of KEY of AGENT: now, at a point in history, or of one version."""
    settings: Settings = context.obj
    if at is not None and number is not None:
        raise click.UsageError("--at and --version each name a point: give one of them")
    with settings.connect() as client:
        result = client.get_state(agent, key, at=at, version=number)
    if json_output or settings.json:
        output.json_document(result.to_dict())
    elif result.exists and pretty:
        output.line(_one_line(key, result))
    elif result.exists:
        _show(key, result)
    if not result.exists:
        output.note(_missing(agent, key, result))
        context.exit(EXIT_NOT_FOUND)


def _show(key: str, result: StateResult) -> None:
    output.line(f"Key: {key}\nVersion: {result.version}\nCommit TS: {result.commit_ts}")
    if result.committed_at is not None:
        output.line(f"Committed at: {result.committed_at.isoformat()}")
    if isinstance(result.value, bytes):
        output.line(f"Value: {len(result.value)} bytes; -o json shows them in base64")
    else:
        output.line(f"Value:\n{json.dumps(result.value, ensure_ascii=False, indent=2)}")


def _one_line(key: str, result: StateResult) -> str:
    from statehouse_sdk.formatting import format_ts, format_value_summary

    return f"{format_ts(result.committed_at)}  {key}  {format_value_summary(result.value)}"


def _missing(agent: str, key: str, result: StateResult) -> str:
    if result.version == 0:
        return f"Key not found: agent {agent!r} has no {key!r} there"
    return (
        f"Key not found: {key!r} of agent {agent!r} was deleted by commit {result.commit_ts}, "
        f"its version {result.version}"
    )


@click.command()
@click.argument("agent")
@namespace_option
@output_option
@click.option("--prefix", default="", help="Only keys that begin so.")
@at_option("As they were")
@click.pass_obj
def keys(settings: Settings, agent: str, prefix: str, at: Point | None) -> None:
    """List the live keys of AGENT, in bytewise order."""
    with settings.connect() as client:
        found = client.list_keys(agent, prefix=prefix, at=at)
    if settings.json:
        output.json_document(found)
    elif not found:
        beginning = f" beginning with {prefix!r}" if prefix else ""
        output.line(f"Agent {agent!r} has no keys{beginning}.")
    else:
        output.line(f"Keys of agent {agent}:")
        for key in found:
            output.line(f"  • {key}")
        output.line(f"Total: {len(found)}")


@click.command()
@namespace_option
@output_option
@click.pass_obj
def agents(settings: Settings) -> None:
    """List the agents of the namespace."""
    with settings.connect() as client:
        found = client.list_agents()
    if settings.json:
        output.json_document(found)
    elif not found:
        output.line(f"Namespace {settings.namespace!r} has no agents.")
    for agent in [] if settings.json else found:
        output.line(agent)


@click.command()
@output_option
@click.pass_obj
def namespaces(settings: Settings) -> None:
    """List the namespaces that were ever written to."""
    with settings.connect() as client:
        found = client.list_namespaces()
    if settings.json:
        output.json_document(found)
    elif not found:
        output.line("There are no namespaces yet.")
    for namespace in [] if settings.json else found:
        output.line(namespace)
