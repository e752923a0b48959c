"""Owns `load`: writes what `dump` wrote into an agent, each key once, whatever fails on the way.

Keys go in bounded transactions, each exactly once. Every write demands that the key is still as it
was when the load began, so a load never overwrites what somebody else wrote meanwhile.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import click

from statehouse_sdk.cli import output
from statehouse_sdk.cli.settings import ACTOR, Settings, namespace_option, output_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from statehouse_sdk.client import Statehouse
    from statehouse_sdk.models import Snapshot

# Well below what one transaction may hold, so that a single large value still fits.
BATCH_KEYS_MAX = 256
BATCH_BYTES_MAX = 1024 * 1024


class Entry(NamedTuple):
    """One key to write, and about how many bytes it takes."""

    key: str
    value: Any
    size_bytes: int


@click.command()
@click.argument("agent")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@namespace_option
@output_option
@click.option(
    "--merge",
    is_flag=True,
    help="Into an agent that has keys: others stay, those of FILE are replaced where they differ.",
)
@click.option("--reason", default="", help="Why; kept with each event.")
@click.pass_obj
def load(settings: Settings, agent: str, file: IO[str], merge: bool, reason: str) -> None:
    """Write the keys of FILE, made by `dump`, into AGENT; FILE - is standard input.

    An agent that has keys is refused unless --merge is given. An interrupted load is finished by
    the same command with --merge.
    """
    entries = list(_entries(file))
    with settings.connect() as client:
        before = client.snapshot(agent)
        if before.records and not merge:
            raise click.ClickException(
                f"agent {agent!r} has {len(before.records)} keys: "
                "load into another agent, or give --merge"
            )
        changed = [entry for entry in entries if _differs(entry, before)]
        commits = _write(client, agent, changed, before, reason)
    if settings.json:
        told = {"agent_id": agent, "keys": len(entries), "written": len(changed)}
        output.json_document({**told, "commits": commits})
    else:
        unchanged = len(entries) - len(changed)
        output.line(f"wrote {len(changed)} keys to {agent}, {unchanged} were so already")


def _entries(file: IO[str]) -> Iterator[Entry]:
    try:
        document = json.load(file)
    except (ValueError, RecursionError) as error:
        raise click.ClickException(f"FILE is not a dump in JSON: {error}") from None
    if not isinstance(document, dict):
        raise click.ClickException("FILE is not a dump: it holds no map of keys")
    for key, record in document.items():
        if not isinstance(record, dict) or "value" not in record:
            raise click.ClickException(f"FILE is not a dump: {key!r} has no value")
        encoded = record.get("value_base64")
        try:
            value = record["value"] if encoded is None else base64.b64decode(encoded, validate=True)
        except (TypeError, binascii.Error) as error:
            raise click.ClickException(
                f"FILE is not a dump: {key!r} is not base64: {error}"
            ) from None
        size = len(value) if isinstance(value, bytes) else len(json.dumps(value))
        yield Entry(key, value, size + len(key.encode(errors="replace")))


def _differs(entry: Entry, before: Snapshot) -> bool:
    there = before.records.get(entry.key)
    return there is None or _exact(there.value) != _exact(entry.value)


def _exact(value: Any) -> tuple[str, Any]:
    # Python finds 1, 1.0 and True equal; their JSON texts differ.
    return ("bytes", value) if isinstance(value, bytes) else ("json", json.dumps(value))


def _write(
    client: Statehouse, agent: str, entries: list[Entry], before: Snapshot, reason: str
) -> list[int]:
    commits: list[int] = []
    written = 0
    for batch in _batches(entries):
        tx = client.begin_transaction(actor=ACTOR, reason=reason)
        for entry in batch:
            there = before.records.get(entry.key)
            if there is None:
                tx.write(agent, entry.key, entry.value, if_absent=True)
            else:
                tx.write(agent, entry.key, entry.value, if_version=there.version)
        try:
            commits.append(tx.commit())
        except Exception:
            output.note(
                f"stopped after {written} of {len(entries)} keys; --merge goes on from there"
            )
            raise
        written += len(batch)
    return commits


def _batches(entries: list[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size_bytes = 0
    for entry in entries:
        full = size_bytes + entry.size_bytes > BATCH_BYTES_MAX or len(batch) == BATCH_KEYS_MAX
        if batch and full:
            yield batch
            batch, size_bytes = [], 0
        batch.append(entry)
        size_bytes += entry.size_bytes
    if batch:
        yield batch
