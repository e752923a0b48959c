#!/usr/bin/env python3
"""Runs the simulated cluster of tests/simulation over many seeds, and says what it met.

    scripts/simulate.py [--seeds 100] [--start 0] [--seconds S] [--jobs 1] [--verbose]
    scripts/simulate.py --mutant NAME        one guard of the adapter taken out: must be noticed
    scripts/simulate.py --list-mutants

One seed is one run, the same on every machine: the process starts itself again with hash
randomisation off. --seconds replaces each seed's virtual seconds of faults. Exit code 0: no
violation; 1: a violation, with the command that shows it again.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "cluster")]

from tests.simulation.mutants import MUTANTS, mutation  # noqa: E402  # the path is set above
from tests.simulation.options import draw  # noqa: E402  # as above
from tests.simulation.world import Report, World  # noqa: E402  # as above

MUST_REACH = (
    "leader elected under clog",
    "leader elected in a partition",
    "conflicting entries taken back",
    "acknowledgement of an earlier term dropped",
    "append of an earlier term rejected",
    "prevote refused",
    "snapshot installed",
    "interrupted install finished",
    "learner became a member",
    "removed node told by a peer",
    "transfer ordered",
    "stopped by an error of its disk",
    "crashed at an operation of its disk",
    "journal: cut off what a crash left unfinished",
    "window was full",
)
"""Rare things that a night of seeds must have met, or it proves less than it says."""


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
    began = time.monotonic()
    seeds = range(arguments.start, arguments.start + arguments.seeds)
    one = partial(run_seed, seconds=arguments.seconds, mutant=arguments.mutant)
    reports: list[Report] = []
    with multiprocessing.Pool(arguments.jobs) as pool:
        for report in pool.imap(one, seeds):
            reports.append(report)
            if arguments.verbose:
                print(f"seed {report.seed}: {report.virtual_s:.1f} s, trace {report.trace}")
            if report.violation:
                break
    _summarise(reports, time.monotonic() - began, verbose=arguments.verbose)
    failed = reports[-1]
    if not failed.violation:
        return 0
    print(f"seed {failed.seed}: {failed.violation}")
    if failed.details:
        print(failed.details, end="")
    print(f"again: {_command(failed.seed, arguments)}")
    return 1


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
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--seconds", type=float, help="virtual seconds of faults in each run")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--mutant", default="", choices=["", *MUTANTS], metavar="NAME")
    parser.add_argument("--list-mutants", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="each seed, and all counters")
    return parser.parse_args()


def _summarise(reports: list[Report], real_s: float, *, verbose: bool) -> None:
    counts: Counter[str] = Counter()
    marks: Counter[str] = Counter()
    for report in reports:
        counts += report.counts
        marks += report.marks
    virtual_s = sum(report.virtual_s for report in reports)
    faults = sum(count for what, count in counts.items() if what.startswith("fault: "))
    operations = sum(counts.values()) - faults
    violations = sum(1 for report in reports if report.violation)
    print(
        f"{len(reports)} seeds, {virtual_s / 3600:.2f} virtual hours ({virtual_s / real_s:.0f} x "
        f"real time), {operations} operations ({counts['write: done']} writes acknowledged, "
        f"{counts['read: done']} reads), {faults} faults, {violations} violations"
    )
    print("reached: " + ", ".join(f"{what} {marks[what]}" for what in MUST_REACH))
    if verbose:
        for what, count in sorted([*counts.items(), *marks.items()]):
            print(f"{count:>9} {what}")


def _command(seed: int, arguments: argparse.Namespace) -> str:
    command = f"scripts/simulate.py --seeds 1 --start {seed}"
    if arguments.seconds is not None:
        command += f" --seconds {arguments.seconds:g}"
    return command + (f" --mutant {arguments.mutant!r}" if arguments.mutant else "")


if __name__ == "__main__":
    sys.exit(main())
