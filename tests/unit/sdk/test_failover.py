"""The client against nodes that refuse, break, stall and lose answers: exactly once, or said so."""

from __future__ import annotations

import gc
import threading
import time

import grpc
import pytest
from statehouse_proto.v2 import common_pb2 as common
from statehouse_sdk import ConnectionError as NoConnection
from statehouse_sdk import (
    NoLeaderError,
    OutcomeUnknownError,
    StatehouseError,
    StorageFullError,
    TransactionAbortedError,
    TransactionError,
    UnavailableError,
    retry,
    session,
)
from statehouse_sdk.endpoints import REST_FIRST_S
from statehouse_sdk.exchange import Exchange

from tests.fakes.fake_cluster import (
    Break,
    BreakAfter,
    FakeCluster,
    FakeNode,
    LoseAnswer,
    Refuse,
    Stall,
)
from tests.helpers.waiting import eventually


def put(client, key="k", value=1):
    tx = client.begin_transaction()
    tx.write("a", key, value)
    return tx.commit()


@pytest.fixture
def impatient(connect, fake):
    """A client whose calls are over after 4 s."""
    with connect(fake.url, timeout=4.0) as made:
        put(made, "warm up")
        yield made


def all_times(node, method, step, times=200):
    node.will(method, *[step] * times)


class TestFindingTheLeader:
    def test_one_known_follower_is_enough(self, connect, fake):
        with connect(fake.nodes[2].address) as client:
            assert put(client) == 1
            assert client.get_state("a", "k").value == 1

    def test_the_leader_is_asked_directly_once_it_is_known(self, client, fake):
        fake.elect(fake.nodes[1])
        put(client)
        calls = len(fake.nodes[0].calls), len(fake.nodes[2].calls)
        for _ in range(5):
            put(client)
            client.get_state("a", "k")
        assert (len(fake.nodes[0].calls), len(fake.nodes[2].calls)) == calls

    def test_all_known_nodes_may_be_replaced_one_by_one(self, connect, monkeypatch):
        fake = FakeCluster()
        founders = list(fake.nodes)
        with connect(fake.url, timeout=5) as client:
            put(client)
            # The change of leaders alone is reason enough to ask who the members are.
            monkeypatch.setattr(session, "MEMBERS_AGE_S_MAX", 3600.0)
            monkeypatch.setattr(session, "MEMBERS_AGE_IN_DOUBT_S_MAX", 0.0)
            fake.nodes += [FakeNode(fake, "n4"), FakeNode(fake, "n5")]
            fake.elect(fake.nodes[3])
            assert client.get_state("a", "k").value == 1
            for founder in founders:
                founder.stop()
                fake.nodes.remove(founder)
            fake.nodes.append(FakeNode(fake, "n6"))
            assert client.get_state("a", "k").value == 1
            fake.elect(fake.nodes[-1])
            fake.nodes.pop(0).stop()
            assert client.get_state("a", "k").value == 1
            assert next(client.replay("a", follow=True)).commit_ts == 1
        fake.stop()

    def test_members_that_change_in_silence_are_learned_in_time(self, connect, monkeypatch):
        fake = FakeCluster(1)
        with connect(fake.url, timeout=5) as client:
            put(client)
            monkeypatch.setattr(session, "MEMBERS_AGE_S_MAX", 0.0)
            fake.nodes.append(FakeNode(fake, "n2"))
            assert client.get_state("a", "k").value == 1
            fake.elect(fake.nodes[1])
            fake.nodes.pop(0).stop()
            assert client.get_state("a", "k").value == 1
            assert [event.commit_ts for event in client.replay("a")] == [1]
        fake.stop()

    def test_a_change_of_leader_is_followed(self, client, fake):
        put(client)
        fake.elect(fake.nodes[2])
        assert put(client) == 2
        assert client.get_state("a", "k").version == 2

    def test_the_nodes_learned_from_one_are_used_when_it_dies(self, connect, fake):
        with connect(fake.nodes[0].address, timeout=5) as client:
            put(client)
            fake.elect(fake.nodes[1])
            fake.nodes[0].stop()
            assert put(client) == 2
            assert client.list_keys("a") == ["k"]

    def test_an_election_is_waited_out(self, client, fake):
        put(client)
        fake.elect(None)
        threading.Timer(0.5, fake.elect, [fake.nodes[1]]).start()
        assert client.get_state("a", "k").value == 1

    def test_without_a_leader_a_read_fails_with_words(self, impatient, fake):
        fake.elect(None)
        with pytest.raises(NoLeaderError, match=r"gave up after \d\.\d s and \d+ attempts"):
            impatient.get_state("a", "k")

    def test_a_hint_to_a_dead_leader_does_not_spin(self, impatient, fake):
        fake.nodes[0].stop()
        with pytest.raises(UnavailableError):
            impatient.get_state("a", "k")
        assert sum(len(node.calls) for node in fake.nodes) < 40

    def test_a_stalled_leader_is_left_quickly(self, client, fake):
        put(client)
        fake.nodes[0].will("Get", Stall())
        started_s = time.monotonic()
        fake.elect(fake.nodes[1])
        assert client.get_state("a", "k").value == 1
        assert time.monotonic() - started_s < 3

    def test_nobody_goes_back_to_a_silent_leader_because_its_followers_name_it(self, client, fake):
        put(client)
        silent, elected, other = fake.nodes
        silent.will("Get", Stall(), Stall(), Stall())
        got = []
        reader = threading.Thread(target=lambda: got.append(client.get_state("a", "k").value))
        reader.start()
        # They notice a little later than the client does, and name the silent one meanwhile: for
        # longer than a node rests that just broke off.
        eventually(lambda: elected.count("Get") and other.count("Get"), what="both asked")
        noticed_s = time.monotonic() + 4 * REST_FIRST_S
        eventually(lambda: time.monotonic() > noticed_s)
        fake.elect(elected)
        reader.join()
        assert got == [1]
        assert silent.count("Get") == 1


