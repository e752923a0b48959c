from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from statehouse_cluster.identity import DirectoryInUse
from statehouse_cluster.interfaces import MembershipBusy, OutcomeUnknown, Overloaded, Role

from statehouse import node as node_module
from statehouse.core import codec
from statehouse.core.errors import Failure, Reason
from statehouse.core.model import Kind, Operation, Submission, Transaction
from statehouse.files import NodeFiles
from statehouse.lifecycle import Phase
from tests.helpers.served_node import run, serving


def submission(sequence=1):
    operation = Operation("ns", "a", "k", Kind.JSON.value, b"1")
    transaction = Transaction(b"c" * 16, sequence, f"t{sequence}", (operation,))
    return Submission(0, 0, codec.encode_transaction(transaction))


async def refusal(awaitable):
    with pytest.raises(Failure) as refused:
        await awaitable
    return refused.value


def test_a_view_holds_what_was_committed_before_it_was_asked_for(tmp_path):
    async def scenario():
        async with serving(tmp_path) as served:
            committed = await served.node.commit(submission())
            view = await served.node.view(stale=False)
            try:
                assert view.commit_ts == committed.commit_ts
                await served.node.commit(submission(2))
                assert view.get("ns", "a", "k").version == 1
            finally:
                view.close()

    run(scenario)


def test_the_phase_follows_what_consensus_tells(tmp_path):
    async def scenario():
        async with serving(tmp_path) as served:
            assert served.node.status().phase is Phase.SERVING
            served.consensus.tell(role=Role.REMOVED, ready=False)
            await asyncio.sleep(0)
            assert served.node.status().phase is Phase.REMOVED
            assert (await refusal(served.node.commit(submission()))).reason is Reason.REMOVED
            assert (await refusal(served.node.view(stale=True))).reason is Reason.REMOVED

    run(scenario)


def test_a_change_of_the_leader_is_logged_once(tmp_path, caplog):
    async def scenario():
        async with serving(tmp_path) as served:
            leader = served.consensus.status().leader
            with caplog.at_level("INFO", logger="statehouse.node"):
                for term in (2, 3, 3):
                    served.consensus.tell(role=Role.CANDIDATE, leader=None, term=term, ready=False)
                    await asyncio.sleep(0)
                served.consensus.tell(role=Role.LEADER, leader=leader, term=4)
                await asyncio.sleep(0)

    run(scenario)
    told = [record.facts for record in caplog.records if record.message == "Leader changed"]
    assert told == [{"leader": "none", "term": 2}, {"leader": "n1", "term": 4}]


def test_a_node_that_listens_elsewhere_than_its_cluster_says_is_told_so(tmp_path, caplog):
    async def scenario():
        async with serving(tmp_path) as served:
            with caplog.at_level("WARNING", logger="statehouse.node"):
                served.consensus.me = replace(served.consensus.me, client_address="127.0.0.1:9")
                served.consensus.tell(leader=served.consensus.other, term=2)
                await asyncio.sleep(0)

    run(scenario)
    assert [record.facts["told"] for record in caplog.records] == ["127.0.0.1:9"]


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"cluster_id": "", "role": Role.JOINER, "ready": False}, Reason.NOT_READY),
        ({"role": Role.JOINER, "ready": False}, Reason.NOT_READY),
    ],
)
def test_a_node_without_a_vote_answers_with_that(tmp_path, told, reason):
    async def scenario():
        async with serving(tmp_path) as served:
            node = served.node
            node._phase = Phase.STARTING
            served.consensus.tell(**told)
            await asyncio.sleep(0)
            assert (await refusal(node.commit(submission()))).reason is reason
            assert (await refusal(node.view(stale=True))).reason is reason
            assert not node.leads()

    run(scenario)


def test_a_leader_that_cannot_propose_yet_is_no_leader_to_be_sent_to(tmp_path):
    async def scenario():
        async with serving(tmp_path) as served:
            served.consensus.tell(ready=False)
            assert served.node.leader() is None
            assert served.node.status().leader.name == "n1"
            assert (await refusal(served.node.commit(submission()))).reason is Reason.NO_LEADER

    run(scenario)


