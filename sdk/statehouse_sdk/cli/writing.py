"""Owns the commands that write one key: `put` and `delete`, with what must hold when they do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from statehouse_sdk.cli import output
from statehouse_sdk.cli.settings import ACTOR, Settings, namespace_option, output_option

if TYPE_CHECKING:
    from statehouse_sdk.transaction import Transaction


@click.command()
@click.argument("agent")
@click.argument("key")
@click.argument("value", required=False)
@namespace_option
@output_option
@click.option("--json", "as_json", is_flag=True, help="VALUE is JSON text; the default.")
@click.option("--string", "as_string", is_flag=True, help="VALUE is a string, as it stands.")
@click.option(
    "--bytes-file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Store the raw bytes of this file; there is no VALUE then.",
)
@click.option("--if-version", type=click.IntRange(min=0), help="Only if the key has this version.")
@click.option("--if-absent", is_flag=True, help="Only if the key holds no value.")
@click.option("--reason", default="", help="Why; kept with the event.")
@click.pass_obj
def put(
    settings: Settings,
    agent: str,
    key: str,
    value: str | None,
    as_json: bool,
    as_string: bool,
    bytes_file: Path | None,
    if_version: int | None,
    if_absent: bool,
    reason: str,
) -> None:
    """Write VALUE to KEY of AGENT; VALUE - reads it from standard input."""
    if (value is None) == (bytes_file is None):
        raise click.UsageError("give either VALUE or --bytes-file")
    if as_json + as_string + (bytes_file is not None) > 1:
        raise click.UsageError("--json, --string and --bytes-file exclude each other")
    if if_absent and if_version is not None:
        raise click.UsageError("--if-version and --if-absent exclude each other")
    if bytes_file is not None:
        with click.open_file(str(bytes_file), "rb") as file:
            stored: Any = file.read()
    else:
        stored = _parsed(value or "", as_string)
    with settings.connect() as client:
        tx = client.begin_transaction(actor=ACTOR, reason=reason)
        tx.write(agent, key, stored, if_version=if_version, if_absent=if_absent)
        _commit(tx, agent, key)
    _tell(settings, tx, agent, key, "wrote")


@click.command()
@click.argument("agent")
@click.argument("key")
@namespace_option
@output_option
@click.option("--if-version", type=click.IntRange(min=1), help="Only if the key has this version.")
@click.option("--reason", default="", help="Why; kept with the event.")
@click.pass_obj
def delete(settings: Settings, agent: str, key: str, if_version: int | None, reason: str) -> None:
    """Delete KEY of AGENT; its history stays. Exit code 1 if it holds no value."""
    with settings.connect() as client:
        tx = client.begin_transaction(actor=ACTOR, reason=reason)
        # The read becomes part of the transaction: what is deleted is what was seen.
        if not tx.get(agent, key).exists:
            tx.abort()
            raise click.ClickException(f"Key not found: agent {agent!r} has no {key!r} to delete")
        tx.delete(agent, key, if_version=if_version)
        _commit(tx, agent, key)
    _tell(settings, tx, agent, key, "deleted")


def _commit(tx: Transaction, agent: str, key: str) -> None:
    from statehouse_sdk.errors import OutcomeUnknownError

    try:
        tx.commit()
    except OutcomeUnknownError:
        # The SDK's advice, to commit the same object again, is of no use after the process ended.
        raise click.ClickException(
            f"no answer came in time, so the change may or may not have been made: "
            f"look with `statehousectl get {agent} {key}` before trying again"
        ) from None


def _parsed(text: str, as_string: bool) -> Any:
    if text == "-":
        with click.open_file("-", encoding="utf-8") as stdin:
            text = stdin.read()
    if as_string:
        return text
    try:
        return json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_not_json)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(
            f"VALUE is not JSON ({error}): quote it as JSON, or give --string to store it as text"
        ) from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object names a field twice")
    return found


def _not_json(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _tell(settings: Settings, tx: Transaction, agent: str, key: str, did: str) -> None:
    version = tx.versions[-1]
    if settings.json:
        told = {"agent_id": agent, "key": key, "version": version, "commit_ts": tx.commit_ts}
        output.json_document(told)
    else:
        output.line(f"{did} {key}: version {version}, commit_ts {tx.commit_ts}")
