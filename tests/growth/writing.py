"""Owns what is written to a store that grows: the same stream of submissions for the same seed.

A few thousand agents of which a few do most of the work, values of 200 bytes, a handful of clients
that acknowledge what they were told. It must not know who applies what it makes.
"""

from __future__ import annotations

import random
from itertools import accumulate

from statehouse.core import codec, validation
from statehouse.core.model import Kind, Operation, Submission, Transaction

NAMESPACE = "default"
AGENTS = 3000
KEYS_OF_AN_AGENT = 100
VALUE_BYTES = 200
_CLIENTS = 16
_UNACKNOWLEDGED = 64

_SHARES = list(accumulate(1 / rank for rank in range(1, AGENTS + 1)))


def agent_name(rank: int) -> str:
    """Agent 0 writes most, agent 1 half as much, and so on."""
    return f"agent-{rank:04d}"


def key_name(number: int) -> str:
    return f"key-{number:02d}"


def value_of(number: int) -> bytes:
    """JSON text of VALUE_BYTES bytes, different for each number and of little use to compress."""
    noise = random.Random(number).randbytes((VALUE_BYTES - 2) // 2)
    return b'"' + noise.hex().encode() + b'"'


class Writer:
    """Submissions without end, made as the services make them."""

    def __init__(self, seed: int = 1, born_at: int = 0) -> None:
        self._born_at = born_at
        self._random = random.Random(seed)
        self._clients = [self._random.randbytes(16) for _ in range(_CLIENTS)]
        self._values = [value_of(number) for number in range(4096)]
        self._written = 0

    def place(self) -> tuple[str, str]:
        """An agent and a key of it, drawn as writes draw them."""
        (rank,) = self._random.choices(range(AGENTS), cum_weights=_SHARES)
        return agent_name(rank), key_name(self._random.randrange(KEYS_OF_AN_AGENT))

    def group(self, count: int) -> list[bytes]:
        """The next `count` submissions, encoded."""
        draw = self._random
        ranks = draw.choices(range(AGENTS), cum_weights=_SHARES, k=count)
        return [self._submission(agent_name(rank), draw.random()) for rank in ranks]

    def _submission(self, agent_id: str, luck: float) -> bytes:
        turn, which = divmod(self._written, _CLIENTS)
        self._written += 1
        key = key_name(int(luck * KEYS_OF_AN_AGENT))
        value = self._values[int(luck * 1e6) % len(self._values)]
        transaction = Transaction(
            client_id=self._clients[which],
            sequence=turn + 1,
            txn_id=f"txn-{which}-{turn + 1}",
            operations=(Operation(NAMESPACE, agent_id, key, Kind.JSON.value, value),),
        )
        submission = Submission(
            born_at=self._born_at,
            acknowledged_through=max(0, turn - _UNACKNOWLEDGED),
            transaction=validation.check_transaction(transaction),
        )
        return codec.encode_submission(submission)
