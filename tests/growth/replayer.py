"""A client process that replays everything from one node, over and over, until its input ends.

    python -m tests.growth.replayer ADDRESS

Prints a line when the first events are here, and at the end the events a second.
"""

from __future__ import annotations

import sys
import threading
import time

import grpc
from statehouse_proto.services import STATE_SERVICE, methods
from statehouse_proto.v2 import state_pb2

from tests.growth.writing import NAMESPACE

_REPLAY = methods(STATE_SERVICE)["Replay"].path


def main(address: str) -> None:
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    events, began = 0, time.monotonic()
    with grpc.insecure_channel(address) as channel:
        start = channel.unary_stream(_REPLAY)
        asked = state_pb2.ReplayRequest(namespace=NAMESPACE).SerializeToString()
        while not over.is_set():
            stream = start(asked)
            for payload in stream:
                if not events:
                    print("replaying", flush=True)
                events += len(state_pb2.ReplayResponse.FromString(payload).events)
                if over.is_set():
                    stream.cancel()
                    break
    print(events / (time.monotonic() - began))


if __name__ == "__main__":
    main(sys.argv[1])
