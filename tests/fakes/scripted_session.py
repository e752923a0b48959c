"""A session whose calls are answered from a script: plans can be tried step by step, with no wire.

A script gives, for each method, what its next calls answer: a message, a list of messages for a
stream, or a failure; a failure at the end of a list breaks the stream off there. What was asked is
kept. Pauses take no time.
"""

from __future__ import annotations

from collections import defaultdict, deque
from contextlib import suppress

from statehouse_proto.v2 import cluster_pb2 as cluster
from statehouse_sdk import errors
from statehouse_sdk.config import ClientConfig
from statehouse_sdk.faults import CallFailed
from statehouse_sdk.plans import Call, Next, Open, Tell, carry_out
from statehouse_sdk.retry import Certainty, Fault
from statehouse_sdk.session import METHODS, Session

ENDPOINTS = ("127.0.0.1:1", "127.0.0.1:2")


def lost(certainty=Certainty.NONE):
    """A connection that broke."""
    return CallFailed(Fault(errors.UnavailableError("lost"), True, certainty), broken=True)


def refused(error):
    """What a node refuses, and will refuse again."""
    return CallFailed(Fault(error, False, Certainty.OPERATION))


class ScriptedSession(Session):
    """Carries out plans by the script."""

    def __init__(self, **script):
        super().__init__(ClientConfig(endpoints=ENDPOINTS, timeout_s=5.0))
        self.asked = defaultdict(list)
        self.pauses = 0
        self._script = {name: deque(answers) for name, answers in script.items()}
        self._streams = []

    def run(self, plan):
        """The plan's result."""
        result = carry_out(plan, self._take)
        assert all(stream.closed for stream in self._streams), "a stream was left open"
        return result

    def told(self, plan, ends=()):
        """All that a plan tells, until its end or an error of the kind `ends`."""
        items = []

        def take(step):
            if isinstance(step, Tell):
                items.extend(step.items)
                return None
            return self._take(step)

        with suppress(*ends):
            carry_out(plan, take)
        assert all(stream.closed for stream in self._streams), "a stream was left open"
        return items

    def left(self):
        """What the script still holds."""
        return {name: len(answers) for name, answers in self._script.items() if answers}

    def _take(self, step):
        if isinstance(step, Call | Open):
            if step.name == "Status" and "Status" not in self._script:
                return cluster.StatusResponse()
            self.asked[step.name].append(_copy(step))
            answer = self._script[step.name].popleft()
            if isinstance(answer, CallFailed):
                raise answer
            if isinstance(step, Call):
                return answer
            self._streams.append(_Stream(answer))
            return self._streams[-1]
        if isinstance(step, Next):
            return step.stream.next()
        self.pauses += 1
        return None


def _copy(step):
    """The request of a step; a commit comes serialized."""
    if isinstance(step.request, bytes):
        return METHODS[step.name].request.FromString(step.request)
    request = type(step.request)()
    request.CopyFrom(step.request)
    return request


class _Stream:
    def __init__(self, messages):
        self._messages = iter(messages)
        self.closed = False

    def next(self):
        message = next(self._messages, None)
        if isinstance(message, CallFailed):
            raise message
        return message

    def close(self):
        self.closed = True
