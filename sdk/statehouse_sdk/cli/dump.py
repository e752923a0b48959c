"""Owns `dump`: one agent's live state at one point of history, in a form that `load` reads back.

The JSON form maps each key to its value, version and commit_ts, and to the commit_ts the whole dump
speaks for; raw bytes stand in value_base64.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from statehouse_sdk.cli import output
from statehouse_sdk.cli.settings import Settings, namespace_option, point

if TYPE_CHECKING:
    from datetime import datetime

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
@click.option("--at", type=point, help="As it was: a commit_ts, or a time in ISO 8601.")
@click.pass_obj
def dump(
    settings: Settings, agent: str, target: Path | None, form: str, at: int | datetime | None
) -> None:
    """Write all live keys of AGENT, as they were at one commit_ts."""
    with settings.connect() as client:
        snapshot = client.snapshot(agent, at=at)
    text = _json(snapshot) if form == "json" else _text(snapshot)
    if target is None:
        click.echo(text)
    else:
        _write_whole(target, text + "\n")
    output.note(f"{len(snapshot.records)} keys of {agent} at commit_ts {snapshot.commit_ts}")


def _write_whole(target: Path, text: str) -> None:
    # Beside the target, so that the last step is a rename within one file system.
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=target.parent, prefix=f".{target.name}.", delete=False
    ) as scratch:
        try:
            scratch.write(text)
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