class TestNobodyThere:
    @pytest.fixture
    def lost(self, connect):
        gone = FakeCluster(1)
        gone.stop()
        with connect(gone.url, timeout=0.5) as client:
            yield client

    def test_health_says_no_connection(self, lost):
        with pytest.raises(NoConnection, match="no connection to 127"):
            lost.health()

    def test_reads_say_no_connection(self, lost):
        for read in (
            lambda: lost.get_state("a", "k"),
            lambda: lost.list_keys("a"),
            lambda: list(lost.replay("a")),
        ):
            with pytest.raises(NoConnection, match="is statehoused running there"):
                read()

    def test_a_commit_surely_did_nothing(self, lost):
        with pytest.raises(TransactionAbortedError, match="nothing was committed") as caught:
            put(lost)
        assert isinstance(caught.value.cause, NoConnection)

    def test_a_wrong_address_is_told_long_before_the_timeout(self, connect, lost):
        with connect("127.0.0.1:1", timeout=60) as client:
            started_s = time.monotonic()
            with pytest.raises(NoConnection):
                client.get_state("a", "k")
            assert time.monotonic() - started_s < 8


class TestExactlyOnce:
    @pytest.mark.parametrize(
        "step",
        [
            LoseAnswer(),
            LoseAnswer(grpc.StatusCode.INTERNAL),
            LoseAnswer(grpc.StatusCode.CANCELLED),
            Stall(after=True),
            Break(),
            Refuse(common.REASON_OUTCOME_UNKNOWN),
            Refuse(common.REASON_OVERLOADED),
            Refuse(common.REASON_NOT_LEADER),
            Refuse(common.REASON_SHUTTING_DOWN),
            Refuse(common.REASON_NOT_READY),
        ],
        ids=repr,
    )
    def test_a_failed_attempt_is_repeated_without_doubling(self, client, fake, step):
        fake.nodes[0].will("Commit", step)
        assert put(client) == 1
        assert set(fake.state.executed.values()) == {1}
        assert client.get_state("a", "k").version == 1

    def test_the_same_op_id_goes_to_the_next_leader(self, client, fake):
        put(client)
        fake.nodes[0].will("Commit", LoseAnswer())
        fake.nodes[0].will("Commit", Refuse(common.REASON_NO_LEADER))
        fake.elect(fake.nodes[0])
        threading.Timer(0.1, fake.elect, [fake.nodes[1]]).start()
        assert put(client, "again") == 2
        assert set(fake.state.executed.values()) == {1}

    def test_op_ids_are_acknowledged_as_they_are_answered(self, client, fake):
        for _ in range(3):
            put(client)
        assert set(fake.state.acknowledged.values()) == {2}

    def test_an_unknown_outcome_can_be_asked_again(self, impatient, fake):
        tx = impatient.begin_transaction()
        tx.write("a", "k", 1)
        fake.nodes[0].will("Commit", LoseAnswer())
        all_times(fake.nodes[0], "Commit", Break())
        with pytest.raises(OutcomeUnknownError, match=r"call commit\(\) again"):
            tx.commit()
        for use in (tx.abort, lambda: tx.write("a", "k", 2), lambda: tx.get("a", "k")):
            with pytest.raises(OutcomeUnknownError):
                use()
        fake.nodes[0]._scripts.clear()
        assert tx.commit() == 2
        assert impatient.get_state("a", "k").version == 1

    def test_an_unknown_outcome_in_a_block_is_raised_as_a_transaction_error(self, impatient, fake):
        all_times(fake.nodes[0], "Commit", LoseAnswer(grpc.StatusCode.UNKNOWN), times=1)
        with pytest.raises(TransactionError) as caught, impatient.begin_transaction() as tx:
            tx.write("a", "k", 1)
        assert isinstance(caught.value, OutcomeUnknownError)

    def test_an_unknown_op_id_is_not_acknowledged_until_the_transaction_is_dropped(
        self, impatient, fake
    ):
        tx = impatient.begin_transaction()
        fake.nodes[0].will("Commit", LoseAnswer(grpc.StatusCode.UNKNOWN))
        with pytest.raises(OutcomeUnknownError):
            tx.commit()
        put(impatient)
        assert set(fake.state.acknowledged.values()) == {1}
        del tx
        gc.collect()
        put(impatient)
        assert set(fake.state.acknowledged.values()) == {3}

    def test_an_interrupted_commit_is_in_doubt_until_it_is_asked_again(
        self, blocking, fake, monkeypatch
    ):
        put(blocking)
        tx = blocking.begin_transaction()
        tx.write("a", "k", 2)
        really = Exchange.ask

        def interrupted(*arguments):
            really(*arguments)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(Exchange, "ask", interrupted)
            with pytest.raises(KeyboardInterrupt):
                tx.commit()
        with pytest.raises(OutcomeUnknownError):
            tx.abort()
        assert tx.commit() == 2
        assert set(fake.state.executed.values()) == {1}

    def test_a_definite_refusal_until_the_end_is_an_abort_that_may_be_tried_again(
        self, impatient, fake, monkeypatch
    ):
        # Long enough for the last refusal to come, however busy the machine is.
        monkeypatch.setattr(retry, "LAST_ATTEMPT_S", 1.0)
        fake.elect(None)
        tx = impatient.begin_transaction()
        tx.write("a", "k", 1)
        with pytest.raises(TransactionAbortedError) as caught:
            tx.commit()
        assert isinstance(caught.value.cause, NoLeaderError)
        fake.elect(fake.nodes[2])
        assert tx.commit() == 2

    def test_a_full_disk_is_told_at_once(self, client, fake):
        put(client)
        fake.nodes[0].will("Commit", Refuse(common.REASON_STORAGE_FULL))
        with pytest.raises(TransactionAbortedError) as caught:
            put(client)
        assert isinstance(caught.value.cause, StorageFullError)

    def test_a_cluster_down_after_the_first_commit_is_a_definite_abort(self, impatient, fake):
        for node in fake.nodes:
            node.stop()
        with pytest.raises(TransactionError):
            put(impatient)
        with pytest.raises(TransactionAbortedError, match="no connection"):
            put(impatient)

    def test_a_restart_of_all_nodes_is_survived(self, client, fake):
        put(client)
        for node in fake.nodes:
            node.stop()
        timers = [threading.Timer(0.5, node.start) for node in fake.nodes]
        for timer in timers:
            timer.start()
        assert put(client) == 2
        for timer in timers:
            timer.join()


