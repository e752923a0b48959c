"""Owns `dump`: one agent's live state at one point of history, in a form that `load` reads back.

The JSON form maps each key to its value, version and commit_ts, and to the commit_ts the whole dump
speaks for; raw bytes stand in value_base64. With --history it is the events with their proofs, in
the form of history_file.py.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from statehouse_sdk.cli import output
from statehouse_sdk.cli.settings import Point, Settings, at_option, namespace_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statehouse_sdk.models import Snapshot, StateResult


@click.command()
@click.argument("agent")
@namespace_option
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="The file to write, whole or not at all; standard output by default.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "text"]),
    default="json",
    show_default=True,
    help="json can be loaded again; text is for reading.",
)
@at_option("As it was")
@click.option(
    "--history", is_flag=True, help="All events instead, with proofs: for `verify --file`."
)
@click.pass_context
def dump(
    context: click.Context,
    agent: str,
    target: Path | None,
    form: str,
    at: Point | None,
    history: bool,
) -> None:
    """Write all live keys of AGENT, as they were at one commit_ts; or its history."""
    settings: Settings = context.obj
    if history:
        if context.get_parameter_source("form") is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError("--history has a form of its own: leave out --format")
        _dump_history(settings, agent, target, at)
        return
    with settings.connect() as client:
        snapshot = client.snapshot(agent, at=at)
    text = _json(snapshot) if form == "json" else _text(snapshot)
    with _whole(target) as file:
        file.write(text + "\n")
    output.note(f"{len(snapshot.records)} keys of {agent} at commit_ts {snapshot.commit_ts}")


def _dump_history(settings: Settings, agent: str, target: Path | None, at: Point | None) -> None:
    from statehouse_sdk.cli import history_file

    with settings.connect() as client, _whole(target) as file:
        head = client.head(at, agent_id=agent)
        events = client.replay(agent, end_ts=head.commit_ts, with_proof=True)
        count = history_file.write(file, settings.namespace, agent, head, events)
    output.note(f"{count} events of {agent} up to commit_ts {head.commit_ts}")


@contextmanager
def _whole(target: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a file that appears whole or not at all."""
    if target is None:
        yield sys.stdout
        return
    # Beside the target, so that the last step is a rename within one file system.
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=target.parent, prefix=f".{target.name}.", delete=False
    ) as scratch:
        try:
            yield scratch
            scratch.flush()
            os.fsync(scratch.fileno())
            Path(scratch.name).replace(target)
        except BaseException:
            Path(scratch.name).unlink()
            raise


def _json(snapshot: Snapshot) -> str:
    document = {
        key: _value(record)
        | {
            "version": record.version,
            "commit_ts": record.commit_ts,
            "served_at": snapshot.commit_ts,
        }
        for key, record in snapshot.records.items()
    }
    return json.dumps(document, ensure_ascii=False, indent=2)


def _value(record: StateResult) -> dict[str, Any]:
    from statehouse_sdk.models import value_to_dict

    return value_to_dict(record.value)


def _text(snapshot: Snapshot) -> str:
    head = f"agent {snapshot.agent_id}, namespace {snapshot.namespace}"
    lines = [output.plain(f"# {head}, commit_ts {snapshot.commit_ts}")]
    for key, record in snapshot.records.items():
        shown = json.dumps(_value(record), ensure_ascii=False)
        lines.append(output.plain(f"{key}  v={record.version}  ts={record.commit_ts}  {shown}"))
    return "\n".join(lines)
