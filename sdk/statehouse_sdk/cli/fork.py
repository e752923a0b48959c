"""Owns the commands for agents that begin as others were: `fork`, `lineage` and `merge`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from collections.abc import Iterable

    from statehouse_sdk.errors import MergeConflict
    from statehouse_sdk.history_models import Lineage
    from statehouse_sdk.merge_models import Merge
    from statehouse_sdk.merging import Word

EXIT_UNDECIDED = 1


@click.command()
@click.argument("agent")
@click.argument("new")
@namespace_option
@output_option
@at_option("The state and history to begin with; now, if it is left out")
@click.option("--reason", default="", help="Why; kept with the event.")
@click.pass_obj
def fork(settings: Settings, agent: str, new: str, at: Point | None, reason: str) -> None:
    """Let the agent NEW begin as AGENT was; nothing is copied, and AGENT stays as it is."""
    with settings.connect() as client:
        made = client.fork(agent, new, at, actor=ACTOR, reason=reason)
    if settings.json:
        output.json_document(made.to_dict())
    else:
        output.line(f"{new} is {agent} at commit_ts {made.commit_ts}")


@click.command()
@click.argument("agent")
@namespace_option
@output_option
@click.pass_obj
def lineage(settings: Settings, agent: str) -> None:
    """Show what AGENT was forked from, back to the first, and which forks it has."""
    with settings.connect() as client:
        found = client.lineage(agent)
    if settings.json:
        output.json_document(found.to_dict())
    else:
        _show(agent, found)


def _show(agent: str, found: Lineage) -> None:
    if not found.ancestry:
        output.line(f"Agent {agent} is no fork.")
    for step in found.ancestry:
        output.line(
            f"{step.agent_id} is {step.parent_id} at commit_ts {step.commit_ts}, "
            f"forked by commit {step.forked_at}"
        )
    output.line(f"Forks of {agent}: {len(found.forks)}")
    for made in found.forks:
        output.line(f"  • {made.agent_id} at commit_ts {made.commit_ts}")


@click.command()
@click.argument("source")
@click.argument("target")
@namespace_option
@output_option
@click.option(
    "--choose",
    "choices",
    multiple=True,
    metavar="[PREFIX=]CHOICE",
    help="For keys that both changed: source, target, union (of lists) or error; the longest "
    "prefix counts. May be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be written.")
@click.option("--reason", default="", help="Why; kept with the event.")
@click.pass_context
def merge(
    context: click.Context,
    source: str,
    target: str,
    choices: tuple[str, ...],
    dry_run: bool,
    reason: str,
) -> None:
    """Bring what SOURCE changed since both were one into TARGET, in one transaction.

    Keys that both changed differently are listed, nothing is written, and the exit code is 1,
    unless --choose says what counts.
    """
    from statehouse_sdk.errors import MergeConflictError

    settings: Settings = context.obj
    choose = _chosen(choices)
    try:
        with settings.connect() as client:
            done = client.merge(
                source,
                target,
                choose=choose,
                dry_run=dry_run,
                actor=ACTOR,
                reason=reason or "merge",
            )
    except MergeConflictError as error:
        if settings.json:
            output.json_document(_undecided(source, target, error.conflicts))
        _show_conflicts(settings, error.conflicts)
        context.exit(EXIT_UNDECIDED)
    if settings.json:
        output.json_document(done.to_dict())
    else:
        _show_merge(done, dry_run)
    if done.conflicts:
        _show_conflicts(settings, done.conflicts)
        context.exit(EXIT_UNDECIDED)


def _chosen(choices: Iterable[str]) -> dict[str, Word]:
    from statehouse_sdk.merging import WORDS

    chosen: dict[str, Any] = {}
    for text in choices:
        prefix, _, word = text.rpartition("=")
        if word not in WORDS:
            raise click.UsageError(f"--choose {text!r} ends with none of {', '.join(WORDS)}")
        chosen[prefix] = word
    return chosen


def _undecided(source: str, target: str, conflicts: Iterable[MergeConflict]) -> dict[str, Any]:
    from statehouse_sdk.merge_models import conflict_to_dict

    told = [conflict_to_dict(conflict) for conflict in conflicts]
    return {"source": source, "target": target, "commit_ts": None, "conflicts": told}


def _show_merge(done: Merge, dry_run: bool) -> None:
    from statehouse_sdk.absent import ABSENT
    from statehouse_sdk.formatting import format_value_summary

    base = f"{done.base_agent_id} at commit_ts {done.base_ts}"
    for key in done.written:
        shown = "deleted" if key.value is ABSENT else format_value_summary(key.value)
        output.line(f"  {key.key}  {shown}  ({key.how})")
    if done.commit_ts is not None:
        output.line(
            f"merged {len(done.written)} keys of {done.source} into {done.target}, "
            f"commit_ts {done.commit_ts}; common base: {base}"
        )
    elif dry_run:
        output.line(f"would write {len(done.written)} keys; common base: {base}")
    else:
        output.line(f"{done.source} has nothing new for {done.target}; common base: {base}")


def _show_conflicts(settings: Settings, conflicts: Iterable[MergeConflict]) -> None:
    from statehouse_sdk.absent import ABSENT
    from statehouse_sdk.formatting import format_value_summary

    if not settings.json:
        for conflict in conflicts:
            output.line(f"! {conflict.key}")
            sides = (("base", conflict.base), ("source", conflict.source))
            for name, value in (*sides, ("target", conflict.target)):
                shown = "nothing" if value is ABSENT else format_value_summary(value)
                output.line(f"    {name}: {shown}")
    output.note("both changed these keys: nothing was written; --choose says which counts")
