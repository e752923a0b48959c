"""What a cluster is handed that it must not take: by callers, and by strangers on its ports.

Every refusal is a typed error in words, stores nothing, and leaves all nodes as they were: the same
processes, the same leader, the same term. How single parts refuse is in their own unit tests.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import socket
import struct
import subprocess
import sys
import time
from datetime import UTC, datetime

import grpc
import pytest
from statehouse_cluster.hello import Hello, decode_reply, encode_hello
from statehouse_cluster.wire import FRAME_BYTES_MAX, FrameReader, frame
from statehouse_proto.services import (
    CLUSTER_SERVICE,
    HISTORY_SERVICE,
    STATE_SERVICE,
    V1_SERVICE,
    methods,
)
from statehouse_proto.v2 import common_pb2

from statehouse import (
    ConnectionError,
    FuturePointError,
    InvalidRequestError,
    InvalidValueError,
    MembershipError,
    Statehouse,
    StatehouseError,
    TooLargeError,
    TransactionAbortedError,
    TransactionExpiredError,
)
from tests.helpers.lone_daemon import DAEMON, running
from tests.helpers.waiting import eventually

WAIT_S = 30
MIB = 1024 * 1024
CODE = grpc.StatusCode


@pytest.fixture
def client(cluster):
    with Statehouse(cluster.endpoints) as client:
        yield client


@pytest.fixture
def unharmed(cluster):
    """After the test: no process died, nobody lost the lead, and the cluster takes writes."""
    before = eventually(lambda: _facts(cluster), what="the status of all")
    yield
    assert eventually(lambda: _facts(cluster), what="the status of all") == before
    assert cluster.takes_writes()


def _facts(cluster):
    """None when a node did not answer in the time that a look may take."""
    reports = cluster.reports()
    if any(report.status is None for report in reports):
        return None
    return [(r.pid, r.serving, r.status.term, r.status.leader_name) for r in reports]


def stored_nothing(client, agent_id):
    snapshot = client.snapshot(agent_id)
    return not snapshot.records and not list(client.replay(agent_id))


def send(address, service, name, payload, timeout_s=WAIT_S):
    """One call with these very bytes; the answer, or the grpc.RpcError."""
    method = methods(service)[name]
    with grpc.insecure_channel(address) as channel:
        try:
            if method.server_streaming:
                parts = list(channel.unary_stream(method.path)(payload, timeout=timeout_s))
                return [method.response.FromString(part) for part in parts]
            answer = channel.unary_unary(method.path)(payload, timeout=timeout_s)
            return method.response.FromString(answer)
        except grpc.RpcError as error:
            return error


def call(address, service, name, /, **fields):
    return send(
        address, service, name, methods(service)[name].request(**fields).SerializeToString()
    )


def leader_of(cluster):
    return cluster.node(eventually(cluster.leader, what="a leader")).client_address


def reason_of(error):
    told = dict(error.trailing_metadata())["statehouse-error-bin"]
    return common_pb2.Reason.Name(common_pb2.ErrorDetails.FromString(told).reason)


# -- Through the SDK

BAD_WRITES = {
    "an empty key": ({"key": ""}, InvalidRequestError),
    "a key that is no text": ({"key": 7}, InvalidRequestError),
    "a key of too many bytes": ({"key": "ü" * 513}, TooLargeError),
    "half a character": ({"key": "\ud800"}, InvalidRequestError),
    "an empty agent": ({"agent_id": ""}, InvalidRequestError),
    "too large a value": ({"value": "x" * MIB}, TooLargeError),
    "too many raw bytes": ({"value": b"x" * (MIB + 1)}, TooLargeError),
    "not a number": ({"value": [float("nan")]}, InvalidValueError),
    "a key that is no string": ({"value": {1: 2}}, InvalidValueError),
    "bytes inside": ({"value": {"a": b"b"}}, InvalidValueError),
    "a set": ({"value": {1, 2}}, InvalidValueError),
    "too many digits": ({"value": 10**4300}, InvalidValueError),
    "a negative version": ({"if_version": -1}, InvalidRequestError),
}


@pytest.mark.parametrize("case", BAD_WRITES)
def test_a_write_that_cannot_be_is_refused_where_it_stands(unharmed, client, agent_id, case):
    fields, kind = BAD_WRITES[case]
    tx = client.begin_transaction()
    with pytest.raises(kind):
        tx.write(**{"agent_id": agent_id, "key": "k", "value": 1, **fields})
    tx.abort()
    assert stored_nothing(client, agent_id)


@pytest.mark.parametrize(
    ("names", "metadata", "cause"),
    [
        ({"key": "a\0b"}, {}, InvalidRequestError),
        ({"key": "a\x1b[31m"}, {}, InvalidRequestError),
        ({"namespace": "n\n"}, {}, InvalidRequestError),
        ({}, {"reason": "x" * 16385}, TooLargeError),
        ({}, {"caused_by": range(1, 66)}, TooLargeError),
        ({}, {"caused_by": 2**63}, InvalidRequestError),
    ],
)
def test_what_only_the_node_refuses_aborts_the_commit(
    unharmed, client, agent_id, names, metadata, cause
):
    tx = client.begin_transaction(**metadata)
    tx.write(agent_id, "other", 1)
    tx.write(**{"agent_id": agent_id, "key": "k", "value": 1, **names})
    with pytest.raises(TransactionAbortedError) as refused:
        tx.commit()
    assert isinstance(refused.value.cause, cause)
    assert stored_nothing(client, agent_id)


def test_a_transaction_of_too_many_operations_or_bytes_is_refused_whole(unharmed, client, agent_id):
    tx = client.begin_transaction()
    for number in range(1024):
        tx.write(agent_id, f"k{number}", number)
    with pytest.raises(TooLargeError, match="transaction_operations_max"):
        tx.write(agent_id, "one more", 1)
    tx.abort()
    tx = client.begin_transaction()
    for number in range(4):
        tx.write(agent_id, f"k{number}", "x" * (MIB - 10))
    with pytest.raises(TransactionAbortedError, match="transaction_bytes_max"):
        tx.commit()
    assert stored_nothing(client, agent_id)


def test_an_expired_transaction_writes_nothing(unharmed, client, agent_id):
    tx = client.begin_transaction(timeout_ms=500)
    tx.write(agent_id, "k", 1)
    over_s = time.monotonic() + 0.5
    eventually(lambda: time.monotonic() > over_s)
    with pytest.raises(TransactionExpiredError):
        tx.commit()
    assert stored_nothing(client, agent_id)


def test_points_that_cannot_be_are_errors_and_unreached_ones_say_so(unharmed, client, agent_id):
    for impossible in (-1, 2**64, True, "5", datetime(1969, 1, 1, tzinfo=UTC)):
        with pytest.raises(InvalidRequestError):
            client.get_state(agent_id, "k", at=impossible)
    for unreached in (10**12, 2**63, datetime(9000, 1, 1, tzinfo=UTC)):
        with pytest.raises(FuturePointError):
            client.snapshot(agent_id, at=unreached)
    with pytest.raises(InvalidRequestError):
        list(client.replay(agent_id, start_ts=-1))
    assert list(client.replay(agent_id, start_ts=9, end_ts=3)) == []


def test_what_nobody_wrote_is_an_empty_answer(unharmed, client, agent_id):
    for place in ({}, {"namespace": f"no-{agent_id}"}):
        assert not client.get_state(agent_id, "k", **place).exists
        assert not client.get_state(agent_id, "k", version=7, **place).exists
        assert client.list_keys(agent_id, **place) == []
        assert client.scan_prefix(agent_id, "p", **place) == []
        assert list(client.replay(agent_id, **place)) == []
    assert client.list_agents(f"no-{agent_id}") == []


# -- Past the SDK

PLACE = {"namespace": "default", "key": "k"}
OP_ID = {"client_id": b"bad-input-client", "sequence": 1}

BAD_COMMITS = {
    "no op id": {"op_id": None},
    "a short client id": {"op_id": {"client_id": b"short", "sequence": 1}},
    "no sequence": {"op_id": {"client_id": OP_ID["client_id"]}},
    "it acknowledges itself": {"op_id": {**OP_ID, "acknowledged_through": 1}},
    "no JSON": {"value": {"json": b"{bad"}},
    "JSON that is no UTF-8": {"value": {"json": b'"\xff"'}},
    "not a number": {"value": {"json": b"NaN"}},
    "too deep": {"value": {"json": b"[" * 513 + b"]" * 513}},
    "too large": {"value": {"raw": b"x" * (MIB + 1)}},
    "an empty key": {"key": ""},
    "an empty namespace": {"namespace": ""},
    "a control character": {"agent_id": "a\x00"},
    "too long a name": {"key": "k" * 1025},
    "a condition that demands nothing": {"conditions": [{**PLACE, "agent_id": "a"}]},
    "too many conditions": {
        "conditions": [{**PLACE, "agent_id": "a", "absent": True}] * 4097,
    },
}


@pytest.mark.parametrize("case", BAD_COMMITS)
def test_a_commit_that_no_sdk_sends_is_refused_by_reason(unharmed, cluster, client, agent_id, case):
    fields = {**PLACE, "agent_id": agent_id, "value": {"json": b"1"}, **BAD_COMMITS[case]}
    names = ("namespace", "agent_id", "key", "value")
    error = call(
        leader_of(cluster),
        STATE_SERVICE,
        "Commit",
        op_id=fields.get("op_id", OP_ID),
        operations=[{name: fields[name] for name in names}],
        preconditions=fields.get("conditions", []),
    )
    assert error.code() is CODE.INVALID_ARGUMENT
    assert reason_of(error) in ("REASON_INVALID_ARGUMENT", "REASON_TOO_LARGE")
    assert error.details()
    assert stored_nothing(client, agent_id)


def test_a_commit_that_was_answered_is_answered_the_same_again(unharmed, cluster, client, agent_id):
    request = {
        "op_id": {"client_id": os.urandom(16), "sequence": 1},
        "operations": [{**PLACE, "agent_id": agent_id, "value": {"json": b"1"}}],
    }
    first = call(leader_of(cluster), STATE_SERVICE, "Commit", **request)
    assert call(leader_of(cluster), STATE_SERVICE, "Commit", **request) == first
    request["operations"][0]["value"] = {"json": b"2"}
    error = call(leader_of(cluster), STATE_SERVICE, "Commit", **request)
    assert reason_of(error) == "REASON_OP_ID_REUSED"
    assert [event.commit_ts for event in client.replay(agent_id)] == [first.commit_ts]


@pytest.mark.parametrize("service", [V1_SERVICE, STATE_SERVICE, HISTORY_SERVICE, CLUSTER_SERVICE])
def test_bytes_that_are_no_message_are_refused_at_every_method(unharmed, cluster, service):
    for name in methods(service):
        error = send(leader_of(cluster), service, name, b"\xff\xff\xff\xff")
        assert error.code() is CODE.INVALID_ARGUMENT, name


def test_oversized_messages_and_unknown_methods_are_refused_by_code(unharmed, cluster):
    error = send(leader_of(cluster), STATE_SERVICE, "Commit", b"\0" * (5 * MIB))
    assert error.code() is CODE.RESOURCE_EXHAUSTED
    with grpc.insecure_channel(leader_of(cluster)) as channel:
        unknown = channel.unary_unary("/statehouse.v2.StateService/Guess")
        with pytest.raises(grpc.RpcError) as refused:
            unknown(b"", timeout=WAIT_S)
    assert refused.value.code() is CODE.UNIMPLEMENTED


# -- The v1 protocol, on a leader and on a follower


@pytest.fixture(params=["leader", "follower"])
def v1_address(request, cluster):
    leader = eventually(cluster.leader, what="a leader")
    number = leader if request.param == "leader" else leader % cluster.size + 1
    return cluster.node(number).client_address


def test_v1_tells_unknown_expired_and_finished_transactions_apart(
    unharmed, v1_address, client, agent_id
):
    def v1(name, **fields):
        return call(v1_address, V1_SERVICE, name, **fields)

    unknown = v1("Commit", txn_id="nobody knows it")
    assert unknown.code() is CODE.NOT_FOUND
    assert "not found" in unknown.details()
    short = v1("BeginTransaction", timeout_ms=0).txn_id
    expired = v1("Write", txn_id=short, agent_id=agent_id, key="k", value={})
    assert expired.code() is CODE.DEADLINE_EXCEEDED
    assert "expired" in expired.details()
    eternal = v1("BeginTransaction", timeout_ms=2**63)
    assert eternal.code() is CODE.INVALID_ARGUMENT
    assert "staged_time_ms_max" in eternal.details()
    assert stored_nothing(client, agent_id)

    txn_id = v1("BeginTransaction").txn_id
    v1("Write", txn_id=txn_id, agent_id=agent_id, key="k", value={"a": 1})
    first = v1("Commit", txn_id=txn_id)
    assert v1("Commit", txn_id=txn_id) == first
    late = v1("Write", txn_id=txn_id, agent_id=agent_id, key="k", value={})
    assert late.code() is CODE.FAILED_PRECONDITION
    assert [event.commit_ts for event in client.replay(agent_id)] == [first.commit_ts]


@pytest.mark.parametrize(
    "fields",
    [
        {"agent_id": ""},
        {"key": ""},
        {"key": "k" * 1025},
        {"key": "k\0"},
        {"value": {"x": float("inf")}},
        {"value": {"x": "y" * MIB}},
    ],
)
def test_a_v1_write_that_cannot_be_stored_is_refused(
    unharmed, v1_address, client, agent_id, fields
):
    txn_id = call(v1_address, V1_SERVICE, "BeginTransaction").txn_id
    fields = {"agent_id": agent_id, "key": "k", "value": {}, **fields}
    error = call(v1_address, V1_SERVICE, "Write", txn_id=txn_id, **fields)
    assert error.code() is CODE.INVALID_ARGUMENT
    assert error.details().startswith("Write failed: ")
    call(v1_address, V1_SERVICE, "Abort", txn_id=txn_id)
    assert stored_nothing(client, agent_id)


# -- Strangers on the ports

GARBAGE = {
    "nothing": b"",
    "a web browser": b"GET / HTTP/1.1\r\nHost: statehouse\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "noise": bytes(range(256)) * 512,
    "a frame without end": struct.pack("!II", FRAME_BYTES_MAX + 1, 0) + b"x" * 1000,
    "a pickle": pickle.dumps({"type": "append_entries"}),
    "a framed pickle": frame(pickle.dumps(("append_entries", 1))),
}


def half_close(stranger: socket.socket) -> None:
    """Says that no more will come; a node that has reset the connection already needs no word."""
    try:
        stranger.shutdown(socket.SHUT_WR)
    except OSError as gone:
        if gone.errno != errno.ENOTCONN:
            raise


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("port", ["client", "peer"])
def test_garbage_on_a_port_ends_that_connection_and_nothing_else(unharmed, cluster, port, garbage):
    for number in range(1, cluster.size + 1):
        node = cluster.node(number)
        host, _, port_number = getattr(node, f"{port}_address").rpartition(":")
        with (
            socket.create_connection((host, int(port_number)), timeout=WAIT_S) as stranger,
            contextlib.suppress(ConnectionResetError, BrokenPipeError),
        ):
            stranger.sendall(GARBAGE[garbage])
            half_close(stranger)
            while stranger.recv(65536):
                pass


def hello(address, **fields):
    """What the node says to a peer's hello."""
    told = {"purpose": "raft", "peer_address": "", "client_address": "", **fields}
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as peer:
        peer.sendall(frame(encode_hello(Hello(**told))))
        reader, found = FrameReader(), []
        while not found:
            received = peer.recv(65536)
            assert received, "the node said nothing"
            found = list(reader.feed(received))
    return decode_reply(found[0])


