"""A subscription: a durable place that two readers cannot both move, and one can move safely."""

from __future__ import annotations

import pytest
from statehouse_proto.v2 import cluster_pb2 as cluster
from statehouse_proto.v2 import history_pb2 as wire
from statehouse_proto.v2 import state_pb2 as state
from statehouse_sdk import (
    Conflict,
    ConflictError,
    CursorMark,
    CursorMovedError,
    InvalidRequestError,
    OutcomeUnknownError,
    StatehouseError,
    Transaction,
)
from statehouse_sdk.models import ReplayEvent
from statehouse_sdk.subscription import Reader
from statehouse_sdk.transaction import Buffer

from tests.fakes.scripted_session import ScriptedSession, lost, refused

MOVED = refused(ConflictError("no", (Conflict("n", "", "cursor c", 1, actual_version=2),)))
BIRTH = [cluster.StatusResponse()]


def stored(**facts):
    told = {"name": "c", "through": 5, "agent_id": "a", "version": 3, "exists": True}
    return wire.GetCursorResponse(cursor=wire.Cursor(**(told | facts)))


def done(version, commit_ts=50):
    return state.CommitResponse(commit_ts=commit_ts, versions=[version])


def begun(session, start=None, **scope):
    reader = Reader("n", "c", **({"agent_id": "a", "prefix": ""} | scope))
    return session.run(reader._beginning(session, start))


def existing(*commits):
    session = ScriptedSession(Status=BIRTH * 9, GetCursor=[stored()], Commit=list(commits))
    return session, begun(session)


def cursor_of(request, operation=0):
    return request.operations[operation].mark


class TestTheBeginning:
    def test_a_cursor_that_exists_is_taken_where_it_stands(self):
        session, reader = existing()
        assert (reader.position, reader.version) == (5, 3)
        assert session.asked["Commit"] == []

    def test_a_new_name_is_written_down_at_once(self):
        session = ScriptedSession(
            Status=BIRTH * 9,
            GetCursor=[wire.GetCursorResponse()],
            Resolve=[wire.ResolveResponse(commit_ts=8)],
            Commit=[done(1)],
        )
        reader = begun(session)
        assert (reader.position, reader.version) == (8, 1)
        mark = cursor_of(session.asked["Commit"][0])
        assert (mark.cursor.name, mark.cursor.through, mark.cursor.agent_id) == ("c", 8, "a")
        assert (mark.if_version, mark.if_version_given) == (0, True)

    def test_a_deleted_name_begins_anew_at_the_version_it_has(self):
        gone = wire.GetCursorResponse(cursor=wire.Cursor(name="c", version=4))
        session = ScriptedSession(Status=BIRTH * 9, GetCursor=[gone], Commit=[done(5)])
        assert begun(session, start=0).version == 5
        assert cursor_of(session.asked["Commit"][0]).if_version == 4

    def test_who_comes_second_takes_what_the_first_made(self):
        session = ScriptedSession(
            Status=BIRTH * 9,
            GetCursor=[wire.GetCursorResponse(), stored(through=2, version=1)],
            Commit=[MOVED],
        )
        assert begun(session, start=0).position == 2

    @pytest.mark.parametrize("scope", [{"agent_id": "b"}, {"prefix": "x"}, {"agent_id": ""}])
    def test_a_name_that_follows_something_else_is_refused(self, scope):
        with pytest.raises(InvalidRequestError, match="follows agent 'a'"):
            begun(ScriptedSession(GetCursor=[stored()]), **scope)


