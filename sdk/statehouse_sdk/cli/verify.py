"""Owns `verify`: every node checks its own record, the nodes are compared; or a file is checked."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from statehouse_sdk.cli import output
from statehouse_sdk.cli.settings import Settings, namespace_option, output_option

if TYPE_CHECKING:
    from typing import Any

    from statehouse_sdk.client import Statehouse
    from statehouse_sdk.history_models import Verification

EXIT_BAD = 1


class Judged(NamedTuple):
    """What became of one node: how far its own check came; and its fault, empty for none."""

    name: str
    address: str
    checked: Verification | None
    fault: str
    bad_commit_ts: int | None = None

    def to_dict(self) -> dict[str, Any]:
        checked = self.checked
        return {
            "name": self.name,
            "address": self.address,
            "ok": not self.fault,
            "events": checked.events if checked else None,
            "through": checked.through if checked else None,
            "chain_hash": checked.chain_hash.hex() if checked else None,
            "bad_commit_ts": self.bad_commit_ts,
            "fault": self.fault,
        }


@click.command()
@namespace_option
@output_option
@click.option("--agent", default="", help="Only the events of this agent.")
@click.option(
    "--file",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Check what `dump --history` wrote; no cluster is asked.",
)
@click.pass_context
def verify(context: click.Context, agent: str, file: Path | None) -> None:
    """Check that history is what it was: every hash recomputed, on every node, and compared.

    Exit code 1 when anything is wrong: the first bad event and its node are named.
    """
    settings: Settings = context.obj
    if file is not None:
        if agent:
            raise click.UsageError("--agent and --file exclude each other")
        sound = _verify_file(settings, file)
    else:
        sound = _verify_cluster(settings, agent)
    if not sound:
        context.exit(EXIT_BAD)


# -- A file


def _verify_file(settings: Settings, path: Path) -> bool:
    from statehouse_sdk.cli.history_file import FileError, read
    from statehouse_sdk.proofs import check_events

    with path.open(encoding="utf-8") as file:
        try:
            header, events = read(file)
            checked = check_events(events)
        except (FileError, UnicodeDecodeError) as error:
            raise click.ClickException(f"{path}: {error}") from None
    if settings.json:
        output.json_document(
            {"file": str(path), "agent_id": header.agent_id, "ok": checked.ok}
            | {"events": checked.events, "through": checked.through}
            | {"bad_commit_ts": checked.bad_commit_ts, "fault": checked.fault}
        )
    elif checked.ok:
        output.line(
            f"{checked.events} events of {header.agent_id or 'everybody'} up to commit_ts "
            f"{header.commit_ts}: all agree with their hashes"
        )
    if not checked.ok:
        output.note(f"{path}: commit_ts {checked.bad_commit_ts}: {checked.fault}")
    return checked.ok


# -- The nodes


def _verify_cluster(settings: Settings, agent: str) -> bool:
    with settings.connect() as client:
        members = client.cluster_status().members
        judged = [_judge(client, agent, member.name, member.client_address) for member in members]
        sound = [one.checked for one in judged if one.checked and not one.fault]
        through = min((checked.through for checked in sound), default=0)
        judged = _compare(client, judged, through)
    bad = [one for one in judged if one.fault]
    if settings.json:
        told = [one.to_dict() for one in judged]
        output.json_document({"ok": not bad, "compared_at": through, "nodes": told})
    else:
        rows = [_row(one) for one in judged]
        output.table(("NAME", "ADDRESS", "EVENTS", "THROUGH", "CHAIN", "VERDICT"), rows)
        if not bad:
            output.line(f"all {len(judged)} nodes hold the same history up to commit_ts {through}")
    for one in bad:
        output.note(f"{one.name} at {one.address}: {one.fault}")
    return not bad


def _judge(client: Statehouse, agent: str, name: str, address: str) -> Judged:
    """Has the node check itself."""
    from statehouse_sdk.errors import StatehouseError

    last: Verification | None = None
    try:
        with _Progress(name) as progress:
            for last in client.verify(agent, address=address):
                progress.show(last)
    except StatehouseError as error:
        return Judged(name, address, last, f"it was not checked: {error}")
    if last is None or not last.finished:
        return Judged(name, address, last, "it broke off before the end")
    if last.bad_commit_ts is not None:
        fault = f"commit_ts {last.bad_commit_ts}: {last.fault}"
        return Judged(name, address, last, fault, last.bad_commit_ts)
    return Judged(name, address, last, "")


def _compare(client: Statehouse, judged: list[Judged], through: int) -> list[Judged]:
    """The same, with a fault for each sound node whose chain is not that of most of them."""
    hashes = {one.name: _hash_at(client, one.address, through) for one in judged if not one.fault}
    if len(set(hashes.values())) <= 1:
        return judged
    usual, _ = Counter(hashes.values()).most_common(1)[0]
    reference = next(one for one in judged if hashes.get(one.name) == usual)
    return [
        one
        if one.fault or hashes[one.name] == usual
        else _differing(client, one, reference, through)
        for one in judged
    ]


def _differing(client: Statehouse, one: Judged, reference: Judged, through: int) -> Judged:
    # Each hash covers all before it: once the two differ, they differ for ever after.
    same, other = 0, through
    while other - same > 1:
        middle = (same + other) // 2
        hashes = {_hash_at(client, node.address, middle) for node in (one, reference)}
        same, other = (middle, other) if len(hashes) == 1 else (same, middle)
    fault = f"commit_ts {other} is another event than on {reference.name}"
    return one._replace(fault=fault, bad_commit_ts=other)


def _hash_at(client: Statehouse, address: str, commit_ts: int) -> bytes:
    return client.head(commit_ts, address=address).chain_hash


def _row(one: Judged) -> tuple[object, ...]:
    verdict = "bad" if one.fault else "sound"
    if one.checked is None:
        return (one.name, one.address, "-", "-", "-", verdict)
    chain = one.checked.chain_hash.hex()[:12]
    return (one.name, one.address, one.checked.events, one.checked.through, chain, verdict)


class _Progress:
    """Shows on stderr how far a node has come: a live line on a terminal, else nothing."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._live = sys.stderr.isatty()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            click.echo(err=True)

    def show(self, step: Verification) -> None:
        if self._live:
            text = f"{self._name}: {step.events} events checked, up to commit_ts {step.through}"
            click.echo(f"\r{text:<70}", err=True, nl=False)