def test_a_peer_of_another_cluster_or_another_disk_is_refused(unharmed, cluster, client):
    status = client.cluster_status()
    address = cluster.node(1).peer_address
    fields = {"name": "n2", "uuid": "0" * 32, "cluster_id": "f" * 32}
    assert hello(address, **fields).code == "wrong-cluster"
    fields["cluster_id"] = status.cluster_id
    assert hello(address, **fields).code == "wrong-uuid"
    assert hello(address, **{**fields, "target_name": "n9"}).code == "wrong-name"


def test_a_node_of_another_cluster_is_not_added(unharmed, cluster, client, fresh_cluster):
    other = fresh_cluster(nodes=1)
    with pytest.raises(MembershipError, match="only a node started with --join"):
        list(client.add_member(other.node(1).peer_address))
    for address in ("127.0.0.1:1", cluster.node(1).client_address):
        with pytest.raises(MembershipError, match="no node answers"):
            list(client.add_member(address))
    for address in ("", "nonsense", "127.0.0.1:0", "127.0.0.1:99999"):
        with pytest.raises(InvalidRequestError, match="port"):
            list(client.add_member(address))
    for name in ("n9", "\0", "x" * 5000):
        with pytest.raises(StatehouseError):
            client.remove_member(name)
        with pytest.raises(StatehouseError):
            client.transfer_leadership(name)
    with pytest.raises(MembershipError, match="n9 is none of the other members"):
        client.transfer_leadership("n9")
    assert [member.name for member in client.cluster_status().members] == ["n1", "n2", "n3"]


