"""The pin refuses every pysyncobj but the audited one, and knows each private name in use."""

import re
from pathlib import Path

import pytest
import statehouse_cluster
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.journal import MemoryJournal
from pysyncobj.node import Node
from pysyncobj.transport import Transport
from statehouse_cluster import pin

ADAPTER = sorted(Path(statehouse_cluster.__file__).parent.glob("raft_*.py"))


def test_the_installed_library_is_the_audited_one():
    pin.check()


def test_every_private_name_the_adapter_uses_is_in_the_pin():
    used = {name for path in ADAPTER for name in re.findall(r"_SyncObj__\w+", path.read_text())}
    listed = {name for name in pin.METHODS | pin.FIELDS if name.startswith("_SyncObj__")}
    assert used == listed


def test_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(pin.version, "VERSION", "0.3.18")
    with pytest.raises(
        pin.PinViolation, match=r"0\.3\.18 is installed; install pysyncobj==0\.3\.17"
    ):
        pin.check()


def test_a_changed_file_is_refused(monkeypatch):
    monkeypatch.setitem(pin.FILES, "node.py", "0" * 64)
    with pytest.raises(pin.PinViolation, match=r"node\.py is not the file that was audited"):
        pin.check()


def test_a_missing_method_is_refused(monkeypatch):
    monkeypatch.delattr(SyncObj, "_SyncObj__sendNextNodeIdx")
    with pytest.raises(pin.PinViolation, match="has no _SyncObj__sendNextNodeIdx"):
        pin.check()


def test_a_missing_field_is_refused(monkeypatch):
    monkeypatch.setattr(pin, "FIELDS", pin.FIELDS | {"_SyncObj__noSuchField"})
    with pytest.raises(pin.PinViolation, match="has no _SyncObj__noSuchField"):
        pin.check()


class Recorder(Transport):
    """A transport that keeps what is sent, by type."""

    ready = True

    def __init__(self):
        super().__init__(None, None, None)
        self.sent = {}

    def send(self, node, message):
        self.sent[message["type"]] = message
        return True


class Told(SyncObj):
    """Notes which of its overrides the library really calls, and in which order."""

    def __init__(self, transport):
        self.called = []
        conf = SyncObjConf(autoTick=False, raftMinTimeout=1.0, raftMaxTimeout=2.0)
        super().__init__(Node("a"), [Node("b")], conf=conf, nodeClass=Node, transport=transport)

    def _SyncObj__connectedToAnyone(self):
        self.called.append("connectedToAnyone")
        return True

    def _SyncObj__onBecomeLeader(self):
        self.called.append("onBecomeLeader")
        super()._SyncObj__onBecomeLeader()

    def _SyncObj__sendNextNodeIdx(self, *args, **kwargs):
        self.called.append("sendNextNodeIdx")
        super()._SyncObj__sendNextNodeIdx(*args, **kwargs)


@pytest.fixture
def stock():
    transport = Recorder()
    node = Told(transport)
    yield node, transport
    node.destroy()


def lead(node, transport):
    node._SyncObj__raftElectionDeadline = 0
    node.doTick()
    transport._onMessageReceived(Node("b"), {"type": "response_vote", "term": 1})
    transport._onNodeConnected(Node("b"))


def test_the_library_asks_the_gate_last_and_only_after_its_deadline(stock):
    node, _ = stock
    node._SyncObj__raftElectionDeadline = float("inf")
    node.doTick()
    assert node.called == []
    node._SyncObj__raftElectionDeadline = 0
    node.doTick()
    assert node.called == ["connectedToAnyone"]


def test_messages_have_the_keys_the_adapter_reads(stock):
    node, transport = stock
    lead(node, transport)
    assert set(transport.sent["request_vote"]) == {
        "type",
        "term",
        "last_log_index",
        "last_log_term",
    }
    node._SyncObj__newAppendEntriesTime = 0
    node.doTick()
    append = transport.sent["append_entries"]
    assert set(append) == {"type", "term", "commit_index", "entries", "prevLogIdx", "prevLogTerm"}
    transport._onMessageReceived(Node("b"), {**append, "term": 2, "entries": []})
    assert set(transport.sent["next_node_idx"]) == {"type", "next_node_idx", "reset", "success"}
    assert node.called[-1] == "sendNextNodeIdx"


def test_an_entry_is_payload_index_term_and_a_leader_begins_with_a_no_op(stock):
    node, transport = stock
    lead(node, transport)
    assert "onBecomeLeader" in node.called
    payload, index, term = node._SyncObj__raftLog[-1]
    assert (payload, index, term) == (b"\x01", 2, 1)


def test_the_constructor_takes_term_vote_and_commit_from_an_injected_journal():
    class Kept(MemoryJournal):
        def getCurrentTerm(self):
            return 7

        def getVotedForNodeId(self):
            return "b"

        def getRaftCommitIndex(self):
            return 5

    class Injected(SyncObj):
        _SyncObj__raftLog = property(lambda self: self.kept, lambda self, value: None)

        def __init__(self):
            self.kept = Kept()
            self.kept.add(b"\x01", 1, 0)
            conf = SyncObjConf(autoTick=False)
            super().__init__(Node("a"), [], conf=conf, nodeClass=Node, transport=Recorder())

    node = Injected()
    assert node._SyncObj__raftCurrentTerm == 7
    assert node._SyncObj__votedForNodeId == "b"
    assert node._SyncObj__raftCommitIndex == 5
    node.destroy()
