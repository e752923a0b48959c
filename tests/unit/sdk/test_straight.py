"""The straight way: taken when there is nothing to decide, and what fails on it fails as ever."""

from __future__ import annotations

import grpc
import pytest
from statehouse_proto.v2 import common_pb2 as common
from statehouse_sdk import (
    ConflictError,
    OutcomeUnknownError,
    TransactionAbortedError,
    async_exchange,
    exchange,
    retry,
)
from statehouse_sdk.config import ClientConfig
from statehouse_sdk.links import Link
from statehouse_sdk.session import Session
from statehouse_sdk.straight import Straight

from tests.fakes.fake_cluster import Break, LoseAnswer, Refuse, Stall


def put(client, value=1, **conditions):
    tx = client.begin_transaction()
    tx.write("a", "k", value, **conditions)
    return tx.commit()


@pytest.fixture
def plans(monkeypatch):
    """The names of the calls for which a plan was made."""
    made = []
    really = Session.attempts

    def counted(self, name, **options):
        made.append(name)
        return really(self, name, **options)

    monkeypatch.setattr(Session, "attempts", counted)
    return made


@pytest.fixture
def settled(client, plans):
    """A client for which there is nothing to decide."""
    put(client)
    plans.clear()
    return client


def test_a_call_is_made_without_a_plan_when_there_is_nothing_to_decide(settled, plans):
    assert put(settled) == 2
    assert settled.get_state("a", "k").version == 2
    with settled.begin_transaction() as tx:
        tx.write("a", "k", 3, if_version=2)
    assert tx.commit_ts == 3
    assert tx.versions == [3]
    assert plans == []


def test_other_reads_are_planned(settled, plans):
    settled.get_state("a", "k", at=1)
    settled.get_state("a", "k", stale=True)
    assert plans == ["Get", "Get"]


@pytest.mark.parametrize(
    "step",
    [
        LoseAnswer(),
        Break(),
        Stall(),
        Stall(after=True),
        Refuse(common.REASON_NOT_LEADER),
        Refuse(common.REASON_OVERLOADED),
        LoseAnswer(grpc.StatusCode.INTERNAL),
    ],
    ids=str,
)
def test_what_fails_on_it_is_repeated_as_ever_and_happens_once(settled, fake, plans, step):
    fake.nodes[0].will("Commit", step)
    assert put(settled, 2) == 2
    fake.nodes[0].will("Get", step)
    assert settled.get_state("a", "k").value == 2
    assert set(fake.state.executed.values()) == {1}
    assert plans[0] == "Commit"
    assert "Get" in plans


def test_a_refusal_is_told_in_its_own_words_and_kind(settled):
    with pytest.raises(ConflictError, match="read again and retry"):
        put(settled, if_version=9)


def test_a_change_of_leaders_is_followed(settled, fake):
    fake.elect(fake.nodes[1])
    assert put(settled) == 2
    fake.elect(fake.nodes[2])
    assert settled.get_state("a", "k").version == 2


def test_what_is_too_large_to_share_travels_alone(settled, fake, monkeypatch):
    for module in (exchange, async_exchange):
        monkeypatch.setattr(module, "MESSAGE_BYTES_MAX", 1000)
    assert put(settled, bytes(2000)) == 2
    assert set(fake.state.executed.values()) == {1}


def test_an_attempt_in_doubt_stays_in_doubt_through_the_plan(connect, fake):
    with connect(fake.url, timeout=0.5) as client:
        put(client)
        tx = client.begin_transaction()
        tx.write("a", "k", 2)
        fake.nodes[0].will("Commit", LoseAnswer())
        fake.elect(None)
        fake.nodes[0]._check_leader = lambda *_: None
        for node in fake.nodes[1:]:
            node.will("Commit", *[Refuse(common.REASON_NO_LEADER)] * 50)
        fake.nodes[0].will("Commit", *[Break()] * 50)
        with pytest.raises(OutcomeUnknownError):
            tx.commit()
        with pytest.raises(OutcomeUnknownError):
            tx.abort()


def test_a_failure_that_was_definite_is_an_abort(connect, fake, monkeypatch):
    # Long enough for the last refusal to come, however busy the machine is.
    monkeypatch.setattr(retry, "LAST_ATTEMPT_S", 1.0)
    with connect(fake.url, timeout=2.0) as client:
        put(client)
        tx = client.begin_transaction()
        tx.write("a", "k", 2)
        fake.elect(None)
        with pytest.raises(TransactionAbortedError, match="nothing was committed"):
            tx.commit()


def test_the_time_of_an_attempt_on_it_counts():
    session = Session(ClientConfig(endpoints=("127.0.0.1:1",), timeout_s=5.0))
    tried = Straight(Link("127.0.0.1:1", None), "commit", 100.0, 1.5)
    attempts = session.attempts("Commit", tried=tried)
    assert attempts.timeout_s(104.0) == 1.0
    assert attempts.timeout_s(100.5) == 1.5