def test_a_node_founded_without_a_peer_address_says_at_once_that_it_stays_alone(
    tmp_path, fresh_cluster
):
    other = fresh_cluster(nodes=1)
    joiner = other.join(2)
    alone = [*DAEMON, "--listen", "127.0.0.1:0", "--data", str(tmp_path / "alone")]
    with running(alone, tmp_path / "log") as (_, address), Statehouse(address) as client:
        with pytest.raises(MembershipError, match="founded without an address for its peers"):
            list(client.add_member(joiner))
        assert [member.name for member in client.cluster_status().members] == ["n1"]


# -- The shell


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["put", "AGENT", "k", "{bad"], 2),
        (["put", "AGENT", "k", '{"a": 1, "a": 2}'], 2),
        (["put", "AGENT", "k", "NaN"], 2),
        (["put", "AGENT", "k\n", "1"], 1),
        (["put", "AGENT", "", "1"], 1),
        (["put", "AGENT", "k" * 1025, "1"], 1),
        (["put", "AGENT", "k", "1", "--if-version", "-1"], 2),
        (["put", "AGENT", "k", "--bytes-file", "/nowhere"], 2),
        (["get", "AGENT", "k", "--at", "-1"], 1),
        (["get", "AGENT", "k", "--at", "tomorrow"], 1),
        (["get", "AGENT", "k", "--at", "999999999999"], 1),
        (["get", "AGENT", "k", "--at", "9" * 30], 1),
        (["replay", "AGENT", "--limit", "-1"], 2),
        (["load", "AGENT", "/dev/null"], 1),
        (["--timeout", "0", "health"], 2),
        (["--url", "http://127.0.0.1:1", "health"], 1),
        (["--namespace", "n\0", "keys", "AGENT"], 1),
        (["cluster", "remove", "n9"], 1),
        (["cluster", "add", "nonsense"], 1),
    ],
)
def test_the_shell_tells_what_is_wrong_in_words(
    unharmed, cluster, client, agent_id, arguments, code
):
    if any("\0" in argument for argument in arguments):
        arguments = [argument.replace("\0", "\x07") for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "statehouse_sdk.cli"]
        + [agent_id if argument == "AGENT" else argument for argument in arguments],
        env={**os.environ, "STATEHOUSE_URL": cluster.endpoints},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert done.returncode == code, done.stderr
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    assert stored_nothing(client, agent_id)


# -- Nobody there


def test_an_address_nobody_listens_at_is_said_within_seconds():
    started = time.monotonic()
    with Statehouse("127.0.0.1:1") as client, pytest.raises(ConnectionError, match=r"127\.0\.0\.1"):
        client.health()
    assert time.monotonic() - started < 10
