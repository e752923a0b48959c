#!/usr/bin/env python3
"""Measures what a growing store costs: commits, reads, starts, memory, replays, new members.

    scripts/growth.py costs [--events 50000 5000000]   # each store is made first: minutes
    scripts/growth.py replay [--events 300000]         # commits beside full replays, three nodes
    scripts/growth.py join [--events 2000000]          # a new member catches up by snapshot
    scripts/growth.py load [--callers 1 64 256]        # processor time of a commit, three nodes

Stores are kept under --folder and used again. Figures are printed as they come; --json FILE keeps
them. Exit code 0: within the bounds, 1: not, and the last lines say what exceeds which.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.environment import use_project_environment  # noqa: E402  # the path is set above

use_project_environment()

from scripts.local_cluster import LocalCluster  # noqa: E402  # only now is all it needs to be had
from tests.growth import beside, bounds, clusters, costs, seen_by_clients, starting  # noqa: E402  # as above

Figures = list[tuple[str, Any]]


def _costs(folder: Path, arguments: argparse.Namespace) -> tuple[Figures, list[str]]:
    figures: Figures = []
    seen: list[seen_by_clients.Seen] = []
    broken: list[str] = []
    for events in sorted(arguments.events or [50_000, 5_000_000]):
        cluster = clusters.grown(folder / f"grown-{events}", events)
        scratch = cluster.folder / "scratch"
        inside = costs.measure(cluster.node(1).data / "state", scratch)
        shutil.rmtree(scratch)
        try:
            started = starting.start(cluster)
            seen.append(seen_by_clients.measure(cluster.node(1).client_address))
        finally:
            cluster.stop()
        broken += bounds.start(started)
        for what in (inside, started, seen[-1]):
            figures.append((f"{events} events", what))
            print(f"{events} events: {what}", flush=True)
    return figures, broken + list(bounds.costs(seen[0], seen[-1], seen[0]._fields))


def _replay(folder: Path, arguments: argparse.Namespace) -> tuple[Figures, list[str]]:
    events = (arguments.events or [300_000])[0]
    cluster = clusters.grown(_copy(folder, events), events)
    figures: Figures = []
    broken: list[str] = []
    with clusters.running(cluster):
        for number in (2, 3):
            clusters.join(cluster, number)
        for callers in arguments.callers or (16, 64):
            told = beside.measure(cluster, callers=callers, seconds=5.0, rounds=3)
            print(f"{callers} callers: slowed by {told.slowed:.0%}: {told}", flush=True)
            figures.append((f"{callers} callers", told))
            broken += bounds.beside(told)
    return figures, broken


def _join(folder: Path, arguments: argparse.Namespace) -> tuple[Figures, list[str]]:
    events = (arguments.events or [2_000_000])[0]
    cluster = clusters.grown(_copy(folder, events), events)
    figures: Figures = []
    broken: list[str] = []
    with clusters.running(cluster):
        for number in (2, 3):
            told = clusters.join(cluster, number)
            print(f"node {number}: {told.megabytes_a_second:.0f} MB/s: {told}", flush=True)
            figures.append((f"node {number}", told))
            broken += bounds.join(told)
    return figures, broken


def _load(folder: Path, arguments: argparse.Namespace) -> tuple[Figures, list[str]]:
    cluster = LocalCluster(folder / "loaded", nodes=3, base_port=0)
    figures: Figures = []
    try:
        cluster.start()
        for callers in arguments.callers or (1, 64, 256):
            told = beside.load(cluster, callers, 6.0)
            print(f"{callers} callers: {told}", flush=True)
            figures.append((f"{callers} callers", told))
    finally:
        cluster.wipe()
    return figures, []


def _copy(folder: Path, events: int) -> Path:
    """A grown store that others may join; the one it is copied from stays alone."""
    copy = folder / "joined"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(clusters.grown(folder / f"grown-{events}", events).folder, copy)
    return copy


_MEASURES = {"costs": _costs, "replay": _replay, "join": _join, "load": _load}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measure", choices=_MEASURES)
    parser.add_argument("--events", type=int, nargs="+")
    parser.add_argument("--callers", type=int, nargs="+")
    parser.add_argument("--folder", type=Path, help="of the stores; a temporary one if not given")
    parser.add_argument("--json", type=Path, help="where the figures are written, too")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="growth-"))
    try:
        figures, broken = _MEASURES[arguments.measure](folder, arguments)
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)
    if arguments.json:
        told = [{"of": of, "what": type(f).__name__, **_plain(f)} for of, f in figures]
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")
    for sentence in broken:
        print(f"TOO MUCH: {sentence}")
    return 1 if broken else 0


def _plain(figure: Any) -> dict[str, float]:
    fields: dict[str, float] = figure._asdict()
    return fields


if __name__ == "__main__":
    sys.exit(main())
