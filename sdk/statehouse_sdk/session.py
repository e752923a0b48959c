"""Owns what one client knows and decides of its calls: drives endpoints.py and retry.py.

It waits for nothing: each call is a plan (plans.py) whose steps a driver takes, in a thread
(blocking.py) or on an event loop (awaiting.py). After a fork the child makes a session of its own.
"""

from __future__ import annotations

import random
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from statehouse_proto.services import (
    CLUSTER_SERVICE,
    HISTORY_SERVICE,
    STATE_SERVICE,
    Method,
    methods,
)
from statehouse_proto.v2 import cluster_pb2 as cluster

from statehouse_sdk import process
from statehouse_sdk.endpoints import Endpoints
from statehouse_sdk.exchange_calls import KINDS
from statehouse_sdk.faults import CallFailed
from statehouse_sdk.op_ids import OpIds
from statehouse_sdk.plans import Call, Next, Open, Pause
from statehouse_sdk.retry import ATTEMPT_TIMEOUT_S, RULES, Attempts, GiveUp, Rule
from statehouse_sdk.straight import Straight

if TYPE_CHECKING:
    from collections.abc import Callable

    from statehouse_sdk.config import ClientConfig
    from statehouse_sdk.endpoints import Choice
    from statehouse_sdk.links import Link
    from statehouse_sdk.plans import Plan

Answer = TypeVar("Answer")

METHODS: Final[dict[str, Method]] = {
    **methods(STATE_SERVICE),
    **methods(HISTORY_SERVICE),
    **methods(CLUSTER_SERVICE),
}

MUST_BE_SURE: Final = {name: rule is not Rule.READ for name, (rule, _) in RULES.items()}
"""Whether it matters that an attempt without a connection surely had no effect."""

MUST_NOT_REPEAT: Final = {name: rule is Rule.NEVER for name, (rule, _) in RULES.items()}
"""Whether an attempt must not even leave for a node that died since it was last heard."""

STREAM_QUIET_S: Final = 5.0
"""A finite stream whose node sends nothing for so long is asked for elsewhere."""


MEMBERS_AGE_S_MAX: Final = 5.0
"""How old the known list of members grows before a node that answers is asked for it again: all of
them may be replaced, one by one, while a client lives."""

MEMBERS_AGE_IN_DOUBT_S_MAX: Final = 1.0
"""The same, after a node failed or the leader changed."""

MEMBERS_TIMEOUT_S: Final = 0.5


