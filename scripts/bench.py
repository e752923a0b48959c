#!/usr/bin/env python3
"""Measures Statehouse beside etcd, PostgreSQL and Redis on this machine, in one interleaved run.

    scripts/bench.py [--quick] [--only SYSTEM ...] [--callers N ...] [--rounds N]
                     [--json FILE] [--plots DIR] [--page FILE] [--folder DIR]
    scripts/bench.py --from FILE --page FILE --plots DIR     shows results again, measures nothing

Every system is durable and does the same work, from one Python client process, alone on the machine
in its turn. It starts the servers itself, on loopback, in a temporary folder, and ends them. It
installs nothing: what is not here is left out, by name. Peers are Debian's etcd-server, postgresql
and redis-server; Python needs `pip install '.[bench]'`. Exit code 0: measured; 1: not, and why.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.environment import use_project_environment  # noqa: E402  # the path is set above

use_project_environment()

from scripts.local_cluster import ClusterError  # noqa: E402  # only now is all to be had
from tests.bench import failover, machine, page, rounds, tables  # noqa: E402  # as above
from tests.bench.failures import BenchFailed  # noqa: E402  # as above
from tests.bench.results import Results, System  # noqa: E402  # as above
from tests.bench.servers import etcd, postgresql, redis, statehouse  # noqa: E402  # as above
from tests.bench.work import CALLERS, EVERYTHING, QUICK, chosen  # noqa: E402  # as above

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from tests.bench.servers.interface import Replicated, Server

SERVERS: dict[str, type[Server]] = {
    "statehouse": statehouse.Server,
    "etcd": etcd.Server,
    "postgresql": postgresql.Server,
    "redis": redis.Server,
}
OTHERS_MAX = 0.15
"""The share of the processors that goes to the kernel's own threads, such as those of the disk, on
a machine that does nothing else."""

REPLICATED: tuple[str, ...] = ("statehouse", "etcd")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer, shorter: below 3 minutes")
    parser.add_argument("--only", action="append", default=[], choices=SERVERS, metavar="SYSTEM")
    parser.add_argument("--callers", action="append", default=[], type=int, choices=CALLERS)
    parser.add_argument("--rounds", type=int, help="5, quick: 2")
    parser.add_argument("--measure-s", type=float, help="seconds of each figure: 3, quick: 0.6")
    parser.add_argument("--events", type=int, help="in the replayed history: 100000, quick: 10000")
    parser.add_argument("--failovers", type=int, help="leaders lost in each way: 5, quick: 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the results go")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="where the plots go (SVG)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="the page the tables go into")
    parser.add_argument("--folder", type=Path, help="where the servers' data lies meanwhile")
    parser.add_argument("--from", dest="known", type=Path, metavar="FILE", help="shown, not run")
    return parser


def _plan(arguments: argparse.Namespace) -> rounds.Plan:
    quick = arguments.quick
    count, measure_s, events = (2, 0.6, 10_000) if quick else (5, 3.0, 100_000)
    measure_s = arguments.measure_s or measure_s
    return rounds.Plan(
        rounds=arguments.rounds or count,
        works=chosen(QUICK if quick else EVERYTHING, tuple(arguments.callers)),
        warm_up_s=measure_s / 3,
        measure_s=measure_s,
        history_events=arguments.events or events,
    )


def _missing() -> dict[str, str]:
    found = {name: server.missing() for name, server in SERVERS.items()}
    return {name: reason for name, reason in found.items() if reason}


def measure(arguments: argparse.Namespace, folder: Path) -> Results:
    """The whole run."""
    plan = _plan(arguments)
    left_out = _missing()
    asked = arguments.only or list(SERVERS)
    servers = {
        name: SERVERS[name](folder / name)
        for name in SERVERS
        if name in asked and name not in left_out
    }
    results = Results(machine.describe(folder), _settings(plan))
    results.left_out = {name: why for name, why in left_out.items() if name in asked}
    for name, why in results.left_out.items():
        _tell(f"{name} is left out: {why}")
    rounds.run(servers, plan, results, _tell)
    results.systems = {
        name: System(server.version(), server.setup) for name, server in servers.items()
    }
    times = (1 if arguments.quick else 5) if arguments.failovers is None else arguments.failovers
    for name in REPLICATED:
        if name in servers and times:
            _lose_leaders(name, cast("Replicated", servers[name]), times, arguments.quick, results)
    return results


def _lose_leaders(name: str, server: Replicated, times: int, quick: bool, results: Results) -> None:
    """Adds to the results how long the system took no commits, for each way to lose its leader."""
    try:
        server.start()
        for way, loss in list(failover.LOSSES.items())[: 1 if quick else None]:
            all_s = failover.measure(name, server, loss, times)
            results.failovers_s.setdefault(way, {})[name] = all_s
            _tell(f"the leader {way}: {name}, {', '.join(f'{one_s:.2f} s' for one_s in all_s)}")
    finally:
        server.stop()


def _settings(plan: rounds.Plan) -> dict[str, str]:
    return {
        "measured": f"{plan.rounds} rounds of {plan.measure_s:g} s a figure, each after a warm-up "
        f"of {plan.warm_up_s:.2g} s",
        "replayed": f"{plan.history_events:,} events of one agent",
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def show(results: Results, arguments: argparse.Namespace) -> None:
    """Prints the tables and writes what was asked for."""
    print(tables.report(results))
    if (others := results.others()) is not None and others.median > OTHERS_MAX:
        _tell(f"others used {others.median:.0%} of the processors: figures of a busy machine")
    if arguments.json:
        arguments.json.write_text(results.to_json())
    if arguments.page:
        page.renew(arguments.page, results)
    if arguments.plots:
        from tests.bench import plots

        for path in plots.draw(results, arguments.plots):
            _tell(f"drawn: {path}")


@contextlib.contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    """A fresh folder, gone afterwards, which the user of PostgreSQL may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=wanted))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _tell(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    # Once: what follows ends the servers, and is not to be cut short.
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.known:
        show(Results.from_json(arguments.known.read_text()), arguments)
        return 0
    # Whoever asks this process to end wants its servers ended too.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with _folder(arguments.folder) as folder:
            results = measure(arguments, folder)
    except (BenchFailed, ClusterError) as failed:
        print(f"bench: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    show(results, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
