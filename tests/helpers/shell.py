"""Runs `statehousectl` as people do: a process of its own, told of one cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scripts.local_cluster import LocalCluster

CTL = [sys.executable, "-m", "statehouse_sdk.cli"]
TIMEOUT_S = 60


class Shell:
    """Runs the program against one cluster."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.environment = {**os.environ, "STATEHOUSE_URL": cluster.endpoints}

    def __call__(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*CTL, *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )

    def done(self, *arguments: str, stdin: str = "") -> str:
        """The standard output of a command that must succeed."""
        ended = self(*arguments, stdin=stdin)
        if ended.returncode != 0:
            raise AssertionError(f"{' '.join(arguments)}: {ended.returncode}: {ended.stderr}")
        return ended.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The program under way; whoever starts it ends it."""
        return subprocess.Popen(
            [*CTL, *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
