"""Owns the sending of one commit until its outcome is known, or is known to be unknown.

The op id is taken before the first attempt and kept for every later one, also for those of a second
`commit()` after an OutcomeUnknownError. Only when the cluster says that it has forgotten this
client, and no attempt of this commit is in doubt, does a new identity take its place. It waits for
nothing itself: sending is a plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from statehouse_proto.v2 import cluster_pb2 as cluster
from statehouse_proto.v2 import state_pb2 as state

from statehouse_sdk import commit_bytes
from statehouse_sdk.errors import (
    OutcomeUnknownError,
    StatehouseError,
    TransactionAbortedError,
)
from statehouse_sdk.faults import CallFailed

if TYPE_CHECKING:
    from statehouse_sdk.op_ids import Op
    from statehouse_sdk.plans import Plan
    from statehouse_sdk.retry import Attempts
    from statehouse_sdk.session import Session
    from statehouse_sdk.straight import Straight

RENEWALS_MAX: Final = 3
"""New identities one commit may take; a cluster that forgets them at once is not ours to fix."""


class PendingCommit:
    """One transaction on its way; when it is dropped, nobody will ask about its op id again."""

    def __init__(self, session: Session, fields: list[bytes]) -> None:
        self._session = session
        self._fields = fields
        self._op: Op | None = None
        self.uncertain = False
        """Whether an attempt that was made may have committed it."""

    def straight(self) -> Straight | None:
        """The straight way of its first attempt; None: there is something to decide first."""
        straight = self._session.straight("Commit")
        if straight is None:
            return None
        op = self._op = self._session.op_ids.open()
        if op is None:
            return None
        straight.request = self._request(op)
        self.uncertain = True
        return straight

    def send(self, tried: Straight | None = None) -> Plan[state.CommitResponse]:
        """The committed answer; raises a TransactionError: see retry.py for which.

        tried: the first attempt was made already, and failed.
        """
        session = self._session
        uncertain = self.uncertain and tried is None
        attempts = session.attempts("Commit", uncertain=uncertain, tried=tried)
        renewals = 0
        try:
            while True:
                request = self._request(self._op or (yield from self._open()))
                # Should it be interrupted (Ctrl-C, a cancelled task), its effect is unknown.
                self.uncertain = True
                failed, tried = tried, None
                try:
                    response: state.CommitResponse = yield from session.unary_attempt(
                        "Commit", request, attempts, tried=failed
                    )
                except CallFailed as failure:
                    if failure.fault.op_id_expired and not attempts.uncertain:
                        if renewals == RENEWALS_MAX:
                            raise _forgotten(failure) from None
                        renewals += 1
                        self.uncertain = False
                        self._renew()
                        self.finish()
                        continue
                    yield from self._pause_or_raise(attempts, failure)
                else:
                    self.uncertain = False
                    return response
        except StatehouseError:
            self.uncertain = attempts.uncertain
            raise

    def finish(self) -> None:
        """The outcome is known, or of no interest: its receipt may be forgotten."""
        op, self._op = self._op, None
        if op is not None:
            self._session.op_ids.drop(op)

    __del__ = finish

    def _pause_or_raise(self, attempts: Attempts, failure: CallFailed) -> Plan[None]:
        if failure.fault.op_id_expired:
            # This op id stays: it is asked about again. The next one must not share its fate, or a
            # first attempt in doubt would leave it in doubt, too, and so on.
            self._renew()
        yield from self._session.pause_or_raise(attempts, failure)
        self.uncertain = attempts.uncertain

    def _open(self) -> Plan[Op]:
        op_ids = self._session.op_ids
        while (op := op_ids.open()) is None:
            op_ids.begin((yield from _learn_birth(self._session)))
        self._op = op
        return op

    def _request(self, op: Op) -> bytes:
        acknowledged_through = self._session.op_ids.acknowledged_through(op)
        return commit_bytes.request(op, acknowledged_through, self._fields)

    def _renew(self) -> None:
        """Whatever begins from now on does so under a new identity."""
        if self._op is not None:
            self._session.op_ids.renew(self._op.identity)


def _learn_birth(session: Session) -> Plan[int]:
    """A commit_ts the cluster has reached; on the way, the client learns all its nodes.

    Any node may tell the first; one that lags, or was removed and does not know, may tell one that
    is too old. So whoever was refused for its age asks the leader, by a read of nothing.
    """
    try:
        if session.op_ids.was_forgotten:
            read: state.GetManyResponse = yield from session.unary(
                "GetMany", state.GetManyRequest()
            )
            return read.served_at
        status: cluster.StatusResponse = yield from session.unary(
            "Status", cluster.StatusRequest(), stale=True
        )
    except StatehouseError as error:
        raise TransactionAbortedError(f"nothing was committed: {error}", error) from None
    session.learn([member.client_address for member in status.members])
    return status.commit_ts


def _forgotten(failure: CallFailed) -> StatehouseError:
    cause = failure.fault.error
    if isinstance(cause, OutcomeUnknownError):
        cause = StatehouseError(str(cause))
    return TransactionAbortedError(
        f"nothing was committed: the cluster refuses every new op id as too old: {cause}", cause
    )
