"""Owns the box a chaos run lives in: network, mounts and processes of its own.

Everything a run makes (interfaces, namespaces, small disks, processes) is made inside the box, so
all of it is gone when the run ends, however it ends: the kernel removes it with the last process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]

TOOLS = {
    "ip": "iproute2",
    "mount": "mount",
    "nft": "nftables",
    "nsenter": "util-linux",
    "strace": "strace",
    "tc": "iproute2",
    "unshare": "util-linux",
}
"""Each program a run calls, and the Debian package that has it."""

_BOX = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def missing() -> str:
    """Why no box can be made here, in a sentence; empty: one can."""
    lacking = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if lacking:
        return f"these Debian packages are not installed: {' '.join(lacking)}"
    tried = subprocess.run([*_BOX, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        return f"this user may not make namespaces ({tried.stderr.strip()}); run it as root"
    return ""


def run_inside(module: str, arguments: Sequence[str]) -> int:
    """Runs `python -m module` in a new box; returns its exit code."""
    command = [*_BOX, sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=ROOT, env=_environment()) as running:
        try:
            return running.wait()
        except BaseException:
            running.kill()
            raise


def furnish() -> None:
    """Called first inside the box: names of network namespaces are its own from here on."""
    if os.getpid() != 1:
        raise RuntimeError("this process is not in a box of its own; start it with run_inside")
    names = Path("/run/netns")
    names.mkdir(parents=True, exist_ok=True)
    command("mount", "-t", "tmpfs", "netns", str(names))


def command(*arguments: str, given: str | None = None) -> str:
    """Runs a system tool; returns what it said, or raises with what it complained about."""
    done = subprocess.run(arguments, input=given, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(arguments)} failed with {done.returncode}: {done.stderr.strip()}"
        )
    return done.stdout


def _environment() -> dict[str, str]:
    settings = {k: v for k, v in os.environ.items() if not k.startswith("STATEHOUSE_")}
    return settings | {"PYTHONPATH": str(ROOT)}
