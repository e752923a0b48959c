#!/usr/bin/env python3
"""Runs a real cluster under fire and checks every answer it gave: real processes, real wires.

    scripts/chaos.py --minutes 2 [--seed S] [--nodes 3] [--rate 400] [--only KIND ...]

A seed gives the schedule of faults. The last line is the summary; exit code 0: nothing is wrong, 1:
something is, and the folder that is named holds history, logs and data, 2: cannot run here. Needs
root, for the network namespaces the nodes live in; all of it is gone afterwards.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.environment import use_project_environment  # noqa: E402  # the path is set above

use_project_environment()

from tests.chaos import sandbox  # noqa: E402  # only now is all it imports to be had
from tests.simulation.mutants import MUTANTS  # noqa: E402  # as above

EXIT_CANNOT_RUN = 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=2.0, help="of faults")
    parser.add_argument("--seed", type=int, help="drawn if not given")
    parser.add_argument("--nodes", type=int, default=3, choices=(3, 5))
    parser.add_argument("--rate", type=float, default=400.0, help="operations a second, at most")
    parser.add_argument("--only", action="append", default=[], metavar="KIND")
    parser.add_argument(
        "--faults-min",
        type=int,
        default=1,
        help="fewer are red; a slow machine gets twice the minutes for them",
    )
    parser.add_argument("--operations-min", type=int, default=100, help="fewer are red")
    parser.add_argument(
        "--mutant",
        default="",
        choices=["", *MUTANTS],
        metavar="NAME",
        help="a guard the nodes do without, one of scripts/simulate.py --list-mutants",
    )
    parser.add_argument("--folder", type=Path, help="where everything is kept, also when green")
    return parser


def _report(folder: Path) -> dict[str, Any]:
    """What the run found; a run that broke off is a violation by itself."""
    try:
        report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    except FileNotFoundError:
        return {"violations": ["the run broke off before it was judged"]}
    return report


def _judge(report: dict[str, Any], arguments: argparse.Namespace) -> list[str]:
    violations = [str(one) for one in report["violations"]]
    for what in ("faults", "operations"):
        done, wanted = report.get(what, 0), getattr(arguments, f"{what}_min")
        if done < wanted:
            violations.append(f"too little: {done} {what}, at least {wanted} were wanted")
    return violations


def main() -> int:
    arguments = _parser().parse_args()
    if reason := sandbox.missing():
        print(f"chaos: cannot run here: {reason}", file=sys.stderr)
        return EXIT_CANNOT_RUN
    seed = random.randrange(1 << 32) if arguments.seed is None else arguments.seed
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    shape = ["--minutes", f"{arguments.minutes:g}", "--seed", str(seed)]
    shape += ["--nodes", str(arguments.nodes), "--rate", f"{arguments.rate:g}"]
    shape += ["--faults-min", str(arguments.faults_min)]
    shape += ["--mutant", arguments.mutant]
    shape += [word for kind in arguments.only for word in ("--only", kind)]
    sandbox.run_inside("tests.chaos.run", ["--folder", str(folder), *shape])
    report = _report(folder)
    violations = _judge(report, arguments)
    for violation in violations:
        print(f"VIOLATION: {violation}")
    if violations:
        print(f"reproduce: scripts/chaos.py {shlex.join(shape)}")
        print(f"everything that was seen: {folder}")
    verdict = f"{len(violations)} violations" if violations else "0 violations"
    kinds = len(report.get("faults_by_kind", {}))
    print(
        f"chaos: seed {seed}, {arguments.nodes} nodes, {report.get('faults', 0)} faults of "
        f"{kinds} kinds, {report.get('operations', 0)} operations, {verdict}"
    )
    if not violations and arguments.folder is None:
        shutil.rmtree(folder)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
