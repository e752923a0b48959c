"""Labels, forks and merges as commits: what is sent, what is raised, and what is tried again."""

from __future__ import annotations

import pytest
from statehouse_proto.v2 import cluster_pb2 as cluster
from statehouse_proto.v2 import history_pb2 as wire
from statehouse_proto.v2 import state_pb2 as state
from statehouse_sdk import (
    AgentExistsError,
    Conflict,
    ConflictError,
    InvalidRequestError,
    LabelNotFoundError,
    MergeConflictError,
    NotFoundError,
    OutcomeUnknownError,
    TooLargeError,
    UnrelatedAgentsError,
    branching,
    limits,
    marking,
    merging,
    requests,
)

from tests.fakes.scripted_session import ScriptedSession, lost, refused

STATUS = [cluster.StatusResponse()]
DONE = state.CommitResponse(commit_ts=50, versions=[1] * 2000)
RACED = refused(ConflictError("no", (Conflict("n", "t", "k", 1, actual_version=2),)))


def record(key, value, version=1):
    told = state.Record(key=key, version=version, exists=value is not None)
    if value is not None:
        told.value.json = value
    return told


def difference(**keys):
    """A diff from keys to (before, after)."""
    told = [
        wire.KeyDiff(key=key, a=record(key, before), b=record(key, after))
        for key, (before, after) in keys.items()
    ]
    return [wire.DiffResponse(keys=told, a=3, b=9)]


def versions(*told):
    records = [record(f"k{place}", b"1", version) for place, version in enumerate(told)]
    return state.GetManyResponse(records=records, served_at=9)


FORK_OF_T = wire.LineageResponse(
    ancestry=[wire.ForkPoint(agent_id="s", parent_id="t", commit_ts=3, forked_at=4)]
)
LABELS = [wire.ListLabelsResponse()]


def merging_of(theirs, ours, *commits, labels=(LABELS, LABELS), rounds=1, **more):
    return ScriptedSession(
        Status=STATUS * 9,
        Resolve=[wire.ResolveResponse(commit_ts=9)] * rounds,
        Lineage=[FORK_OF_T, wire.LineageResponse()] * rounds,
        ListLabels=list(labels) * rounds,
        Diff=[theirs, ours] * rounds,
        Commit=list(commits),
        **more,
    )


def merged(session, choose=None, resolve=None, metadata=None, dry_run=False):
    asked = branching.Merging("n", "s", "t", merging.Choices(choose, resolve), metadata, dry_run)
    return session.run(branching.merging(session, asked))


