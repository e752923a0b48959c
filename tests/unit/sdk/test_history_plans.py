"""History is read on, pinned, whatever breaks; proofs are computed here and believe nobody."""

from __future__ import annotations

from hashlib import sha256

import pytest
from statehouse_proto.v2 import history_pb2 as wire
from statehouse_proto.v2 import state_pb2 as state
from statehouse_sdk import (
    FuturePointError,
    Head,
    HistoryRewrittenError,
    Progress,
    UnavailableError,
    extending,
    history,
    replay,
    requests,
    requests_history,
)

from tests.fakes.scripted_session import ScriptedSession, lost, refused


def version(number, commit_ts=None):
    record = state.Record(key="k", version=number, commit_ts=commit_ts or 10 * number, exists=True)
    record.value.json = b"1"
    return wire.VersionedRecord(record=record, agent_id="a")


def page(*versions, served_at=100):
    return wire.VersionsResponse(versions=versions, served_at=served_at)


def versions_of(session, **options):
    bounds = {"start_ts": None, "end_ts": None, "newest_first": False, "limit": None}
    request = requests_history.versions("n", "a", "k", **(bounds | options), stale=False)
    return [told.version for told in session.told(history.versions(session, request))]


class TestVersions:
    def test_they_go_on_after_the_last_that_was_told(self):
        session = ScriptedSession(
            Versions=[
                [page(version(1)), page(version(2)), lost()],
                [page(version(2), version(3), version(4))],
            ]
        )
        assert versions_of(session) == [1, 2, 3, 4]
        assert session.asked["Versions"][1].start.commit_ts == 20

    def test_newest_first_they_go_on_downwards(self):
        session = ScriptedSession(
            Versions=[[page(version(4), version(3)), lost()], [page(version(3), version(2))]]
        )
        assert versions_of(session, newest_first=True) == [4, 3, 2]
        again = session.asked["Versions"][1]
        assert (again.end.commit_ts, again.HasField("start")) == (30, False)

    def test_what_one_commit_made_is_told_once(self):
        one = [version(1, 10), version(2, 10)]
        session = ScriptedSession(
            Versions=[[page(one[0]), lost()], [page(*one, version(3, 10), version(4, 40))]]
        )
        assert versions_of(session) == [1, 2, 3, 4]

    def test_versions_made_meanwhile_are_left_out(self):
        session = ScriptedSession(
            Versions=[
                [page(version(1), served_at=15), lost()],
                [page(version(1), version(2), served_at=99)],
            ]
        )
        assert versions_of(session) == [1]

    def test_what_told_nothing_yet_begins_anew(self):
        session = ScriptedSession(
            Versions=[[page(served_at=5), lost()], [page(version(1), served_at=20)]]
        )
        assert versions_of(session) == [1]

    def test_a_limit_counts_what_was_told_before(self):
        session = ScriptedSession(
            Versions=[
                [page(version(1, 10), version(2, 10)), lost()],
                [page(version(1, 10), version(2, 10), version(3))],
            ]
        )
        assert versions_of(session, limit=3) == [1, 2, 3]
        assert session.asked["Versions"][1].limit == 3

    def test_a_reached_limit_asks_no_more(self):
        session = ScriptedSession(Versions=[[page(version(1), version(2)), lost()]])
        assert versions_of(session, limit=2) == [1, 2]

    def test_a_label_is_resolved_once(self):
        session = ScriptedSession(
            Resolve=[wire.ResolveResponse(commit_ts=30)],
            Versions=[[page(version(1)), lost()], [page(version(1), version(2))]],
        )
        assert versions_of(session, end_ts="then") == [1, 2]
        assert [asked.end.commit_ts for asked in session.asked["Versions"]] == [30, 30]
        assert session.asked["Resolve"][0].at.label == "then"

    def test_it_raises_when_nothing_answers(self, monkeypatch):
        session = ScriptedSession(Versions=[lost() for _ in range(1000)])
        monkeypatch.setattr(session, "timeout_s", 0.0)
        with pytest.raises(UnavailableError):
            versions_of(session)


# -- Replay and watch


def events(*numbers, served_at=None):
    told = [state.Event(commit_ts=number) for number in numbers]
    return state.ReplayResponse(events=told, served_at=served_at or numbers[-1])


def empty(served_at):
    return state.ReplayResponse(served_at=served_at)


def watched(session, after, **options):
    """What a watch tells until its script breaks for good."""
    request = requests.watch("n", "a", "", after, stale=False)
    plan = replay.watch(session, request, **({"progress": False} | options))
    told = session.told(plan, ends=(FuturePointError,))
    return [item if isinstance(item, Progress) else item.commit_ts for item in told]


END = refused(FuturePointError("the end of the script"))


class TestWatch:
    def test_it_goes_on_behind_the_last_event(self):
        session = ScriptedSession(Replay=[[events(3), events(5), lost()], [events(5, 7), END]])
        assert watched(session, 2) == [3, 5, 7]
        assert [asked.start.commit_ts for asked in session.asked["Replay"]] == [3, 6]
        assert all(asked.follow for asked in session.asked["Replay"])

    def test_what_is_told_to_be_empty_is_not_asked_for_again(self):
        session = ScriptedSession(Replay=[[events(3), empty(40), lost()], [events(41), END]])
        assert watched(session, 0) == [3, 41]
        assert session.asked["Replay"][1].start.commit_ts == 41

    def test_without_a_point_it_begins_now(self):
        session = ScriptedSession(
            Resolve=[wire.ResolveResponse(commit_ts=9)], Replay=[[events(10), END]]
        )
        assert watched(session, None) == [10]
        assert session.asked["Replay"][0].start.commit_ts == 10

    def test_progress_is_told_between_events(self):
        session = ScriptedSession(Replay=[[empty(2), events(3, 5, served_at=6), empty(40), END]])
        assert watched(session, 0, progress=True) == [
            Progress(2),
            3,
            5,
            Progress(6),
            Progress(40),
        ]


