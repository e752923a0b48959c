"""A client process that commits through one exchange, as many at once as it is told.

    python -m tests.growth.load ADDRESS --callers 64 --seconds 5

Prints one JSON object: commits, seconds, the median latency, the longest silence. It speaks bare
messages, so that what is measured is the nodes; it must not know how they are started.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from statistics import median

import grpc
from statehouse_proto.services import STATE_SERVICE, methods
from statehouse_proto.v2 import state_pb2

from tests.growth.writing import NAMESPACE, Writer, value_of

_EXCHANGE = methods(STATE_SERVICE)["Exchange"].path
_GET = methods(STATE_SERVICE)["Get"].path


class Load:
    """`callers` commits under way at any moment, until the time is over."""

    def __init__(self, callers: int, born_at: int) -> None:
        self._client_id = os.urandom(16)
        self._born_at = born_at
        self._writer = Writer(seed=int.from_bytes(os.urandom(4), "big"))
        self._values = [value_of(number) for number in range(256)]
        self._sequence = 0
        self._sent_at: dict[int, float] = {}
        self._ready = callers
        self._news = asyncio.Event()
        self.latencies_s: list[float] = []
        self.longest_silence_s = 0.0

    async def run(self, stream: grpc.aio.StreamStreamCall, seconds: float) -> None:
        until = time.monotonic() + seconds
        reading = asyncio.ensure_future(self._read(stream))
        while time.monotonic() < until and not reading.done():
            if not self._ready:
                self._news.clear()
                await asyncio.wait(
                    (asyncio.ensure_future(self._news.wait()), reading),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                continue
            calls = [self._call() for _ in range(self._ready)]
            self._ready = 0
            await stream.write(state_pb2.ExchangeRequest(calls=calls).SerializeToString())
        await stream.done_writing()
        await reading

    def _call(self) -> state_pb2.Call:
        self._sequence += 1
        self._sent_at[self._sequence] = time.monotonic()
        agent_id, key = self._writer.place()
        call = state_pb2.Call(id=self._sequence)
        op_id = call.commit.op_id
        op_id.client_id, op_id.sequence = self._client_id, self._sequence
        op_id.acknowledged_through = next(iter(self._sent_at)) - 1
        op_id.born_at = self._born_at
        operation = call.commit.operations.add(namespace=NAMESPACE, agent_id=agent_id, key=key)
        operation.value.json = self._values[self._sequence % len(self._values)]
        return call

    async def _read(self, stream: grpc.aio.StreamStreamCall) -> None:
        told_at = time.monotonic()
        while (payload := await stream.read()) is not grpc.aio.EOF:
            now = time.monotonic()
            self.longest_silence_s = max(self.longest_silence_s, now - told_at)
            told_at = now
            for reply in state_pb2.ExchangeResponse.FromString(payload).replies:
                if reply.code:
                    raise RuntimeError(f"a commit was refused: {reply.error}")
                self.latencies_s.append(now - self._sent_at.pop(reply.id))
                self._ready += 1
            self._news.set()


async def _main(address: str, callers: int, seconds: float) -> dict[str, float]:
    async with grpc.aio.insecure_channel(address) as channel:
        asked = state_pb2.GetRequest(namespace=NAMESPACE, agent_id="load", key="none")
        told = await channel.unary_unary(_GET)(asked.SerializeToString())
        load = Load(callers, state_pb2.GetResponse.FromString(told).served_at)
        started = time.monotonic()
        await load.run(channel.stream_stream(_EXCHANGE)(), seconds)
        spent_s = time.monotonic() - started
    return {
        "commits": len(load.latencies_s),
        "seconds": spent_s,
        "latency_ms": median(load.latencies_s) * 1e3,
        "silence_ms": load.longest_silence_s * 1e3,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(_main(arguments.address, arguments.callers, arguments.seconds))))
