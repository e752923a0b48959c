"""The client process of the bench: connects to one system, does its work, tells what it measured.

    python -m tests.bench.client < job

A job comes as JSON on the standard input; each sample goes out as a line of JSON as soon as it is
there. The system is seen from outside only: a name, an address, the processes whose processor time
is read. An error of any call ends the process: a figure over failed calls is none.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import random
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.bench import processes
from tests.bench.figures import Sample, sample_of
from tests.bench.load import Window, by_tasks, by_threads
from tests.bench.work import COMMIT, GET_AT, MIXED, REPLAY, SMALL_BYTES, Work

if TYPE_CHECKING:
    from tests.bench.clients.interface import BlockingClient, Client
    from tests.bench.load import Call

KEYS = 1000
FILLERS = 64
"""Callers that write what is there before anything is measured."""

PART = 100
"""Events of the history that are handed over at once."""


@dataclass(frozen=True, slots=True)
class Job:
    """What one client process is to do with one system in one round."""

    system: str
    address: str
    server_pids: list[int]
    works: list[Work]
    warm_up_s: float
    measure_s: float
    history_events: int
    history_is_there: bool

    @classmethod
    def from_json(cls, text: str) -> Job:
        job = json.loads(text)
        return cls(**{**job, "works": [Work(**work) for work in job["works"]]})


def value_of(size_bytes: int) -> bytes:
    """Bytes no system can store in less: the same in every run."""
    return random.Random(size_bytes).randbytes(size_bytes)


def keys_of(value_bytes: int) -> list[str]:
    """The keys that hold values of that size."""
    return [f"{value_bytes}/{number:04}" for number in range(KEYS)]


class Bench:
    """The work of one job on one open client."""

    def __init__(self, client: Client, job: Job) -> None:
        self._client = client
        self._job = job
        self._point: Any = None

    async def prepare(self) -> None:
        """Writes every key, takes the point the past is read at, and writes every key again."""
        sizes = {work.value_bytes for work in self._job.works if work.kind != REPLAY}
        for again in (False, True):
            if again:
                self._point = await self._client.now()
            for size_bytes in sorted(sizes):
                value = value_of(size_bytes)
                await _at_once(
                    partial(self._client.commit, key, value) for key in keys_of(size_bytes)
                )
        if not self._job.history_is_there and any(w.kind == REPLAY for w in self._job.works):
            value = value_of(SMALL_BYTES)
            events = range(self._job.history_events)
            parts = [events[first : first + PART] for first in events[::PART]]
            await _at_once(partial(self._client.add_history, part, value) for part in parts)

    async def measure(self, work: Work) -> Sample:
        """One sample."""
        if work.kind == REPLAY:
            return await self._replay(work)
        usage = processes.Usage(self._job.server_pids)
        window = Window(self._job.warm_up_s, self._job.measure_s, on_edge=usage.read)
        if work.threads:
            module = _module(self._job.system)
            with module.BlockingClient(self._job.address) as client:
                calls = [_blocking_commit(client, work, seed) for seed in range(work.callers)]
                # This process has nothing else to do meanwhile.
                by_threads(calls, window)
        else:
            await by_tasks([self._call(work, seed) for seed in range(work.callers)], window)
        return sample_of(work, window.took_s, window.lasted_s, usage.spent())

    def _call(self, work: Work, seed: int) -> Call:
        choose = random.Random(seed).choice
        keys, value, client, point = (
            keys_of(work.value_bytes),
            value_of(work.value_bytes),
            self._client,
            self._point,
        )
        writes = work.kind == COMMIT or (work.kind == MIXED and seed % 2 == 0)
        if writes:
            return lambda: client.commit(choose(keys), value)
        if work.kind == GET_AT:
            return lambda: client.get_at(choose(keys), point)
        return lambda: client.get(choose(keys))

    async def _replay(self, work: Work) -> Sample:
        events = self._job.history_events
        usage = processes.Usage(self._job.server_pids)
        usage.read()
        began_s = time.perf_counter()
        read_bytes = await self._client.replay(events)
        lasted_s = time.perf_counter() - began_s
        usage.read()
        if read_bytes != events * SMALL_BYTES:
            raise RuntimeError(f"the replay of {events} events gave {read_bytes} bytes of values")
        return sample_of(work, [], lasted_s, usage.spent(), count=events)


def _blocking_commit(client: BlockingClient, work: Work, seed: int) -> Any:
    choose = random.Random(seed).choice
    keys, value = keys_of(work.value_bytes), value_of(work.value_bytes)
    return lambda: client.commit(choose(keys), value)


async def _at_once(calls: Any) -> None:
    """Makes all calls, so many at a time."""
    waiting = iter(calls)

    async def fill() -> None:
        for call in waiting:
            await call()

    async with asyncio.TaskGroup() as group:
        for _ in range(FILLERS):
            group.create_task(fill())


def _module(system: str) -> Any:
    return importlib.import_module(f"tests.bench.clients.{system}")


async def run(job: Job) -> None:
    """Prepares, measures what the system can do, and prints the samples."""
    async with _module(job.system).Client(job.address) as client:
        bench = Bench(client, job)
        await bench.prepare()
        for work in job.works:
            if work.kind in client.kinds:
                sample = await bench.measure(work)
                print(json.dumps(sample.to_dict()), flush=True)


if __name__ == "__main__":
    asyncio.run(run(Job.from_json(sys.stdin.read())))