def test_a_refusal_of_consensus_is_definite_and_told_with_a_hint(tmp_path):
    async def scenario():
        async with serving(tmp_path) as served:
            served.consensus.refuse_proposals = 1
            assert (await refusal(served.node.commit(submission()))).reason is Reason.NO_LEADER
            assert (await served.node.commit(submission())).commit_ts == 1

    run(scenario)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MembershipBusy(), Reason.MEMBERSHIP_BUSY),
        (OutcomeUnknown(), Reason.OUTCOME_UNKNOWN),
        (Overloaded(), Reason.OVERLOADED),
        (TimeoutError(), Reason.OUTCOME_UNKNOWN),
    ],
)
def test_every_error_of_consensus_has_its_reason_and_some_words(tmp_path, error, reason):
    async def scenario():
        async with serving(tmp_path) as served:

            def fail(name):
                raise error

            served.consensus.remove_member = fail
            refused = await refusal(served.node.remove_member("n2"))
            assert refused.reason is reason
            assert refused.message

    run(scenario)


def test_a_leader_that_is_asked_to_lead_answers_that_it_does(tmp_path):
    async def scenario():
        async with serving(tmp_path) as served:
            leader = await served.node.transfer("n1")
            assert (leader.name, leader.term) == ("n1", served.consensus.status().term)
            served.consensus.tell(role=Role.FOLLOWER, ready=False, leader=None)
            assert (await refusal(served.node.transfer("n1"))).reason is Reason.NO_LEADER

    run(scenario)


def test_a_lead_that_no_majority_confirms_is_not_claimed(tmp_path):
    async def scenario():
        async with serving(tmp_path) as served:
            served.consensus.confirms_reads = False
            assert (await refusal(served.node.transfer("n1"))).reason is Reason.NO_LEADER

    run(scenario)


def test_an_addition_goes_on_when_its_caller_left(tmp_path):
    async def scenario():
        async with serving(tmp_path) as served:
            ended = []
            add = served.consensus.add_member

            def watched(address, progress):
                try:
                    return add(address, progress)
                finally:
                    ended.append(address)

            served.consensus.add_member = watched
            steps = served.node.add_member("127.0.0.1:9")
            with pytest.raises(Failure, match=r"127\.0\.0\.1:9"):
                await anext(steps)
            steps = served.node.add_member("127.0.0.1:7")
            await anext(steps)
            await steps.aclose()
            while len(ended) < 2:
                await asyncio.sleep(0.001)

    run(scenario)


def test_growth_is_waited_for_and_leadership_watched_meanwhile(tmp_path):
    async def scenario():
        async with serving(tmp_path) as served:
            waits = asyncio.create_task(served.node.grown(0, stale=False))
            stale = asyncio.create_task(served.node.grown(1, stale=True))
            await asyncio.sleep(0)
            await served.node.commit(submission())
            await waits
            lost = asyncio.create_task(served.node.grown(1, stale=False))
            await asyncio.sleep(0)
            served.consensus.follow(served.consensus.other)
            assert (await refusal(lost)).reason is Reason.NOT_LEADER
            assert not stale.done()
            served.consensus.lead()
            await asyncio.sleep(0)
            await served.node.commit(submission(2))
            await stale

    run(scenario)


def test_draining_waits_for_what_is_under_way_but_not_for_ever(tmp_path, monkeypatch):
    async def scenario():
        async with serving(tmp_path) as served:
            served.consensus.hold = True
            commit = asyncio.create_task(served.node.commit(submission()))
            await asyncio.sleep(0)
            drain = asyncio.create_task(served.node.drain())
            await asyncio.sleep(0.05)
            assert not drain.done()
            served.consensus.let_go()
            await drain
            assert (await commit).commit_ts == 1
            await served.node.hand_over(1)
            assert served.consensus.stopped

    async def impatient():
        monkeypatch.setattr(node_module, "_DRAIN_WAIT_S", 0.05)
        async with serving(tmp_path / "second") as served:
            served.consensus.hold = True
            commit = asyncio.create_task(served.node.commit(submission()))
            await asyncio.sleep(0)
            await served.node.drain()
            served.consensus.let_go()
            await commit

    run(scenario)
    run(impatient)


def test_a_fault_fails_the_node_and_ends_the_process(tmp_path):
    async def scenario():
        async with serving(tmp_path) as served:
            told = []
            served.node._on_fatal = told.append
            error = OSError("disk")
            served.consensus.on_fatal(error)
            assert told == [error]
            assert served.node.status().phase is Phase.FAILED

    run(scenario)


def test_a_second_process_may_not_use_the_files(tmp_path):
    first = NodeFiles(tmp_path, "n1", now_us=lambda: 1)
    with pytest.raises(DirectoryInUse):
        NodeFiles(tmp_path, "n1", now_us=lambda: 1)
    first.close()
    NodeFiles(tmp_path, "n1", now_us=lambda: 1).close()


def test_files_in_memory_are_gone_when_closed():
    files = NodeFiles(None, "n1", now_us=lambda: 1)
    path = files.directory.path
    assert path.exists()
    files.close()
    assert not path.parent.exists()
