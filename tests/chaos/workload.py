"""One client process of a chaos run: a few clients that write and read at random and note it all.

    python -m tests.chaos.workload ENDPOINTS FOLDER NAME CLIENTS SEED OPERATIONS_PER_SECOND

Runs until standard input ends. What happened lies in FOLDER/history-NAME.jsonl, and what must not
happen to a client, whatever becomes of the cluster, in FOLDER/surprises-NAME.txt.
"""

from __future__ import annotations

import random
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.client import Client
from tests.checkers.history import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENT_TIMEOUTS_S = (2.0, 4.0, 8.0)
NEW_CONNECTION_SHARE = 0.002

Mix = tuple[tuple[str, int], ...]

WRITER: Mix = (
    ("write", 30),
    ("write_several", 10),
    ("delete", 5),
    ("read_and_write", 10),
    ("write_if", 5),
    ("get", 22),
    ("get_many", 6),
    ("get_at", 4),
    ("get_stale", 4),
    ("scan", 3),
    ("replay", 1),
)
"""What most clients do, and how often."""

READER: Mix = (("get", 10), ("get_many", 3), ("scan", 1))
"""What the last client of each process does: it waits for no commit, so it goes on asking a leader
that lost the lead without knowing it."""


def live(
    client: Client, mix: Mix, draw: random.Random, rate: float, stopped: threading.Event
) -> None:
    """Operations one after the other, at most `rate` a second, until stopped."""
    names, shares = zip(*mix, strict=True)
    actions: dict[str, Callable[[], None]] = {name: getattr(client, name) for name in names}
    next_s = time.monotonic()
    while not stopped.is_set():
        if draw.random() < NEW_CONNECTION_SHARE:
            client.reconnect()
        actions[draw.choices(names, shares)[0]]()
        next_s = max(next_s + draw.expovariate(rate), time.monotonic() - 1.0)
        stopped.wait(next_s - time.monotonic())


def main(endpoints: str, folder: Path, name: str, clients: int, seed: int, rate: float) -> None:
    """Starts the clients, and ends them with standard input."""
    recorder = Recorder(folder / f"history-{name}.jsonl")
    surprises = folder / f"surprises-{name}.txt"
    stopped = threading.Event()

    def run(number: int) -> None:
        draw = random.Random(f"{seed} {name} {number}")
        timeout_s = CLIENT_TIMEOUTS_S[number % len(CLIENT_TIMEOUTS_S)]
        mix = READER if number == clients - 1 else WRITER
        try:
            client = Client(f"{name}.{number}", endpoints, timeout_s, draw, recorder)
            live(client, mix, draw, rate / clients, stopped)
            client.close()
        except Exception:
            with surprises.open("a") as file:
                file.write(f"client {name}.{number}: {traceback.format_exc()}\n")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stopped.set()
    for thread in threads:
        thread.join()
    recorder.close()


if __name__ == "__main__":
    endpoints, folder, name, clients, seed, rate = sys.argv[1:]
    main(endpoints, Path(folder), name, int(clients), int(seed), float(rate))
