"""History: complete, in order, bounded as asked, and without gap or repeat across failures."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import pytest
from statehouse_proto.v2 import common_pb2 as common
from statehouse_sdk import InvalidRequestError, UnavailableError, session, streams

from tests.fakes.fake_cluster import Break, BreakAfter, Refuse, Stall
from tests.helpers.waiting import eventually


def put(client, key, value=1, agent_id="a"):
    with client.begin_transaction() as tx:
        tx.write(agent_id, key, value)


@pytest.fixture
def ten(client):
    for number in range(1, 11):
        put(client, f"k{number}", number)
    return client


def numbers(events):
    return [event.commit_ts for event in events]


class TestBounds:
    def test_all_of_it(self, ten):
        assert numbers(ten.replay("a")) == list(range(1, 11))

    def test_both_bounds_are_inclusive(self, ten):
        assert numbers(ten.replay("a", 3, 5)) == [3, 4, 5]
        assert numbers(ten.replay("a", start_ts=0, end_ts=2)) == [1, 2]

    def test_the_first_and_the_last_so_many(self, ten):
        assert numbers(ten.replay("a", limit=3)) == [1, 2, 3]
        assert numbers(ten.replay("a", last=3)) == [8, 9, 10]

    def test_what_excludes_each_other_is_refused(self, ten):
        for wrong in ({"follow": True, "limit": 1}, {"follow": True, "end_ts": 3}):
            with pytest.raises(InvalidRequestError):
                ten.replay("a", **wrong)
        with pytest.raises(InvalidRequestError):
            ten.replay("a", limit=1, last=1)

    def test_an_unknown_agent_has_no_history(self, ten):
        assert list(ten.replay("nobody")) == []

    def test_only_the_agents_own_operations_are_told(self, client):
        with client.begin_transaction() as tx:
            tx.write("a", "mine", 1)
            tx.write("b", "theirs", 2)
        (event,) = client.replay("a")
        assert [operation.key for operation in event.operations] == ["mine"]
        (event,) = client.replay()
        assert [operation.agent_id for operation in event.operations] == ["a", "b"]

    def test_a_written_none_is_told_from_a_delete(self, client):
        with client.begin_transaction() as tx:
            tx.write("a", "k", None)
            tx.delete("a", "k")
        (event,) = client.replay_events("a")
        assert [(op.value, op.deleted, op.version) for op in event.operations] == [
            (None, False, 1),
            (None, True, 2),
        ]

    def test_nothing_is_sent_before_the_first_event_is_asked_for(self, ten, fake):
        before = fake.nodes[0].count("Replay")
        events = ten.replay("a")
        assert fake.nodes[0].count("Replay") == before
        next(events)
        assert fake.nodes[0].count("Replay") == before + 1

    def test_an_event_knows_its_moment_and_its_hash(self, ten):
        event = next(ten.replay("a"))
        assert event.committed_at == datetime(2023, 11, 14, 22, 13, 21, tzinfo=UTC)
        assert len(event.hash) == 32


class TestFailures:
    @pytest.mark.parametrize(
        "step", [BreakAfter(4), Break(), Refuse(common.REASON_NO_LEADER)], ids=repr
    )
    def test_a_broken_replay_goes_on_where_it_was(self, ten, fake, step):
        fake.nodes[0].will("Replay", step, step)
        assert numbers(ten.replay("a")) == list(range(1, 11))

    def test_a_limit_holds_across_a_break(self, ten, fake):
        fake.nodes[0].will("Replay", BreakAfter(4))
        assert numbers(ten.replay("a", limit=6)) == [1, 2, 3, 4, 5, 6]
        fake.nodes[0].will("Replay", BreakAfter(3))
        assert numbers(ten.replay("a", limit=3)) == [1, 2, 3]

    def test_the_last_so_many_hold_across_a_break(self, ten, fake):
        fake.nodes[0].will("Replay", BreakAfter(2))
        assert numbers(ten.replay("a", last=5)) == [6, 7, 8, 9, 10]

    def test_a_broken_list_is_started_anew(self, ten, fake):
        fake.nodes[0].will("ListKeys", BreakAfter(2))
        assert len(ten.list_keys("a")) == 10

    def test_a_stalled_stream_is_left(self, ten, fake):
        fake.nodes[0].will("Scan", Stall())
        assert len(ten.scan_prefix("a", "k")) == 10

    def test_a_stalled_replay_is_left(self, ten, fake, monkeypatch):
        monkeypatch.setattr(streams, "STREAM_QUIET_S", 0.3)
        fake.nodes[0].will("Replay", Stall())
        assert numbers(ten.replay("a")) == list(range(1, 11))

    def test_a_slow_reader_is_not_taken_for_a_stalled_node(self, ten, fake, monkeypatch):
        monkeypatch.setattr(streams, "STREAM_QUIET_S", 1.5)
        before = fake.nodes[0].count("Replay")
        events = ten.replay("a")
        next(events)
        time.sleep(2.0)
        assert len(list(events)) == 9
        assert fake.nodes[0].count("Replay") == before + 1


class Follower:
    """Follows in a thread of its own and keeps what it saw."""

    def __init__(self, client, **options):
        self.seen = []
        self.error = None
        self._thread = threading.Thread(target=self._run, args=(client, options), daemon=True)
        self._thread.start()

    def _run(self, client, options):
        try:
            for event in client.replay("a", follow=True, **options):
                self.seen.append(event.commit_ts)
        except Exception as error:
            self.error = error

    def wait_for(self, count, timeout_s=10):
        deadline_s = time.monotonic() + timeout_s
        while len(self.seen) < count and self.error is None and time.monotonic() < deadline_s:
            time.sleep(0.01)
        return self.seen

    def join(self):
        self._thread.join(10)
        assert not self._thread.is_alive()


class TestFollowing:
    def test_it_goes_on_with_what_is_committed(self, ten):
        follower = Follower(ten)
        follower.wait_for(10)
        put(ten, "more")
        assert follower.wait_for(11) == list(range(1, 12))

    def test_it_starts_where_it_is_told(self, ten):
        follower = Follower(ten, start_ts=11)
        put(ten, "more")
        assert follower.wait_for(1) == [11]
        follower = Follower(ten, last=2)
        assert follower.wait_for(2) == [10, 11]

    def test_it_has_no_gap_and_no_repeat_over_changes_of_leader(self, ten, fake):
        follower = Follower(ten)
        for number in range(60):
            if number % 10 == 5:
                fake.elect(fake.nodes[(number // 10) % 3])
            if number == 28:
                fake.nodes[1].stop()
            if number == 42:
                fake.nodes[1].start()
            put(ten, f"more{number}")
        assert follower.wait_for(70) == list(range(1, 71))

    def test_a_quiet_follower_is_connected_anew_and_misses_nothing(self, ten, fake, monkeypatch):
        monkeypatch.setattr(streams, "FOLLOW_QUIET_S", 0.3)
        follower = Follower(ten)
        follower.wait_for(10)
        eventually(lambda: fake.nodes[0].count("Replay") >= 3)
        put(ten, "late")
        assert follower.wait_for(11) == list(range(1, 12))

    def test_it_gives_up_when_nobody_answers_for_the_timeout(self, ten, fake):
        ten._session.timeout_s = 0.5
        follower = Follower(ten)
        follower.wait_for(10)
        for node in fake.nodes:
            node.stop()
        follower.join()
        assert isinstance(follower.error, UnavailableError)

    def test_closing_the_client_ends_it(self, ten):
        follower = Follower(ten)
        follower.wait_for(10)
        ten.close()
        follower.join()
        assert "closed" in str(follower.error)


def test_the_quiet_limits_leave_room_for_the_servers_progress_messages():
    assert streams.FOLLOW_QUIET_S > 2 * session.STREAM_QUIET_S
