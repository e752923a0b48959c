"""The client process of a failover: commits until its standard input ends, notes each success.

    python -m tests.bench.failover_client SYSTEM ADDRESSES

Says a line when the first commit is acknowledged, and at the end the monotonic moment of every one.
How a client comes over the loss of a node is its own business.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time

from tests.bench.client import value_of
from tests.bench.work import SMALL_BYTES

CALLERS = 4


async def run(system: str, addresses: str) -> None:
    """Commits until nothing more is to be read."""
    module = importlib.import_module(f"tests.bench.clients.{system}")
    acknowledged_s: list[float] = []
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    async with module.FailoverClient(addresses) as client:

        async def caller(number: int) -> None:
            while not ended.is_set():
                await client.commit(f"failover/{number}", value_of(SMALL_BYTES))
                if not acknowledged_s:
                    print("committed", flush=True)
                acknowledged_s.append(time.monotonic())

        await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    print(json.dumps(acknowledged_s))


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
