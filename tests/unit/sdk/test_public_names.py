"""The public surface: a change of it is a visible diff of this file."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
import statehouse_sdk
from statehouse_sdk import limits

import statehouse
from statehouse.core import limits as server_limits

NAMES = [
    "ABSENT",
    "AddProgress",
    "AgentExistsError",
    "AgentNotFoundError",
    "AsOf",
    "AsyncAsOf",
    "AsyncStatehouse",
    "AsyncSubscription",
    "AsyncTransaction",
    "BeforeBeginningError",
    "Checked",
    "Conflict",
    "ConflictError",
    "ConnectionError",
    "Cursor",
    "CursorMark",
    "CursorMovedError",
    "DeadlineExceededError",
    "Diff",
    "ExplainedCommit",
    "Explanation",
    "FieldBlame",
    "FieldChange",
    "ForkMark",
    "ForkPoint",
    "FuturePointError",
    "Head",
    "HistoryRewrittenError",
    "InvalidRequestError",
    "InvalidValueError",
    "KeyBlame",
    "KeyChange",
    "KeyVersion",
    "Label",
    "LabelMark",
    "LabelNotFoundError",
    "Leader",
    "Lineage",
    "Member",
    "MembershipError",
    "Merge",
    "MergeConflict",
    "MergeConflictError",
    "MergedKey",
    "Metadata",
    "NoLeaderError",
    "NodeStatus",
    "NotFoundError",
    "Operation",
    "OutcomeUnknownError",
    "OverloadedError",
    "PermissionDeniedError",
    "Progress",
    "Proof",
    "ProtocolError",
    "Read",
    "ReplayEvent",
    "ServerError",
    "Snapshot",
    "StateResult",
    "Statehouse",
    "StatehouseError",
    "StorageFullError",
    "Subscription",
    "TooLargeError",
    "Transaction",
    "TransactionAbortedError",
    "TransactionError",
    "TransactionExpiredError",
    "TransactionFinishedError",
    "UnavailableError",
    "UnrelatedAgentsError",
    "Verification",
    "check_events",
    "json_diff",
    "replay_state",
    "state_hash",
]


def test_the_facade_and_the_sdk_name_the_same_things():
    assert sorted(statehouse_sdk.__all__) == NAMES
    assert statehouse.__all__ == statehouse_sdk.__all__
    assert all(getattr(statehouse, name) is getattr(statehouse_sdk, name) for name in NAMES)


@pytest.mark.parametrize("package", ["statehouse", "statehouse_sdk"])
def test_importing_the_client_loads_nothing_of_the_node(package):
    code = (
        f"import sys, {package}; print([name for name in sys.modules if name.split('.')[0] in"
        " ('rocksdict', 'pysyncobj', 'click', 'rich', 'statehouse_cluster')"
        " or name.startswith(('statehouse.', 'google.protobuf.struct_pb2.'))])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_everything_public_is_documented():
    for name in NAMES:
        thing = getattr(statehouse, name)
        assert inspect.getdoc(thing), name
        for member, value in vars(thing).items():
            if inspect.isfunction(value) and not member.startswith("_"):
                assert inspect.getdoc(value), f"{name}.{member}"


def test_limits_are_those_of_the_server():
    for name, value in vars(limits).items():
        if name.isupper() and name != "INTEGER_DIGITS_MAX":
            assert getattr(server_limits, name) == value, name
