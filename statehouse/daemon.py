"""Owns the process `statehoused`: settings in, node and server wired, signals, exit codes.

Exit codes: 0 stopped when asked; 1 could not start, and standard error says why in one sentence;
2 wrong usage; 70 stopped itself after a fault, because what it knows is no longer certain.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import gc
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from statehouse_cluster.consensus import Consensus
from statehouse_cluster.damage import JournalDamaged
from statehouse_cluster.founding import FormationRefused
from statehouse_cluster.identity import IdentityRefused
from statehouse_cluster.recovery import Diverged
from statehouse_cluster.settings import Bounds, ClusterSettings
from statehouse_cluster.startup import StartRefused

from statehouse import addresses, config, logs
from statehouse.banner import banner
from statehouse.config import NodeConfig
from statehouse.core import limits
from statehouse.disk import DiskReserve
from statehouse.files import NodeFiles
from statehouse.node import Node
from statehouse.rpc.server import BindError, RpcServer
from statehouse.storage.faults import StoreFailed, StoreRefused
from statehouse.version import git_sha, version

if TYPE_CHECKING:
    from collections.abc import Callable

    from statehouse_cluster.identity import DataDirectory


EXIT_REFUSED = 1
EXIT_FAULT = 70

_HAND_OVER_S = 5.0
_SWITCH_S = 0.001
"""How long a thread computes while another waits for its turn. The raft thread needs a turn after
each message and each sync: at Python's own 5 ms, a busy event loop would hold up every commit."""
_YOUNG_OBJECTS_MAX = 20_000
"""Objects made and not given back before cycles are looked for; Python itself says 700."""
_CALLS_GRACE_S = 2.0

_log = logs.Log("daemon")

_REFUSALS = (
    BindError,
    Diverged,
    FormationRefused,
    IdentityRefused,
    JournalDamaged,
    StartRefused,
    StoreRefused,
)
"""What keeps a node from starting without being a fault of ours; each says it in a sentence."""


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option for each setting; what is not given stays None."""
    for told in reversed(dataclasses.fields(NodeConfig)):
        is_switch = isinstance(told.default, bool)
        command = click.option(
            told.metadata["flag"],
            told.name,
            default=None,
            is_flag=is_switch,
            flag_value=True if is_switch else None,
            help=f"{told.metadata['text']} [{told.metadata['variable']}]",
        )(command)
    return command


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@_options
@click.option(
    "--config",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="STATEHOUSE_CONFIG",
    help="A TOML file of settings, named as in --print-config. [STATEHOUSE_CONFIG]",
)
@click.option("--print-config", is_flag=True, help="Print the effective settings and stop.")
@click.version_option(version(), prog_name="statehoused", message="%(prog)s %(version)s")
def main(file: Path | None, print_config: bool, **flags: object) -> None:
    """Runs one node of Statehouse until it is asked to stop (Ctrl-C or SIGTERM).

    A setting comes from its flag, else its environment variable, else the file, else its default.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        effective = config.load(given, os.environ, file)
    except config.ConfigError as error:
        _refuse(str(error))
    if print_config:
        click.echo(effective.shown())
        return
    logs.configure(effective.config.log_level, effective.config.log_format)
    sys.setswitchinterval(_SWITCH_S)
    _calm_collector()
    try:
        asyncio.run(_serve(effective.config))
    except (*_REFUSALS, StoreFailed, OSError) as error:
        _refuse(_told(error, effective.config))


def _calm_collector() -> None:
    """Looks for garbage in cycles rarely, and never among what is there from the start.

    A node makes next to none, and looking for it took a tenth of its processor time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS_MAX, 20, 20)


async def _serve(settings: NodeConfig) -> None:
    """One node from its first file to its last; returns when it has stopped as asked."""
    asked = _stop_signal()
    server = RpcServer()
    wanted = addresses.parse(settings.listen, port_zero=True)
    listens = addresses.Address(wanted.host, server.bind(wanted.host, wanted.port))
    if settings.log_format == "text":
        click.echo(banner(settings, str(listens), version(), git_sha()), nl=False)
    files = NodeFiles(
        None if settings.use_memory else settings.data_dir, settings.name, now_us=_now_us
    )
    node = Node(
        _cluster_settings(settings, files.directory, str(listens)),
        files.store,
        DiskReserve(files.directory.path, time.monotonic),
        consensus=Consensus,
        on_fatal=_fault,
    )
    await server.start(node, version(), git_sha(), compare_interval_s=settings.compare_interval_s)
    node.start()
    _log.info("Node started", node=settings.name, listen=str(listens), version=version())
    reason = await asked
    _log.info("Stopping", signal=reason)
    await _stop(node, server)
    try:
        files.close()
    except StoreFailed as error:
        # Nothing acknowledged is lost, for that is in the journal; but this was no clean end.
        _fault(error)
    _log.info("Stopped")


async def _stop(node: Node, server: RpcServer) -> None:
    await node.drain()
    await server.tell_health()
    await node.hand_over(_HAND_OVER_S)
    await server.stop(_CALLS_GRACE_S)


def _stop_signal() -> asyncio.Future[str]:
    """Done with the name of the first signal that asks this process to stop."""
    loop = asyncio.get_running_loop()
    asked: asyncio.Future[str] = loop.create_future()

    def ask(name: str) -> None:
        if not asked.done():
            asked.set_result(name)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask, number.name)
    return asked


def _cluster_settings(
    settings: NodeConfig, directory: DataDirectory, listens: str
) -> ClusterSettings:
    return ClusterSettings(
        name=settings.name,
        directory=directory,
        peer_listen=settings.peer_address,
        client_address=settings.advertise or listens,
        peers=settings.peers,
        join=settings.join,
        bounds=Bounds(
            group_commands_max=limits.GROUP_TRANSACTIONS_MAX,
            group_bytes_max=limits.GROUP_BYTES_MAX,
            queue_commands_max=limits.QUEUE_TRANSACTIONS_MAX,
        ),
    )


def _fault(error: BaseException) -> NoReturn:
    """Ends the process at once: nothing may be answered from a state that is not certain."""
    if isinstance(error, _REFUSALS):
        _say(str(error))
        os._exit(EXIT_REFUSED)
    _log.error("Fault: this node stops now", cause=error, fault=type(error).__name__)
    sys.stderr.flush()
    os._exit(EXIT_FAULT)


def _told(error: Exception, settings: NodeConfig) -> str:
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    return f"{error}; free space on the disk of {settings.data_dir}" if full else str(error)


def _now_us() -> int:
    return time.time_ns() // 1000


def _refuse(sentence: str) -> NoReturn:
    _say(sentence)
    sys.exit(EXIT_REFUSED)


def _say(sentence: str) -> None:
    print(f"statehoused: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