class TestAForgottenClient:
    def forget(self, fake):
        for client_id, _ in list(fake.state.receipts):
            fake.state.forget_client(client_id)

    def test_it_takes_a_new_identity_in_silence(self, client, fake):
        put(client)
        self.forget(fake)
        assert put(client) == 2
        assert len({client_id for client_id, _ in fake.state.receipts}) == 2

    def test_it_asks_the_leader_how_late_it_is(self, client, fake):
        put(client)
        self.forget(fake)
        put(client)
        assert fake.nodes[0].count("GetMany") == 1

    def test_it_does_not_when_an_attempt_is_in_doubt(self, client, fake):
        put(client)
        fake.nodes[0].will("Commit", LoseAnswer(), Refuse(common.REASON_OP_ID_EXPIRED))
        with pytest.raises(OutcomeUnknownError):
            put(client)
        assert fake.state.commit_ts == 2

    def test_the_next_one_is_not_in_doubt_for_the_same_reason(self, client, fake):
        put(client)
        fake.nodes[0].will("Commit", LoseAnswer(), Refuse(common.REASON_OP_ID_EXPIRED))
        with pytest.raises(OutcomeUnknownError):
            put(client)
        before = {client_id for client_id, _ in fake.state.receipts}
        put(client)
        assert {client_id for client_id, _ in fake.state.receipts} - before

    def test_a_cluster_that_forgets_at_once_is_an_error(self, client, fake):
        all_times(fake.nodes[0], "Commit", Refuse(common.REASON_OP_ID_EXPIRED))
        with pytest.raises(TransactionAbortedError, match="too old"):
            put(client)
        assert fake.nodes[0].count("Commit") == 4


