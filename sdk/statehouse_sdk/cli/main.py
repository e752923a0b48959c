"""Owns the entry of `statehousectl`: the group's options, the list of commands, errors, exit codes.

Exit codes: 0 done; 1 it failed, or what was asked for does not exist; 2 wrong usage; 130 ended by
Ctrl-C; 141 the reader of the output went away.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from statehouse_sdk import config
from statehouse_sdk.cli.settings import OUTPUTS, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_INTERRUPTED = 130
EXIT_READER_GONE = 141

# In the order of the help page.
COMMANDS = {
    "health": "health:health",
    "version": "health:version",
    "get": "state:get",
    "keys": "state:keys",
    "agents": "state:agents",
    "namespaces": "state:namespaces",
    "put": "writing:put",
    "delete": "writing:delete",
    "replay": "replay:replay",
    "tail": "replay:tail",
    "inspect": "replay:inspect",
    "watch": "watch:watch",
    "cursor": "watch:cursor",
    "history": "history:history",
    "blame": "history:blame",
    "explain": "history:explain",
    "diff": "diff:diff",
    "label": "label:label",
    "fork": "fork:fork",
    "lineage": "fork:lineage",
    "merge": "fork:merge",
    "verify": "verify:verify",
    "dump": "dump:dump",
    "load": "load:load",
    "cluster": "cluster:cluster",
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(
            importlib.import_module(f"statehouse_sdk.cli.{module}"), attribute
        )
        return command

    def invoke(self, ctx: click.Context) -> Any:
        from statehouse_sdk.errors import StatehouseError

        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # What is still buffered has no reader either: the interpreter must not try at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(EXIT_READER_GONE)
        except (StatehouseError, OSError) as error:
            raise click.ClickException(str(error) or type(error).__name__) from error
        return result


def _print_version(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if not asked or context.resilient_parsing:
        return
    from importlib.metadata import version

    click.echo(f"statehousectl {version('statehouse-cluster')}")
    context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--address",
    "--url",
    "url",
    envvar=["STATEHOUSE_URL", "STATEHOUSE_ADDR"],
    default=config.DEFAULT_URL,
    show_default=True,
    help="Nodes of the cluster, host:port, separated by commas [env: STATEHOUSE_URL].",
)
@click.option(
    "--namespace",
    envvar="STATEHOUSE_NAMESPACE",
    default=config.DEFAULT_NAMESPACE,
    show_default=True,
    help="Whose state [env: STATEHOUSE_NAMESPACE].",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    envvar="STATEHOUSE_TIMEOUT",
    default=config.DEFAULT_TIMEOUT_S,
    show_default=True,
    help="Seconds to wait for an answer, all attempts together [env: STATEHOUSE_TIMEOUT].",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(OUTPUTS),
    default="table",
    show_default=True,
    help="For people, or for programs: one JSON document, or JSON lines for events.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print this program's version; `version` asks the cluster for its own.",
)
@click.pass_context
def cli(context: click.Context, url: str, namespace: str, timeout_s: float, output: str) -> None:
    """Read, write, replay and administer a Statehouse cluster.

    Exit codes: 0 done; 1 failed or not found; 2 wrong usage; 130 ended by Ctrl-C.
    """
    context.obj = Settings(url=url, namespace=namespace, timeout_s=timeout_s, output=output)


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code; errors are one sentence on stderr."""
    try:
        code = cli.main(list(arguments), prog_name="statehousectl", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return code if isinstance(code, int) else 0


def main() -> None:
    """The console script `statehousectl`."""
    sys.exit(run(sys.argv[1:]))