class TestReplayBounds:
    def test_a_label_at_the_end_is_resolved_once(self):
        session = ScriptedSession(
            Resolve=[wire.ResolveResponse(commit_ts=7)],
            Replay=[[events(3), lost()], [events(5)]],
        )
        request = requests.replay(
            "n", "a", None, "then", limit=None, last=None, follow=False, stale=False
        )
        told = session.told(replay.events(session, request))
        assert [event.commit_ts for event in told] == [3, 5]
        assert [asked.end.commit_ts for asked in session.asked["Replay"]] == [7, 7]


# -- Proofs of extension


def link(number, previous):
    body = b"\x01\x98" + bytes([number])
    its_hash = sha256(previous + body).digest()
    return state.Event(commit_ts=number, previous_hash=previous, body=body, hash=its_hash)


def chain(count):
    links, previous = [], bytes(32)
    for number in range(1, count + 1):
        links.append(link(number, previous))
        previous = links[-1].hash
    return links


LINKS = chain(6)


def at(number):
    return wire.ResolveResponse(commit_ts=number, chain_hash=LINKS[number - 1].hash)


def proving(session, old):
    return session.run(extending.prove_extension(session, old, "n"))


def messages(*links):
    return [state.ReplayResponse(events=[one]) for one in links]


OLD = Head(2, LINKS[1].hash)


class TestProofOfExtension:
    def test_a_longer_history_is_an_extension(self):
        session = ScriptedSession(Resolve=[at(6)], Replay=[messages(*LINKS[2:])])
        assert proving(session, OLD).commit_ts == 6
        (asked,) = session.asked["Replay"]
        assert (asked.start.commit_ts, asked.end.commit_ts, asked.proof_only) == (3, 6, True)
        assert (asked.namespace, asked.agent_id) == ("", "")

    def test_the_same_history_needs_nothing_fetched(self):
        session = ScriptedSession(Resolve=[at(2)], Replay=[])
        assert proving(session, OLD).chain_hash == OLD.chain_hash

    def test_it_goes_on_where_a_stream_broke_off(self):
        session = ScriptedSession(
            Resolve=[at(6)], Replay=[[*messages(*LINKS[2:4]), lost()], messages(*LINKS[4:])]
        )
        assert proving(session, OLD).commit_ts == 6
        assert session.asked["Replay"][1].start.commit_ts == 5

    @pytest.mark.parametrize(
        ("told", "bad"),
        [
            (messages(LINKS[2], link(4, b"\x09" * 32)), 4),
            (messages(LINKS[3]), 3),
            (messages(*LINKS[2:4]), 5),
            (messages(LINKS[2], LINKS[4]), 4),
            ([], 3),
        ],
        ids=["another past", "one left out", "cut short", "one skipped", "nothing"],
    )
    def test_anything_else_names_the_first_commit_that_does_not_fit(self, told, bad):
        session = ScriptedSession(Resolve=[at(6)], Replay=[told])
        with pytest.raises(HistoryRewrittenError) as raised:
            proving(session, OLD)
        assert raised.value.commit_ts == bad

    def test_another_past_of_the_kept_head_is_noticed(self):
        session = ScriptedSession(Resolve=[at(6)], Replay=[messages(*LINKS[2:])])
        with pytest.raises(HistoryRewrittenError) as raised:
            proving(session, Head(2, b"\x05" * 32))
        assert raised.value.commit_ts == 3

    def test_another_head_of_the_same_length_is_noticed(self):
        session = ScriptedSession(Resolve=[at(2)])
        with pytest.raises(HistoryRewrittenError):
            proving(session, Head(2, b"\x05" * 32))

    def test_a_shorter_history_is_noticed(self):
        session = ScriptedSession(Resolve=[at(2)])
        with pytest.raises(HistoryRewrittenError) as raised:
            proving(session, Head(5, LINKS[4].hash))
        assert raised.value.commit_ts == 3

    def test_an_end_that_is_not_that_of_the_chain_is_noticed(self):
        lying = wire.ResolveResponse(commit_ts=6, chain_hash=b"\x01" * 32)
        session = ScriptedSession(Resolve=[lying], Replay=[messages(*LINKS[2:])])
        with pytest.raises(HistoryRewrittenError) as raised:
            proving(session, OLD)
        assert raised.value.commit_ts == 6


class TestVerify:
    def told(self, session, address=None):
        request = requests_history.verify("n", "", 0)
        return session.told(history.verify(session, request, address))

    def test_it_tells_each_step_with_the_node_that_took_it(self):
        steps = [wire.VerifyResponse(events=1), wire.VerifyResponse(events=2, finished=True)]
        told = self.told(ScriptedSession(Verify=[steps]), "127.0.0.1:9")
        assert [(one.events, one.finished, one.address) for one in told] == [
            (1, False, "127.0.0.1:9"),
            (2, True, "127.0.0.1:9"),
        ]
        assert told[-1].ok

    def test_a_fault_is_told_and_not_raised(self):
        step = wire.VerifyResponse(events=2, bad_commit_ts=3, fault="why", finished=True)
        (told,) = self.told(ScriptedSession(Verify=[[step]]))
        assert (told.ok, told.bad_commit_ts, told.fault) == (False, 3, "why")
        assert told.to_dict()["ok"] is False

    def test_a_node_that_is_lost_is_not_asked_on_elsewhere(self):
        session = ScriptedSession(Verify=[[wire.VerifyResponse(events=1), lost()]])
        with pytest.raises(UnavailableError):
            self.told(session)