class TestNeverTwice:
    def test_a_change_of_members_is_not_repeated_when_its_effect_is_unknown(self, client, fake):
        client.get_state("a", "k")
        fake.nodes[0].will("RemoveMember", LoseAnswer())
        with pytest.raises(StatehouseError, match="may or may not"):
            client.remove_member("n3")
        assert fake.removed == ["n3"]

    def test_a_change_of_members_does_not_leave_for_a_leader_that_has_died(self, client, fake):
        client.get_state("a", "k")
        fake.nodes[0].stop()
        fake.elect(fake.nodes[1])
        client.remove_member("n3")
        assert fake.removed == ["n3"]

    def test_an_interrupted_addition_says_that_it_may_go_on(self, client, fake):
        fake.nodes[0].will("AddMember", BreakAfter(1))
        steps = client.add_member("p")
        assert next(steps).phase == "catching_up"
        with pytest.raises(UnavailableError, match="may still go on"):
            next(steps)


class TestManyThreads:
    def test_commits_under_failures_are_each_executed_once(self, connect, fake):
        """Every acknowledged commit once, every "nothing was committed" never."""
        outcomes = {}

        def work(client, number):
            for turn in range(12):
                tx = client.begin_transaction()
                tx.write("a", f"{number}/{turn}", turn)
                try:
                    outcomes[tx.txn_id] = tx.commit()
                except OutcomeUnknownError:
                    outcomes[tx.txn_id] = None
                except TransactionAbortedError:
                    outcomes[tx.txn_id] = 0

        steps = [LoseAnswer(), None, Break(), None, None, Refuse(common.REASON_OVERLOADED)]
        for node in fake.nodes:
            node.will("Commit", *steps * 20)
        with connect(fake.url, timeout=10) as client:
            threads = [threading.Thread(target=work, args=(client, n)) for n in range(8)]
            for thread in threads:
                thread.start()
            for node in (fake.nodes[1], fake.nodes[2], fake.nodes[0]):
                time.sleep(0.1)
                fake.elect(node)
            for thread in threads:
                thread.join()
        assert len(outcomes) == 96
        executed = fake.state.executed
        for txn_id, commit_ts in outcomes.items():
            if commit_ts == 0:
                assert executed[txn_id] == 0
            elif commit_ts is not None:
                assert executed[txn_id] == 1
                assert fake.state.events[commit_ts - 1].txn_id == txn_id
        assert max(executed.values()) == 1

    def test_no_commit_that_left_is_told_as_not_sent(self, connect, fake):
        """All break at once on one connection; whichever breaks first must not mislead the rest."""
        outcomes = []

        def work(client):
            tx = client.begin_transaction()
            try:
                tx.commit()
            except TransactionError as error:
                outcomes.append((tx.txn_id, type(error)))

        with connect(fake.nodes[0].address, timeout=1.2) as client:
            put(client)
            fake.nodes[0].will("Commit", *[Stall(after=True)] * 12)
            threads = [threading.Thread(target=work, args=(client,)) for _ in range(12)]
            for thread in threads:
                thread.start()
            while fake.state.commit_ts < 13:
                time.sleep(0.01)
            for node in fake.nodes:
                node.stop()
            for thread in threads:
                thread.join()
        assert len(outcomes) == 12
        assert {kind for _, kind in outcomes} == {OutcomeUnknownError}
