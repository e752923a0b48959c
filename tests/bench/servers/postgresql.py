"""Owns the PostgreSQL server of the bench: one, with every setting as it comes."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

from tests.bench.servers.interface import (
    HOST,
    Child,
    first_line,
    free_ports,
    missing_library,
    wait_for,
)

INSTALLED = Path("/usr/lib/postgresql")
OWNER = "postgres"
"""The user Debian makes for it; PostgreSQL refuses to run as root."""

INIT_TIMEOUT_S = 120


class Server:
    """See interface.Server."""

    setup = "1 server, defaults: fsync and synchronous_commit on; no replica"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._user = OWNER if os.geteuid() == 0 else None
        (self._port,) = free_ports(1)
        self._child: Child | None = None

    @staticmethod
    def missing() -> str:
        if _programs() is None:
            return f"no server below {INSTALLED}: apt-get install postgresql"
        if os.geteuid() == 0 and not _is_user(OWNER):
            return f"no user {OWNER}, and PostgreSQL refuses to run as root"
        return missing_library("psycopg") or missing_library("psycopg_pool")

    def version(self) -> str:
        return first_line([str(_required_programs() / "postgres"), "--version"]).split()[2]

    def start(self) -> None:
        if not self._data.exists():
            self._initialise()
        self._child = Child(
            [
                str(_required_programs() / "postgres"),
                *("-D", str(self._data), "-p", str(self._port), "-h", HOST),
                *("-k", "", "-c", "fsync=on", "-c", "synchronous_commit=on"),
            ],
            self._folder / "log",
            stop_signal=signal.SIGINT,
            user=self._user,
        )
        wait_for(self._ready, "PostgreSQL takes connections", [self._child])

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None

    @property
    def address(self) -> str:
        return f"host={HOST} port={self._port} user=bench dbname=postgres"

    @property
    def pids(self) -> list[int]:
        return [self._child.pid] if self._child is not None else []

    def _initialise(self) -> None:
        self._folder.mkdir(exist_ok=True)
        if self._user is not None:
            shutil.chown(self._folder, self._user, self._user)
        subprocess.run(
            [
                str(_required_programs() / "initdb"),
                *("-D", str(self._data), "-U", "bench", "--auth=trust", "-E", "UTF8"),
                *("--locale=C", "--no-instructions"),
            ],
            stdout=subprocess.DEVNULL,
            user=self._user,
            group=self._user,
            cwd=self._folder,
            check=True,
            timeout=INIT_TIMEOUT_S,
        )

    def _ready(self) -> bool:
        asked = subprocess.run(
            [str(_required_programs() / "pg_isready"), "-q", "-h", HOST, "-p", str(self._port)],
            check=False,
            timeout=10,
        )
        return asked.returncode == 0


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _programs() -> Path | None:
    """Where the newest installed release has its programs."""
    found = [path.parent for path in INSTALLED.glob("*/bin/postgres")]
    return max(found, key=lambda path: float(path.parent.name), default=None)


def _required_programs() -> Path:
    found = _programs()
    if found is None:
        raise FileNotFoundError(f"no PostgreSQL server below {INSTALLED}")
    return found
