"""One `statehoused` of a test's own, started by its command line; see `running`."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.helpers.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAEMON = (sys.executable, "-m", "statehouse.daemon")
WAIT_S = 30


@contextmanager
def running(command: list[str], log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and the address clients find it at, once it serves; asked to stop at the end."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        eventually(lambda: b"now=serving" in log.read_bytes(), timeout_s=WAIT_S)
        yield process, log.read_text().partition("listen=")[2].split()[0]
    finally:
        process.terminate()
        process.wait(WAIT_S)
