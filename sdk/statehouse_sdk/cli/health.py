"""Owns the two commands that only ask whether and what: `health` and `version`."""

from __future__ import annotations

import click

from statehouse_sdk.cli import output
from statehouse_sdk.cli.settings import Settings, output_option


@click.command()
@output_option
@click.pass_obj
def health(settings: Settings) -> None:
    """Ask whether the cluster answers; exit code 1 when it does not."""
    with settings.connect() as client:
        status = client.health()
    if settings.json:
        output.json_document({"status": status})
    else:
        click.echo(output.good("✓ Daemon is healthy"))


@click.command()
@output_option
@click.pass_obj
def version(settings: Settings) -> None:
    """Show the version of the node that answers."""
    with settings.connect() as client:
        number, git_sha = client.version()
    if settings.json:
        output.json_document({"version": number, "git_sha": git_sha})
    else:
        output.line(f"Version: {number}\nGit SHA: {git_sha}")
