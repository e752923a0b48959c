#!/usr/bin/env python3
"""Runs the simulated cluster of tests/simulation over many seeds, and says what it met.

    scripts/simulate.py [--seeds 100] [--start 0] [--seconds S] [--jobs 1] [--verbose]
    scripts/simulate.py --mutant NAME        one guard taken out: must be noticed
    scripts/simulate.py --list-mutants

One seed is one run, the same on every machine: the process starts itself again with hash
randomisation off. --seconds replaces each seed's virtual seconds of faults. A mutant's script is
played first, if it has one; without --start its seeds begin at the one known to find it. Exit code
0: no violation; 1: a violation, with the command that shows it again, or a run that did too little
to prove anything.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
import traceback
from dataclasses import replace
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("cluster", "proto", "sdk"))]

from tests.simulation.known_seeds import seed_of  # noqa: E402  # the path is set above
from tests.simulation.mutants import MUTANTS, mutation  # noqa: E402  # as above
from tests.simulation.options import draw  # noqa: E402  # as above
from tests.simulation.scripted import SCRIPTS, played  # noqa: E402  # as above
from tests.simulation.summary import summed  # noqa: E402  # as above
from tests.simulation.world import Report, World  # noqa: E402  # as above


def main() -> int:
    arguments = _parse()
    if arguments.list_mutants:
        print("\n".join(MUTANTS))
        return 0
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(
            sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"}
        )
    # The library warns about what mutants make it do; the checker says it better.
    logging.disable(logging.CRITICAL)
    if arguments.mutant in SCRIPTS:
        with mutation(arguments.mutant):
            violation = played(arguments.mutant)
        if violation:
            print(f"script: {violation}")
            return 1
    return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    start = seed_of(arguments.mutant) if arguments.start is None else arguments.start
    seeds = range(start, start + arguments.seeds)
    one = partial(run_seed, seconds=arguments.seconds, mutant=arguments.mutant)
    reports: list[Report] = []
    with multiprocessing.Pool(arguments.jobs) as pool:
        for report in pool.imap(one, seeds):
            reports.append(report)
            if arguments.verbose:
                print(f"seed {report.seed}: {report.virtual_s:.1f} s, trace {report.trace}")
            if report.violation:
                break
    summary = summed(reports)
    print(summary.line(time.monotonic() - began))
    print(f"reached: {summary.reached()}")
    if arguments.verbose:
        for what, count in sorted(summary.counts.items()):
            print(f"{count:>9} {what}")
    failed = reports[-1]
    if failed.violation:
        print(f"seed {failed.seed}: {failed.violation}")
        print(failed.details, end="")
        print(f"again: {_command(failed.seed, arguments)}")
        return 1
    # Shorter runs are asked for by whoever knows why; mutants have only to be caught.
    missing = [] if arguments.seconds or arguments.mutant else summary.too_little()
    for what in missing:
        print(f"too little: {what}")
    return 1 if missing else 0


def run_seed(seed: int, seconds: float | None, mutant: str) -> Report:
    """One run; in a process of its own or not."""
    options = draw(seed)
    if seconds is not None:
        options = replace(options, faulty_s=seconds)
    with mutation(mutant):
        report = World(options).run()
    if report.cause is not None:
        report.details = "".join(traceback.format_exception(report.cause))
        report.cause = None
    return report


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=100, help="how many, one after the other")
    parser.add_argument("--start", type=int, help="the first seed, or 0")
    parser.add_argument("--seconds", type=float, help="virtual seconds of faults in each run")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--mutant", default="", choices=["", *MUTANTS], metavar="NAME")
    parser.add_argument("--list-mutants", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="each seed, and all counters")
    return parser.parse_args()


def _command(seed: int, arguments: argparse.Namespace) -> str:
    command = f"scripts/simulate.py --seeds 1 --start {seed}"
    if arguments.seconds is not None:
        command += f" --seconds {arguments.seconds:g}"
    return command + (f" --mutant {arguments.mutant!r}" if arguments.mutant else "")


if __name__ == "__main__":
    sys.exit(main())
