#!/usr/bin/env python3
"""Kills nodes at chosen system calls and checks what they know when they come back.

    scripts/crashpoints.py [--points 30 | --all] [--seed S] [--folder DIR]

A point is the N-th time a thread makes a call such as fdatasync, rename or write. The last line is
the summary; exit code 0: nothing is wrong, 1: something is, and the folder that is named holds
data and logs, 2: cannot run here.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.environment import use_project_environment  # noqa: E402  # the path is set above

use_project_environment()

from tests.crashpoints import points  # noqa: E402  # only now is all it imports to be had
from tests.crashpoints.run import run  # noqa: E402  # as above

EXIT_CANNOT_RUN = 2
MISSED_SHARE_MAX = 0.2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=30)
    parser.add_argument("--all", action="store_true", help="every point of every role: hours")
    parser.add_argument("--seed", type=int, help="drawn if not given")
    parser.add_argument("--points-min", type=int, default=1, help="fewer are red")
    parser.add_argument("--folder", type=Path, help="where everything is kept, also when green")
    return parser


def main() -> int:
    arguments = _parser().parse_args()
    if reason := points.missing():
        print(f"crashpoints: cannot run here: {reason}", file=sys.stderr)
        return EXIT_CANNOT_RUN
    seed = random.randrange(1 << 32) if arguments.seed is None else arguments.seed
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="crashpoints-"))
    folder = folder.resolve()
    outcome = run(folder, seed, None if arguments.all else arguments.points)
    tried = outcome.points + len(outcome.missed)
    if outcome.points < arguments.points_min:
        outcome.violations.append(f"too little: {outcome.points} points were hit")
    if len(outcome.missed) > tried * MISSED_SHARE_MAX:
        outcome.violations.append(f"too little: missed {', '.join(outcome.missed)}")
    (folder / "report.json").write_text(json.dumps(outcome.to_dict(), indent=1))
    for violation in outcome.violations:
        print(f"VIOLATION: {violation}")
    if outcome.violations:
        wanted = "--all" if arguments.all else f"--points {arguments.points}"
        print(f"reproduce: scripts/crashpoints.py {wanted} --seed {seed}")
        print(f"everything that was seen: {folder}")
    elif arguments.folder is None:
        shutil.rmtree(folder)
    roles = ", ".join(f"{count} {role}" for role, count in outcome.points_by_role.items())
    counted = f"{outcome.points} points ({roles}), {len(outcome.missed)} missed"
    print(
        f"crashpoints: seed {seed}, {counted}, back within {outcome.reopened_s_max:g} s, "
        f"{len(outcome.violations)} violations"
    )
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