class TestMerge:
    def test_it_writes_what_the_source_changed_and_demands_what_was_read(self):
        session = merging_of(
            difference(k0=(b"1", b"2"), k1=(b"1", None)),
            difference(k2=(b"1", b"5")),
            DONE,
            GetMany=[versions(4, 7)],
        )
        told = merged(session)
        (commit,) = session.asked["Commit"]
        assert [(one.key, one.value.json) for one in commit.operations[:2]] == [
            ("k0", b"2"),
            ("k1", b""),
        ]
        assert [(one.key, one.version) for one in commit.preconditions] == [("k0", 4), ("k1", 7)]
        assert all(one.agent_id == "t" for one in commit.operations)
        label = commit.operations[2].mark.label
        assert (label.name, label.commit_ts) == ("merged/s", 9)
        assert told.commit_ts == 50
        assert (told.base_agent_id, told.base_ts) == ("t", 3)

    def test_its_event_tells_what_was_merged(self):
        session = merging_of(difference(k0=(b"1", b"2")), difference(), DONE, GetMany=[versions(4)])
        merged(session, metadata=requests.given_metadata({"actor": "x", "extra": {"mine": "1"}}))
        metadata = session.asked["Commit"][0].metadata
        assert metadata.actor == "x"
        assert dict(metadata.extra) == {
            "mine": "1",
            "merge.source": "s",
            "merge.source_ts": "9",
            "merge.base": "t",
            "merge.base_ts": "3",
        }

    def test_what_nobody_decides_is_told_and_nothing_is_written(self):
        session = merging_of(difference(k0=(b"1", b"2")), difference(k0=(b"1", b"3")))
        with pytest.raises(MergeConflictError) as raised:
            merged(session)
        (conflict,) = raised.value.conflicts
        assert (conflict.key, conflict.base, conflict.source, conflict.target) == ("k0", 1, 2, 3)
        assert session.asked["Commit"] == []

    def test_a_dry_run_only_tells(self):
        session = merging_of(
            difference(k0=(b"1", b"2"), k1=(b"1", b"2")), difference(k0=(b"1", b"3"))
        )
        told = merged(session, dry_run=True)
        assert ([one.key for one in told.written], told.commit_ts) == (["k1"], None)
        assert [one.key for one in told.conflicts] == ["k0"]
        assert told.to_dict()["conflicts"] == [
            {
                "key": "k0",
                "base": {"value": 1},
                "source": {"value": 2},
                "target": {"value": 3},
            }
        ]

    def test_a_decision_for_the_target_is_remembered_though_nothing_is_written(self):
        session = merging_of(
            difference(k0=(b"1", b"2")),
            difference(k0=(b"1", b"3")),
            DONE,
            GetMany=[versions(4)],
        )
        assert merged(session, "target").written == ()
        (commit,) = session.asked["Commit"]
        assert [one.mark.label.name for one in commit.operations] == ["merged/s"]
        assert [one.version for one in commit.preconditions] == [4]

    def test_with_nothing_to_bring_over_nothing_is_committed(self):
        assert merged(merging_of(difference(), difference(k0=(b"1", b"2")))).commit_ts is None

    def test_it_begins_anew_when_the_target_moved_on(self):
        session = merging_of(
            difference(k0=(b"1", b"2")),
            difference(),
            RACED,
            DONE,
            rounds=2,
            GetMany=[versions(4), versions(5)],
        )
        assert merged(session).commit_ts == 50
        assert [one.preconditions[0].version for one in session.asked["Commit"]] == [4, 5]

    @pytest.mark.parametrize(
        ("labels", "base"),
        [
            ((LABELS, [("merged/s", 7, 8)]), ("s", 7)),
            (([("merged/t", 6, 8)], LABELS), ("t", 6)),
            (([("merged/t", 6, 8)], [("merged/s", 7, 8)]), ("s", 7)),
            ((LABELS, [("merged/other", 7, 8)]), ("t", 3)),
            ((LABELS, [("merged/s", 2, 8)]), ("t", 3)),
            ((LABELS, [("merged/s", 7, 10)]), ("t", 3)),
        ],
        ids=["forth", "back", "the later one", "another", "an older one", "one set meanwhile"],
    )
    def test_an_earlier_merge_is_the_base_of_the_next(self, labels, base):
        told = [
            side
            if side is LABELS
            else [
                wire.ListLabelsResponse(
                    labels=[
                        wire.Label(name=name, commit_ts=point, set_at=set_at)
                        for name, point, set_at in side
                    ]
                )
            ]
            for side in labels
        ]
        session = merging_of(difference(), difference(), labels=told)
        result = merged(session)
        assert (result.base_agent_id, result.base_ts) == base
        asked = session.asked["Diff"]
        assert {(one.agent_id, one.a.commit_ts) for one in asked} == {base}
        assert [(one.other_agent_id, one.b.commit_ts) for one in asked] == [("s", 9), ("t", 9)]

    def test_agents_without_a_common_ancestor_are_refused(self):
        session = ScriptedSession(
            Resolve=[wire.ResolveResponse(commit_ts=9)],
            Lineage=[wire.LineageResponse()] * 2,
            ListLabels=[LABELS] * 2,
        )
        with pytest.raises(UnrelatedAgentsError, match="'s' and 't'"):
            merged(session)

    def test_what_no_transaction_holds_is_refused_with_its_limit(self):
        many = {f"k{place}": (None, b"1") for place in range(limits.TRANSACTION_OPERATIONS_MAX)}
        with pytest.raises(TooLargeError) as raised:
            merged(merging_of(difference(**many), difference()))
        assert raised.value.limit_name == "transaction_operations_max"

    def test_an_unknown_outcome_says_so(self, monkeypatch):
        session = merging_of(
            difference(k0=(b"1", b"2")), difference(), lost(), GetMany=[versions(1)]
        )
        monkeypatch.setattr(session, "timeout_s", 0.0)
        with pytest.raises(OutcomeUnknownError, match="merge again"):
            merged(session)