class TestAcknowledging:
    def test_it_moves_the_cursor_by_the_version_that_is_known(self):
        session, reader = existing(done(4), done(5))
        assert session.run(reader._acknowledging(session, 7)) == 7
        event = ReplayEvent("t", 9, [])
        assert session.run(reader._acknowledging(session, event)) == 9
        marks = [cursor_of(request) for request in session.asked["Commit"]]
        assert [(mark.if_version, mark.cursor.through) for mark in marks] == [(3, 7), (4, 9)]

    def test_what_is_acknowledged_already_stays_so(self):
        session, reader = existing()
        assert session.run(reader._acknowledging(session, 4)) == 5
        assert session.asked["Commit"] == []

    def test_another_reader_is_noticed(self):
        session, reader = existing(MOVED)
        with pytest.raises(CursorMovedError, match="'c'"):
            session.run(reader._acknowledging(session, 7))
        assert reader.position == 5

    def test_an_unknown_outcome_is_learnt_by_the_next_acknowledgement(self, monkeypatch):
        session, reader = existing(lost(), done(4), done(5))
        deadline_s = session.deadline_s
        monkeypatch.setattr(session, "timeout_s", 0.0)
        with pytest.raises(OutcomeUnknownError, match="acknowledge again"):
            session.run(reader._acknowledging(session, 7))
        monkeypatch.setattr(session, "deadline_s", deadline_s)
        assert session.run(reader._acknowledging(session, 9)) == 9
        first, again, last = session.asked["Commit"]
        assert first.op_id.sequence == again.op_id.sequence
        assert cursor_of(last).if_version == 4

    def test_a_point_that_is_refused_leaves_it_as_it_was(self):
        session, reader = existing(refused(InvalidRequestError("future")), done(4))
        with pytest.raises(InvalidRequestError, match="future"):
            session.run(reader._acknowledging(session, 999))
        assert session.run(reader._acknowledging(session, 7)) == 7

    @pytest.mark.parametrize("wrong", [-1, "7", None, True])
    def test_what_is_no_event_is_refused(self, wrong):
        session, reader = existing()
        with pytest.raises(InvalidRequestError):
            session.run(reader._acknowledging(session, wrong))

    def test_a_closed_one_is_over(self):
        session, reader = existing()
        reader.closed = True
        with pytest.raises(StatehouseError, match="closed"):
            session.run(reader._acknowledging(session, 7))
        with pytest.raises(StatehouseError, match="closed"):
            reader._following(session)


class TestInATransaction:
    def test_it_moves_with_what_is_written(self):
        session, reader = existing(state.CommitResponse(commit_ts=50, versions=[1, 4]))
        tx = Buffer("other", None, None)
        tx.write("a", "k", 1)
        tx.acknowledge(reader, 7)
        assert reader.position == 5
        session.run(tx._committing(session))
        assert (reader.position, reader.version) == (7, 4)
        operation = session.asked["Commit"][0].operations[1]
        assert (operation.namespace, operation.agent_id) == ("n", "")

    def test_it_does_not_move_with_what_is_dropped(self):
        _, reader = existing()
        tx = Buffer("n", None, None)
        tx.acknowledge(reader, 7)
        tx.abort()
        assert reader.position == 5

    def test_several_count_together(self):
        session, reader = existing(state.CommitResponse(commit_ts=50, versions=[4, 5]))
        tx = Buffer("n", None, None)
        tx.acknowledge(reader, 7)
        tx.acknowledge(reader, 9)
        tx.acknowledge(reader, 3)
        session.run(tx._committing(session))
        assert (reader.position, reader.version) == (9, 5)

    def test_another_reader_is_noticed(self):
        session, reader = existing(MOVED)
        tx = Buffer("n", None, None)
        tx.write("a", "k", 1)
        tx.acknowledge(reader, 7)
        with pytest.raises(CursorMovedError) as raised:
            session.run(tx._committing(session))
        assert raised.value.conflicts[0].key == "cursor c"

    def test_another_conflict_is_told_as_what_it_is(self):
        other = Conflict("n", "b", "cursor c", 1, actual_version=2)
        session, reader = existing(refused(ConflictError("no", (other,))))
        tx = Buffer("n", None, None)
        tx.acknowledge(reader, 7)
        with pytest.raises(ConflictError) as raised:
            session.run(tx._committing(session))
        assert type(raised.value) is ConflictError


def test_transact_does_not_run_again_for_a_cursor_that_moved(blocking):
    runs = []

    def run(tx):
        runs.append(tx)
        raise CursorMovedError("moved")

    with pytest.raises(CursorMovedError):
        blocking.transact(run)
    assert len(runs) == 1


def test_a_label_in_a_transaction_needs_a_number(blocking):
    tx = blocking.begin_transaction()
    assert isinstance(tx, Transaction)
    for wrong in (0, -1, "then", True, None):
        with pytest.raises(InvalidRequestError):
            tx.label("a", "name", wrong)
    with pytest.raises(InvalidRequestError, match="kept by merge"):
        tx.label("a", "merged/b", 1)
    tx.label("a", "name", 1)


def test_it_says_where_it_stands():
    _, reader = existing()
    assert repr(reader) == "<Reader 'c' of a: through 5>"
    assert reader.mark_at(7) == CursorMark("c", 7, "a", "")
