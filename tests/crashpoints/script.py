"""Owns what a client does while a node is about to be killed: commits of all shapes, all noted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse import OutcomeUnknownError, Statehouse, StatehouseError
from tests.chaos.client import event_of, text_of
from tests.checkers import check, history
from tests.checkers.history import now_ns
from tests.helpers.chain import verify_chain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AGENT = "script"
KEYS = 7
PADS = (0, 50, 3000, 30_000)
COMMIT_TIMEOUT_S = 1.0
READ_TIMEOUT_S = 10.0


class Script:
    """One client that lives through many crashes; `history` is all it did and was told."""

    def __init__(self, commit_timeout_s: float = COMMIT_TIMEOUT_S) -> None:
        self._commit_timeout_s = commit_timeout_s
        self.history: list[history.Operation] = []
        self._written = 0

    def run(self, endpoints: str, transactions: int, goes_on: Callable[[], bool]) -> None:
        """Commits one after the other as long as `goes_on`, each tried once."""
        with Statehouse(endpoints, timeout=self._commit_timeout_s) as client:
            for _ in range(transactions):
                if not goes_on():
                    return
                self._commit(client)

    def _commit(self, client: Statehouse) -> None:
        self._written += 1
        number = self._written
        tx = client.begin_transaction(actor="script", reason=f"transaction {number}")
        writes = []
        for step in range(1 + number % 3):
            key = f"k{(number + step) % KEYS}"
            value = None
            if (number + step) % 5 == 0:
                tx.delete(AGENT, key)
            else:
                value = text_of(told := {"n": number, "pad": "." * PADS[number % len(PADS)]})
                tx.write(AGENT, key, told)
            writes.append(history.Write(f"{AGENT}/{key}", value))
        called_at_ns, outcome = now_ns(), history.OK
        try:
            tx.commit()
        except OutcomeUnknownError:
            outcome = history.UNKNOWN
        except StatehouseError:
            outcome = history.FAILED
        self.history.append(
            history.Commit(
                client="script",
                called_at_ns=called_at_ns,
                returned_at_ns=None if outcome == history.UNKNOWN else now_ns(),
                outcome=outcome,
                txn_id=tx.txn_id,
                writes=tuple(writes),
                commit_ts=tx.commit_ts or 0,
                versions=tuple(tx.versions),
            )
        )

    def judge(self, address: str) -> list[str]:
        """What the node that serves there tells, against what the client was told."""
        with Statehouse(address, timeout=READ_TIMEOUT_S) as client:
            events = [event_of(event) for event in client.replay(AGENT, stale=True)]
        report = check.check_all(self.history, events)
        undecided = [f"undecided: key {key}" for key in report.undecided]
        return [str(one) for one in report.violations] + undecided


def judge_disk(data: Path, commit_ts: int) -> list[str]:
    """What lies on the disk of a stopped node: an unbroken chain, at least so long."""
    try:
        holds = verify_chain(data)
    except Exception as error:
        return [f"the chain on the disk is broken: {error}"]
    return [] if holds >= commit_ts else [f"the disk holds {holds} commits of {commit_ts}"]
