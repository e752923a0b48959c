"""The process `statehoused` as an operator meets it: starts, refusals, signals, exit codes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from statehouse_proto.services import CLUSTER_SERVICE, STATE_SERVICE, V1_SERVICE, methods

from tests.helpers.waiting import eventually

CLIENT = b"client-of-a-test"
KEY = {"namespace": "ns", "agent_id": "a", "key": "k"}
WAIT_S = 30


class Daemon:
    """One running process and what it has said so far."""

    def __init__(self, *arguments, env=None):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "statehouse.daemon", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self.said = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.said += line

    def wait_said(self, pattern):
        return eventually(lambda: re.search(pattern, self.said), timeout_s=WAIT_S)

    @property
    def address(self):
        return self.wait_said(r"listen=(\S+)")[1]

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.ended()

    def ended(self):
        code = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return code


@contextmanager
def daemon(*arguments, env=None):
    running = Daemon(*arguments, env=env)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.ended()
        running.process.stdout.close()


@contextmanager
def calling(address):
    with grpc.insecure_channel(address) as channel:

        def call(service, name, **fields):
            method = methods(service)[name]
            make = channel.unary_stream if method.server_streaming else channel.unary_unary
            answer = make(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )(method.request(**fields), timeout=WAIT_S, wait_for_ready=True)
            return list(answer) if method.server_streaming else answer

        yield channel, call


def serving(channel):
    def check():
        asked = health_pb2.HealthCheckRequest(service="")
        answer = health_pb2_grpc.HealthStub(channel).Check(
            asked, timeout=WAIT_S, wait_for_ready=True
        )
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    eventually(check, timeout_s=WAIT_S)


def write(call, sequence, value=b"1"):
    return call(
        STATE_SERVICE,
        "Commit",
        op_id={"client_id": CLIENT, "sequence": sequence},
        operations=[{**KEY, "value": {"json": value}}],
    )


def on_loopback(tmp_path):
    return ["--listen", "127.0.0.1:0", "--data", str(tmp_path / "data")]


def refusal(*arguments, env=None):
    """What a start that is refused says; it must be one sentence and exit code 1."""
    done = subprocess.run(
        [sys.executable, "-m", "statehouse.daemon", *arguments],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == 1, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("statehoused: ")]
    assert len(said) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return said[0]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_node_keeps_what_it_acknowledged_across_a_stop(tmp_path, how):
    for round_number in (1, 2):
        with daemon(*on_loopback(tmp_path)) as node, calling(node.address) as (channel, call):
            serving(channel)
            assert write(call, round_number).versions == [round_number]
            assert node.stop(how) == 0
            assert "Stopped" in node.said


def test_a_node_keeps_what_it_acknowledged_across_a_kill(tmp_path):
    for round_number in (1, 2, 3):
        with daemon(*on_loopback(tmp_path)) as node, calling(node.address) as (channel, call):
            serving(channel)
            answer = write(call, round_number)
            assert (answer.commit_ts, answer.versions) == (round_number, [round_number])
            node.stop(signal.SIGKILL)


def test_a_stop_while_others_write_loses_nothing_and_ends_soon(tmp_path):
    acknowledged = []
    with daemon(*on_loopback(tmp_path)) as node, calling(node.address) as (channel, call):
        serving(channel)

        def keep_writing():
            with contextlib.suppress(grpc.RpcError):
                acknowledged.extend(
                    write(call, sequence).commit_ts for sequence in itertools.count(1)
                )

        writer = threading.Thread(target=keep_writing)
        writer.start()
        eventually(lambda: len(acknowledged) > 20, timeout_s=WAIT_S)
        began = time.monotonic()
        assert node.stop() == 0
        assert time.monotonic() - began < 15
        writer.join(WAIT_S)
        assert not writer.is_alive()
    with daemon(*on_loopback(tmp_path)) as node, calling(node.address) as (channel, call):
        serving(channel)
        pages = call(STATE_SERVICE, "Replay")
        stored = {event.commit_ts for page in pages for event in page.events}
        assert set(acknowledged) <= stored
        assert stored == set(range(1, len(stored) + 1))


def test_a_node_in_memory_forgets_and_leaves_nothing(tmp_path):
    env = {"STATEHOUSE_USE_MEMORY": "1", "TMPDIR": str(tmp_path)}
    with (
        daemon("--listen", "127.0.0.1:0", env=env) as node,
        calling(node.address) as (
            channel,
            call,
        ),
    ):
        serving(channel)
        assert write(call, 1).commit_ts == 1
        assert "in memory" in node.said
        assert node.stop() == 0
    assert list(tmp_path.iterdir()) == []


def test_memory_can_be_switched_off_by_value(tmp_path):
    env = {"STATEHOUSE_USE_MEMORY": "0"}
    with daemon(*on_loopback(tmp_path), env=env) as node, calling(node.address) as (channel, _):
        serving(channel)
        assert node.stop() == 0
    assert (tmp_path / "data" / "identity.json").exists()


def test_a_port_in_use_is_said_in_a_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal("--listen", f"127.0.0.1:{port}", "--data", str(tmp_path))
    assert f"127.0.0.1:{port}" in said
    assert "in use" in said


def test_a_peer_port_in_use_is_said_in_a_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refusal(*on_loopback(tmp_path), "--peer-listen", address)
    assert address in said


def test_a_data_directory_in_use_is_said_in_a_sentence(tmp_path):
    with daemon(*on_loopback(tmp_path)) as node:
        node.wait_said("now=serving")
        said = refusal(*on_loopback(tmp_path))
        assert f"in use by process {node.process.pid}" in said
        assert node.stop() == 0


def test_the_directory_of_another_node_is_refused(tmp_path):
    with daemon(*on_loopback(tmp_path)) as node:
        node.wait_said("now=serving")
        node.stop()
    assert "belongs to node 'n1'" in refusal(*on_loopback(tmp_path), "--name", "n2")


@pytest.mark.parametrize("damaged", ["identity.json", "journal", "state"])
def test_damaged_files_are_refused_in_a_sentence_that_names_them(tmp_path, damaged):
    with daemon(*on_loopback(tmp_path)) as node, calling(node.address) as (channel, call):
        serving(channel)
        for sequence in range(1, 20):
            write(call, sequence)
        node.stop()
    for path in sorted((tmp_path / "data").rglob("*")):
        place = path.relative_to(tmp_path / "data").as_posix()
        if path.is_file() and place.startswith(damaged) and path.stat().st_size:
            flip_the_middle(path)
    assert str(tmp_path / "data") in refusal(*on_loopback(tmp_path))


def flip_the_middle(path):
    data = bytearray(path.read_bytes())
    start = len(data) // 2
    for place in range(start, min(start + 16, len(data))):
        data[place] ^= 0xFF
    path.write_bytes(data)


def test_a_bad_setting_is_refused_by_name_and_source(tmp_path):
    said = refusal(env={"STATEHOUSE_ADDR": "0.0.0.0:1"})
    assert "listen" in said
    assert "STATEHOUSE_ADDR" in said


def test_settings_can_be_printed_without_starting(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "statehouse.daemon", "--name", "n9", "--print-config"],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
        cwd=tmp_path,
    )
    assert 'name = "n9"  # flag --name' in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_every_protocol_is_answered_on_one_port(tmp_path):
    with daemon(*on_loopback(tmp_path)) as node, calling(node.address) as (channel, call):
        serving(channel)
        assert call(V1_SERVICE, "Health").status == "ok"
        version = call(V1_SERVICE, "Version").version
        status = call(CLUSTER_SERVICE, "Status")
        assert (status.version, status.lifecycle) == (version, "serving")
        assert status.leader_address == node.address
        assert node.stop() == 0


def test_log_lines_can_be_json(tmp_path):
    with daemon(*on_loopback(tmp_path), "--log-format", "json") as node:
        node.wait_said('"now": "serving"')
        node.stop()
    lines = [line for line in node.said.splitlines() if line.startswith("{")]
    assert {"time", "level", "logger", "message"} <= set(json.loads(lines[0]))
    assert not [line for line in node.said.splitlines() if not line.startswith("{")]
