"""Owns `diff`: what differs between two points of an agent, or between two agents."""

from __future__ import annotations

import click

from statehouse_sdk.cli import output
from statehouse_sdk.cli.settings import Point, Settings, namespace_option, output_option, point

EXIT_DIFFERS = 1
EXIT_TROUBLE = 2


class Trouble(click.ClickException):
    """An error that cannot be taken for a difference."""

    exit_code = EXIT_TROUBLE


@click.command()
@click.argument("agent")
@click.argument("a", type=point, required=False)
@click.argument("b", type=point, required=False)
@namespace_option
@output_option
@click.option("--with", "other", help="Compare with this agent: A is of AGENT, B is of OTHER.")
@click.option("--prefix", default="", help="Only keys that begin so.")
@click.option(
    "--exit-code", is_flag=True, help="As diff(1): 0 when equal, 1 when not, 2 for trouble."
)
@click.pass_context
def diff(
    context: click.Context,
    agent: str,
    a: Point | None,
    b: Point | None,
    other: str | None,
    prefix: str,
    exit_code: bool,
) -> None:
    """Show what differs in AGENT between A and B, each a commit_ts, a time, or a label.

    Without B: from A to now. Keys that came are marked +, that went -, that changed ~, with the
    fields that did.
    """
    from statehouse_sdk.errors import StatehouseError

    settings: Settings = context.obj
    if a is None and other is None:
        raise click.UsageError("give a point to compare with, or another agent by --with")
    try:
        with settings.connect() as client:
            found = client.diff(agent, a, b, other=other, prefix=prefix)
    except StatehouseError as error:
        if exit_code:
            raise Trouble(str(error)) from error
        raise
    if settings.json:
        output.json_document(found.to_dict())
    else:
        for text in found.lines():
            output.line(text)
    if not found and not settings.json:
        output.note("nothing differs")
    if found and exit_code:
        context.exit(EXIT_DIFFERS)