def resolved(commit_ts):
    return wire.ResolveResponse(commit_ts=commit_ts)


class TestLabels:
    def set_label(self, session, at=None, name="then"):
        return session.run(marking.set_label(session, "n", "a", name, at, None))

    def test_without_a_point_it_names_now(self):
        session = ScriptedSession(Status=STATUS, Resolve=[resolved(9)], Commit=[DONE])
        assert self.set_label(session) == 9
        assert not session.asked["Resolve"][0].HasField("at")
        (operation,) = session.asked["Commit"][0].operations
        assert (operation.agent_id, operation.mark.label.commit_ts) == ("a", 9)

    def test_the_empty_beginning_has_no_label(self):
        with pytest.raises(InvalidRequestError, match="empty beginning"):
            self.set_label(ScriptedSession(Resolve=[resolved(0)]), 0)

    @pytest.mark.parametrize("name", ["", "12", "-1", "2024-01-01", "20240101T120000Z", 5, None])
    def test_a_name_that_reads_like_a_point_is_refused(self, name):
        with pytest.raises(InvalidRequestError):
            self.set_label(ScriptedSession(), 1, name)

    def test_what_a_commit_is_refused_for_is_raised_as_it_is(self):
        session = ScriptedSession(
            Status=STATUS, Resolve=[resolved(9)], Commit=[refused(InvalidRequestError("no"))]
        )
        with pytest.raises(InvalidRequestError, match="no"):
            self.set_label(session)

    def test_the_deletion_of_none_says_so(self):
        session = ScriptedSession(Status=STATUS, Commit=[refused(LabelNotFoundError("none"))])
        with pytest.raises(LabelNotFoundError):
            session.run(marking.delete_label(session, "n", "a", "then", None))


class TestForks:
    def forked(self, session, at=None):
        return session.run(marking.fork(session, "n", "a", "b", at, None))

    def test_it_is_one_commit_of_the_new_agent(self):
        session = ScriptedSession(Status=STATUS, Resolve=[resolved(9)], Commit=[DONE])
        point = self.forked(session, "then")
        assert (point.agent_id, point.parent_id, point.commit_ts) == ("b", "a", 9)
        assert point.forked_at == 50
        assert session.asked["Resolve"][0].agent_id == "a"
        (operation,) = session.asked["Commit"][0].operations
        assert (operation.agent_id, operation.mark.fork.parent_id) == ("b", "a")

    def test_an_agent_that_exists_is_refused(self):
        session = ScriptedSession(
            Status=STATUS, Resolve=[resolved(9)], Commit=[refused(AgentExistsError("there"))]
        )
        with pytest.raises(AgentExistsError):
            self.forked(session)

    def test_an_unknown_outcome_says_where_to_look(self, monkeypatch):
        session = ScriptedSession(Status=STATUS, Resolve=[resolved(9)], Commit=[lost()])
        monkeypatch.setattr(session, "timeout_s", 0.0)
        with pytest.raises(OutcomeUnknownError, match=r"lineage\('b'\)"):
            self.forked(session)


def test_a_cursor_that_is_not_there_cannot_be_deleted():
    session = ScriptedSession(GetCursor=[wire.GetCursorResponse(cursor=wire.Cursor(version=3))])
    with pytest.raises(NotFoundError, match="'c'"):
        session.run(marking.delete_cursor(session, "n", "c", None))
