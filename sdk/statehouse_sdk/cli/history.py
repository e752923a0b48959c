"""Owns the commands that ask how a state came to be: `history`, `blame` and `explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from statehouse_sdk.cli import output
from statehouse_sdk.cli.settings import Point, Settings, at_option, namespace_option, output_option

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from statehouse_sdk.history_models import FieldBlame, KeyBlame, KeyVersion

EXIT_NOT_FOUND = 1


@click.command()
@click.argument("agent")
@click.argument("key")
@namespace_option
@output_option
@click.option("--newest-first", is_flag=True, help="From the last version back to the first.")
@click.option("--limit", type=click.IntRange(min=0), default=0, help="At most so many; 0: all.")
@click.pass_context
def history(context: click.Context, agent: str, key: str, newest_first: bool, limit: int) -> None:
    """Show every version of KEY of AGENT, with when, who and why; deletes too."""
    settings: Settings = context.obj
    shown = 0
    with settings.connect() as client:
        for version in client.history(agent, key, newest_first=newest_first, limit=limit or None):
            if settings.json:
                output.json_line(version.to_dict())
            else:
                output.line(_version(agent, version))
            shown += 1
    if not shown:
        output.note(f"Key not found: agent {agent!r} never had {key!r}")
        context.exit(EXIT_NOT_FOUND)


def _version(agent: str, version: KeyVersion) -> str:
    from statehouse_sdk.formatting import format_value_summary

    moment = output.moment(version.committed_at)
    parts = [f"v={version.version}", f"ts={version.commit_ts}", moment]
    if version.agent_id != agent:
        parts.append(f"agent={version.agent_id}")
    parts += _who_and_why(version)
    parts.append(format_value_summary(version.value) if version.exists else "deleted")
    return "  ".join(parts)


def _who_and_why(version: KeyVersion) -> Iterator[str]:
    if version.metadata.actor:
        yield f"actor={version.metadata.actor}"
    if version.metadata.reason:
        yield f"({version.metadata.reason})"


@click.command()
@click.argument("agent")
@namespace_option
@output_option
@at_option("The state as it was")
@click.option("--prefix", default="", help="Only keys that begin so.")
@click.option("--no-fields", is_flag=True, help="Whole keys only, not the fields of objects.")
@click.pass_obj
def blame(settings: Settings, agent: str, at: Point | None, prefix: str, no_fields: bool) -> None:
    """Show for each key of AGENT, and each field of an object, the commit that last set it."""
    with settings.connect() as client:
        found = client.blame(agent, at, prefix=prefix, fields=not no_fields)
    if settings.json:
        output.json_document([key.to_dict() for key in found])
    elif not found:
        beginning = f" beginning with {prefix!r}" if prefix else ""
        output.line(f"Agent {agent!r} has no keys{beginning} there.")
    else:
        output.table(("KEY", "VERSION", "COMMIT_TS", "WHEN", "ACTOR", "REASON"), _rows(found))


def _rows(found: Iterable[KeyBlame]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for key in found:
        rows.append(_row(key.key, key.last))
        rows += [_row(f"  .{name}", field) for name, field in key.fields.items()]
    return rows


def _row(name: str, told: KeyVersion | FieldBlame) -> tuple[object, ...]:
    moment = output.moment(told.committed_at)
    who = (told.metadata.actor, told.metadata.reason)
    return (name, told.version, told.commit_ts, moment, *who)


@click.command()
@click.argument("agent")
@click.argument("key")
@namespace_option
@output_option
@at_option("The value as it was")
@click.option("--version", "number", type=click.IntRange(min=1), help="This version of the key.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="So many commits."
)
@click.pass_context
def explain(
    context: click.Context,
    agent: str,
    key: str,
    at: Point | None,
    number: int | None,
    limit: int,
) -> None:
    """Show why KEY of AGENT has its value: what set it, what that had read, what caused it.

    A tree, back to the roots; a commit that led to several others is shown once.
    """
    settings: Settings = context.obj
    if at is not None and number is not None:
        raise click.UsageError("--at and --version each name a point: give one of them")
    with settings.connect() as client:
        found = client.explain(agent, key, at, version=number, limit=limit)
    if settings.json:
        output.json_document(found.to_dict())
    elif found.root is not None:
        for text in found.tree():
            output.line(text)
    if found.root is None:
        output.note(f"Key not found: agent {agent!r} has no {key!r} there")
        context.exit(EXIT_NOT_FOUND)
