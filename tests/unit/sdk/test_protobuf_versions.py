"""The client works under every protobuf it promises: older than its build's, and older still.

Each version gets an environment of its own. What is under test is imported from this checkout, so
that only the installed protobuf (and what it needs) differs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

ROUND_TRIP = """
import asyncio
import google.protobuf
from statehouse_proto.v2 import common_pb2 as common, state_pb2 as state
from statehouse_proto.services import CLUSTER_SERVICE, STATE_SERVICE, V1_SERVICE, methods
import statehouse_sdk
from statehouse_sdk import convert, faults

assert google.protobuf.__version__.startswith(VERSION), google.protobuf.__version__
request = state.CommitRequest(txn_id="t")
value = {"n": 2**53 + 1, "deep": [{"x": [1.5, None, "\\u00e4"]}]}
request.operations.append(
    state.Operation(namespace="n", agent_id="a", key="k", value=convert.value_message(value))
)
request.op_id.sequence = 7
request.metadata.extra["x"] = "y"
again = state.CommitRequest.FromString(request.SerializeToString())
assert again == request
assert convert.value_of(again.operations[0].value) == value
assert convert.metadata_of(again.metadata).extra == {"x": "y"}
assert again.operations[0].value.WhichOneof("kind") == "json"
assert set(faults.REASONS) == set(common.Reason.values()) - {0}
assert convert._enum_word(common.Reason, 3, "REASON_") == "not_leader"
for service in (V1_SERVICE, STATE_SERVICE, CLUSTER_SERVICE):
    for method in methods(service).values():
        assert method.request().SerializeToString() == b""
with statehouse_sdk.Statehouse("127.0.0.1:1", timeout=0.2) as client:
    try:
        client.health()
    except statehouse_sdk.ConnectionError as error:
        print("no connection" in str(error))

async def awaited():
    async with statehouse_sdk.AsyncStatehouse("127.0.0.1:1", timeout=0.2) as client:
        try:
            await client.health()
        except statehouse_sdk.ConnectionError as error:
            print("no connection" in str(error))

asyncio.run(awaited())
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", ["5.29", "6.33"])
def test_it_imports_and_speaks_under_protobuf(version, tmp_path):
    venv.create(tmp_path, with_pip=True)
    python = tmp_path / "bin" / "python"
    packages = (f"protobuf=={version}.*", "grpcio", "msgspec")
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    paths = [str(ROOT / folder) for folder in ("sdk", "proto")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    told = subprocess.run(
        [python, "-W", "error", "-c", f"VERSION = {version!r}\n{ROUND_TRIP}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stdout.split() == ["True", "True"], told.stderr


def test_it_speaks_under_the_protobuf_installed_here():
    import google.protobuf

    code = f"VERSION = {google.protobuf.__version__!r}\n{ROUND_TRIP}"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.stdout.split() == ["True", "True"], told.stderr