class Session:
    """Knowledge of the cluster and op ids of one client; thread-safe.

    Each method that returns a plan is one call, or a part of one.
    """

    def __init__(self, config: ClientConfig) -> None:
        self.pid = process.current
        self.op_ids = OpIds()
        self.timeout_s = config.timeout_s
        self._endpoints = Endpoints(config.endpoints)
        self._lock = threading.Lock()
        self._members_learned_s = time.monotonic()
        self._members_in_doubt = False
        # Seeded by the system, so that the clients of a forked pool do not back off in step.
        self._random = random.Random()

    def deadline_s(self) -> float:
        """The monotonic moment at which a call that starts now has to be over."""
        return time.monotonic() + self.timeout_s

    def jitter(self) -> float:
        """A factor from a half to one, so that those who wait do not return in step."""
        return self._random.uniform(0.5, 1.0)

    def straight(self, name: str) -> Straight | None:
        """The straight way of a call to the leader; None: there is something to decide first."""
        now_s = time.monotonic()
        if self._members_are_old(now_s):
            return None
        with self._lock:
            address = self._endpoints.choose_well()
        link = self._standing(address)
        if link is None:
            return None
        return Straight(link, KINDS[name], now_s, min(ATTEMPT_TIMEOUT_S, self.timeout_s))

    def went_straight(self, straight: Straight) -> None:
        """The call has an answer."""
        link = straight.link
        link.stands = True
        if not self._endpoints.leads_well(link.address):
            self.succeeded(link.address, as_leader=True)

    def attempts(
        self, name: str, *, uncertain: bool = False, tried: Straight | None = None
    ) -> Attempts:
        """The book of one call of that method, which starts now, or did with `tried`."""
        started_s = time.monotonic() if tried is None else tried.started_s
        attempts = Attempts(
            RULES[name][0],
            started_s=started_s,
            deadline_s=started_s + self.timeout_s,
            random=self._random.random,
            contacted=self._endpoints.contacted,
            uncertain=uncertain,
        )
        if tried is not None:
            attempts.timeout_s(started_s)
        return attempts

    def unary(
        self, name: str, request: Any, *, stale: bool = False, tried: Straight | None = None
    ) -> Plan[Any]:
        """The answer to a unary call, after as many attempts as its rule and time allow.

        tried: the first of them was made already, and failed.
        """
        attempts = self.attempts(name, tried=tried)
        while True:
            try:
                failed, tried = tried, None
                return (
                    yield from self.unary_attempt(
                        name, request, attempts, leader=not stale, tried=failed
                    )
                )
            except CallFailed as failure:
                yield from self.pause_or_raise(attempts, failure)

    def unary_attempt(
        self,
        name: str,
        request: Any,
        attempts: Attempts,
        *,
        leader: bool = True,
        tried: Straight | None = None,
    ) -> Plan[Any]:
        """One attempt of a unary call at the leader, or who is thought to be; CallFailed.

        tried: it was made already, and failed; without a trace if this returns.
        """
        if tried is not None:
            self._raise_failure(name, tried)
        return self._attempt(attempts, partial(self.call, name, request), leader=leader)

    def call(self, name: str, request: Any, address: str, timeout_s: float) -> Plan[Any]:
        """One attempt of a unary call at this node: its answer, or CallFailed."""
        return (yield Call(name, address, request, timeout_s))

    def collect(self, name: str, request: Any, *, stale: bool = False) -> Plan[list[Any]]:
        """All messages of a finite stream of one attempt, so that they speak for one commit_ts."""

        def ask(address: str, timeout_s: float) -> Plan[list[Any]]:
            messages = []
            stream = yield Open(name, address, request, min(timeout_s, STREAM_QUIET_S))
            try:
                while (message := (yield Next(stream))) is not None:
                    messages.append(message)
            finally:
                stream.close()
            return messages

        attempts = self.attempts(name)
        return (yield from self.drive(attempts, ask, leader=not stale))

    def ask(self, name: str, address: str, request: Any, timeout_s: float) -> Plan[Any]:
        """One attempt of a unary call at this very node; raises its error."""
        try:
            return (yield from self.call(name, request, address, timeout_s))
        except CallFailed as failure:
            raise failure.fault.error from None

    def drive(
        self,
        attempts: Attempts,
        ask: Callable[[str, float], Plan[Answer]],
        *,
        leader: bool = True,
    ) -> Plan[Answer]:
        """Repeats `ask(address, timeout_s)` until it answers or `attempts` gives up."""
        while True:
            try:
                return (yield from self._attempt(attempts, ask, leader=leader))
            except CallFailed as failure:
                yield from self.pause_or_raise(attempts, failure)

    def pause_or_raise(self, attempts: Attempts, failure: CallFailed) -> Plan[None]:
        """Waits before the next attempt, or raises the final error."""
        action = attempts.failed(failure.fault, time.monotonic())
        if isinstance(action, GiveUp):
            raise action.error from None
        yield Pause(action.delay_s)

    def choose(self, attempts: Attempts, *, leader: bool) -> Plan[str]:
        """The address to ask now; waits if every node rests, within the time left."""
        choice = self._choice(leader, time.monotonic())
        if choice.wait_s > 0:
            yield self._rest(choice, attempts)
        return choice.address

    def succeeded(self, address: str, *, as_leader: bool) -> None:
        """The node gave a good answer."""
        if as_leader and self._endpoints.leads_well(address):
            return
        with self._lock:
            self._endpoints.answered(address, as_leader=as_leader)

    def failed(self, address: str, failure: CallFailed) -> None:
        """The node failed, or refused and perhaps named the leader."""
        fault = failure.fault
        with self._lock:
            self._members_in_doubt |= failure.broken or fault.retry
            if failure.broken or fault.stalled:
                self._endpoints.contacted |= fault.reached
                self._endpoints.failed(address, time.monotonic(), silent=fault.stalled)
            elif fault.retry:
                self._endpoints.refused(address, fault.leader_address, fault.leader_term)
            else:
                self._endpoints.answered(address, as_leader=False)

    def learn(self, addresses: list[str]) -> None:
        """The client addresses of the members, by the word of a node."""
        with self._lock:
            self._endpoints.learned(addresses)

    def keep_up(self, address: str) -> Plan[None]:
        """Learns the members anew from a node that has just answered, if it is time to."""
        now_s = time.monotonic()
        with self._lock:
            if not self._members_are_old(now_s):
                return
            self._members_learned_s, self._members_in_doubt = now_s, False
        try:
            status: cluster.StatusResponse = yield from self.call(
                "Status", cluster.StatusRequest(), address, MEMBERS_TIMEOUT_S
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

    def _attempt(
        self, attempts: Attempts, ask: Callable[[str, float], Plan[Answer]], *, leader: bool
    ) -> Plan[Answer]:
        now_s = time.monotonic()
        choice = self._choice(leader, now_s)
        if choice.wait_s > 0:
            yield self._rest(choice, attempts)
            now_s = time.monotonic()
        address = choice.address
        try:
            answer = yield from ask(address, attempts.timeout_s(now_s))
        except CallFailed as failure:
            self.failed(address, failure)
            raise
        self.succeeded(address, as_leader=leader)
        if self._members_are_old(time.monotonic()):
            yield from self.keep_up(address)
        return answer

    def _raise_failure(self, name: str, tried: Straight) -> None:
        """Raises CallFailed, unless the call could not be sent on the straight way."""
        try:
            self._asked_in_vain(tried, sure=MUST_BE_SURE[name])
        except CallFailed as failure:
            self.failed(tried.link.address, failure)
            raise

    def _standing(self, address: str) -> Link | None:
        """The link to this node, if a call may take the straight way on it; else None."""
        return None

    def _asked_in_vain(self, tried: Straight, *, sure: bool) -> None:
        raise NotImplementedError

    def _choice(self, leader: bool, now_s: float) -> Choice:
        with self._lock:
            return self._endpoints.choose(now_s, leader=leader)

    def _rest(self, choice: Choice, attempts: Attempts) -> Pause:
        return Pause(min(choice.wait_s, attempts.remaining_s(time.monotonic())))

    def _members_are_old(self, now_s: float) -> bool:
        in_doubt = self._members_in_doubt
        age_s_max = MEMBERS_AGE_IN_DOUBT_S_MAX if in_doubt else MEMBERS_AGE_S_MAX
        return now_s - self._members_learned_s >= age_s_max
