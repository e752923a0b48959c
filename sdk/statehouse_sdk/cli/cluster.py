"""Owns the commands for operators: the cluster's status, its members, and changes of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from statehouse_sdk.cli import output
from statehouse_sdk.cli.settings import Settings, output_option

if TYPE_CHECKING:
    from collections.abc import Iterable

    from statehouse_sdk.client import Statehouse
    from statehouse_sdk.cluster_models import AddProgress, Member, NodeStatus


@click.group()
def cluster() -> None:
    """Look at the cluster and change its members."""


@cluster.command()
@output_option
@click.pass_context
def status(context: click.Context) -> None:
    """Show what each node tells of itself; exit code 1 unless all answer and follow one leader."""
    settings: Settings = context.obj
    with settings.connect() as client:
        first = client.cluster_status()
        nodes = {member.name: _ask(client, member) for member in first.members}
    nodes.setdefault(first.name, first)
    told = {node.leader_name for node in nodes.values() if node is not None}
    leaders = sorted(told - {""})
    sound = None not in nodes.values() and len(told) == len(leaders) == 1
    if settings.json:
        members = [
            {"name": name, "answers": node is not None, **(node.to_dict() if node else {})}
            for name, node in nodes.items()
        ]
        output.json_document(
            {"cluster_id": first.cluster_id, "sound": sound, "leaders": leaders}
            | {"nodes": members}
        )
    else:
        output.line(f"Cluster: {first.cluster_id}\nLeader: {', '.join(leaders) or 'none'}")
        headers = ("NAME", "ADDRESS", "ROLE", "STATE", "TERM", "APPLIED", "COMMIT_TS", "CHAIN")
        addresses = {member.name: member.client_address for member in first.members}
        output.table(headers, [_row(name, addresses, node) for name, node in nodes.items()])
    if not sound:
        output.note("not every node answers and follows one leader")
        context.exit(1)


def _ask(client: Statehouse, member: Member) -> NodeStatus | None:
    from statehouse_sdk.errors import StatehouseError

    try:
        return client.cluster_status(member.client_address)
    except StatehouseError:
        return None


def _row(name: str, addresses: dict[str, str], node: NodeStatus | None) -> tuple[object, ...]:
    if node is None:
        return (name, addresses.get(name, ""), "-", "no answer", "-", "-", "-", "-")
    counts = (node.term, node.applied_index, node.commit_ts)
    head = node.chain_head.hex()[:12]
    return (name, addresses.get(name, node.address), node.role, node.lifecycle, *counts, head)


@cluster.command()
@output_option
@click.pass_obj
def members(settings: Settings) -> None:
    """List the members, as the node that answers knows them."""
    with settings.connect() as client:
        _show_members(settings, client.cluster_status().members)


def _show_members(settings: Settings, found: Iterable[Member]) -> None:
    if settings.json:
        output.json_document([member.to_dict() for member in found])
        return
    rows = [
        (m.name, m.client_address, m.peer_address, "yes" if m.voter else "no", m.node_uuid)
        for m in found
    ]
    output.table(("NAME", "CLIENTS", "PEERS", "VOTES", "NODE"), rows)


@cluster.command()
@click.argument("peer_address")
@output_option
@click.pass_obj
def add(settings: Settings, peer_address: str) -> None:
    """Add the node that waits at PEER_ADDRESS (host:port), and wait until it votes."""
    member = None
    with settings.connect() as client, _Progress() as progress:
        for step in client.add_member(peer_address):
            progress.show(step)
            member = step.member or member
    if settings.json:
        output.json_document({"member": member.to_dict() if member else None})
    else:
        output.line(f"{member.name if member else peer_address} is a member and votes")


@cluster.command()
@click.argument("name")
@output_option
@click.pass_obj
def remove(settings: Settings, name: str) -> None:
    """Remove the member NAME; a leader hands its lead over first."""
    with settings.connect() as client:
        remaining = client.remove_member(name)
    if not settings.json:
        output.line(f"{name} is no longer a member")
    _show_members(settings, remaining)


@cluster.command()
@click.argument("name", default="")
@output_option
@click.pass_obj
def transfer(settings: Settings, name: str) -> None:
    """Hand the lead to NAME; without it, to the member that is furthest."""
    with settings.connect() as client:
        leader = client.transfer_leadership(name or None)
    if settings.json:
        told: dict[str, Any] = {"leader_name": leader.name, "leader_address": leader.address}
        output.json_document(told | {"term": leader.term})
    else:
        output.line(f"{leader.name} leads, in term {leader.term}")


class _Progress:
    """Shows how far a new member is, on stderr: one live line on a terminal, else one a phase."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._last = ""

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live and self._last:
            click.echo(err=True)

    def show(self, step: AddProgress) -> None:
        text = {"snapshot": _sent, "catching_up": _behind}.get(step.phase, _voting)(step)
        if self._live:
            click.echo(f"\r{text:<60}", err=True, nl=False)
        elif step.phase != self._last:
            click.echo(text, err=True)
        self._last = step.phase


def _sent(step: AddProgress) -> str:
    share = 100 * step.bytes_sent // max(step.bytes_total, 1)
    return f"sending the state: {step.bytes_sent} of {step.bytes_total} bytes ({share} %)"


def _behind(step: AddProgress) -> str:
    return f"catching up: {step.entries_behind} log entries behind"


def _voting(_step: AddProgress) -> str:
    return "the new member votes"
