"""Owns the calls of one client in one process: drives endpoints.py and retry.py over transport.py.

All decisions are theirs; this file only waits, sends, and tells them what happened. After a fork
the child makes a session of its own.
"""

from __future__ import annotations

import os
import random
import threading
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from statehouse_proto.services import CLUSTER_SERVICE, STATE_SERVICE, Method, methods
from statehouse_proto.v2 import cluster_pb2 as cluster

from statehouse_sdk.endpoints import Endpoints
from statehouse_sdk.faults import CallFailed
from statehouse_sdk.op_ids import OpIds
from statehouse_sdk.retry import RULES, Attempts, GiveUp, Rule
from statehouse_sdk.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from statehouse_sdk.config import ClientConfig

Answer = TypeVar("Answer")

METHODS: Final[dict[str, Method]] = {**methods(STATE_SERVICE), **methods(CLUSTER_SERVICE)}

STREAM_QUIET_S: Final = 5.0
"""A finite stream whose node sends nothing for so long is asked for elsewhere."""


MEMBERS_AGE_S_MAX: Final = 10.0
"""How old the known list of members grows before a node that answers is asked for it again: all of
them may be replaced, one by one, while a client lives."""

MEMBERS_TIMEOUT_S: Final = 0.5


class Session:
    """Channels, knowledge of the cluster and op ids of one client; thread-safe."""

    def __init__(self, config: ClientConfig) -> None:
        self.pid = os.getpid()
        self.op_ids = OpIds()
        self.timeout_s = config.timeout_s
        self._transport = Transport()
        self._endpoints = Endpoints(config.endpoints)
        self._lock = threading.Lock()
        self._members_learned_s = time.monotonic()
        # Seeded by the system, so that the clients of a forked pool do not back off in step.
        self._random = random.Random()

    def close(self) -> None:
        """Closes the channels; calls under way fail."""
        self._transport.close()

    def deadline_s(self) -> float:
        """The monotonic moment at which a call that starts now has to be over."""
        return time.monotonic() + self.timeout_s

    def jitter(self) -> float:
        """A factor from a half to one, so that those who wait do not return in step."""
        return self._random.uniform(0.5, 1.0)

    def attempts(self, name: str, deadline_s: float, *, uncertain: bool = False) -> Attempts:
        """The book of one call of the method of that name."""
        return Attempts(
            RULES[name][0],
            started_s=time.monotonic(),
            deadline_s=deadline_s,
            random=self._random.random,
            contacted=self._endpoints.contacted,
            uncertain=uncertain,
        )

    def unary(self, name: str, request: Any, *, stale: bool = False) -> Any:
        """The answer to a unary call, after as many attempts as its rule and time allow."""
        attempts = self.attempts(name, self.deadline_s())
        return self.drive(attempts, self._sender(name, request), leader=not stale)

    def unary_attempt(self, name: str, request: Any, attempts: Attempts) -> Any:
        """One attempt of a unary call at the leader, or who is thought to be; CallFailed."""
        return self._attempt(attempts, self._sender(name, request), leader=True)

    def collect(self, name: str, request: Any, *, stale: bool = False) -> list[Any]:
        """All messages of a finite stream of one attempt, so that they speak for one commit_ts."""

        def send(address: str, timeout_s: float) -> list[Any]:
            quiet_s = min(timeout_s, STREAM_QUIET_S)
            return list(self.open_stream(name, address, request, quiet_s))

        return self.drive(self.attempts(name, self.deadline_s()), send, leader=not stale)

    def send(self, name: str, address: str, request: Any, timeout_s: float) -> Any:
        """One attempt of a unary call at this node; raises CallFailed."""
        return self._transport.call(
            address,
            METHODS[name],
            request,
            timeout_s,
            sure=_must_be_sure(name),
            anew=_must_not_repeat(name),
        )

    def ask(self, name: str, address: str, request: Any, timeout_s: float) -> Any:
        """One attempt of a unary call at this very node; raises its error."""
        try:
            return self.send(name, address, request, timeout_s)
        except CallFailed as failure:
            raise failure.fault.error from None

    def open_stream(
        self, name: str, address: str, request: Any, quiet_s: float | None
    ) -> Iterator[Any]:
        """One attempt of a streamed call at this node; CallFailed comes out while iterating."""
        return self._transport.stream(
            address,
            METHODS[name],
            request,
            quiet_s,
            sure=_must_be_sure(name),
            anew=_must_not_repeat(name),
        )

    def drive(
        self, attempts: Attempts, send: Callable[[str, float], Answer], *, leader: bool = True
    ) -> Answer:
        """Repeats `send(address, timeout_s)` until it answers or `attempts` gives up."""
        while True:
            try:
                return self._attempt(attempts, send, leader=leader)
            except CallFailed as failure:
                self.pause_or_raise(attempts, failure)

    def pause_or_raise(self, attempts: Attempts, failure: CallFailed) -> None:
        """Waits before the next attempt, or raises the final error."""
        action = attempts.failed(failure.fault, time.monotonic())
        if isinstance(action, GiveUp):
            raise action.error from None
        time.sleep(action.delay_s)

    def choose(self, attempts: Attempts, *, leader: bool) -> str:
        """The address to ask now; waits if every node rests, within the time left."""
        with self._lock:
            choice = self._endpoints.choose(time.monotonic(), leader=leader)
        if choice.wait_s > 0:
            time.sleep(min(choice.wait_s, attempts.remaining_s(time.monotonic())))
        return choice.address

    def succeeded(self, address: str, *, as_leader: bool) -> None:
        """The node gave a good answer."""
        with self._lock:
            self._endpoints.answered(address, as_leader=as_leader)

    def failed(self, address: str, failure: CallFailed) -> None:
        """The node failed, or refused and perhaps named the leader."""
        fault = failure.fault
        with self._lock:
            if failure.broken or fault.stalled:
                self._endpoints.contacted |= fault.reached
                self._endpoints.failed(address, time.monotonic())
            elif fault.retry:
                self._endpoints.refused(address, fault.leader_address, fault.leader_term)
            else:
                self._endpoints.answered(address, as_leader=False)

    def learn(self, addresses: list[str]) -> None:
        """The client addresses of the members, by the word of a node."""
        with self._lock:
            self._endpoints.learned(addresses)

    def keep_up(self, address: str) -> None:
        """Learns the members anew from a node that has just answered, if it is time to."""
        now_s = time.monotonic()
        with self._lock:
            if now_s - self._members_learned_s < MEMBERS_AGE_S_MAX:
                return
            self._members_learned_s = now_s
        try:
            status: cluster.StatusResponse = self.send(
                "Status", address, cluster.StatusRequest(), MEMBERS_TIMEOUT_S
            )
        except CallFailed:
            return
        # A node without a leader may be one that was removed, or left behind.
        if status.leader_name:
            self.learn([member.client_address for member in status.members])

    def addresses(self) -> tuple[str, ...]:
        """All nodes known by now."""
        with self._lock:
            return self._endpoints.addresses

    def _sender(self, name: str, request: Any) -> Callable[[str, float], Any]:
        return lambda address, timeout_s: self.send(name, address, request, timeout_s)

    def _attempt(
        self, attempts: Attempts, send: Callable[[str, float], Answer], *, leader: bool
    ) -> Answer:
        address = self.choose(attempts, leader=leader)
        try:
            answer = send(address, attempts.timeout_s(time.monotonic()))
        except CallFailed as failure:
            self.failed(address, failure)
            raise
        self.succeeded(address, as_leader=leader)
        self.keep_up(address)
        return answer


def _must_be_sure(name: str) -> bool:
    """Whether it matters that an attempt without a connection surely had no effect."""
    return RULES[name][0] is not Rule.READ


def _must_not_repeat(name: str) -> bool:
    """Whether an attempt must not even leave for a node that died since it was last heard."""
    return RULES[name][0] is Rule.NEVER
