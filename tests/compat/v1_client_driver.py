"""Drives every public method and command of the published v1 client against one node.

Runs under the interpreter of an environment that holds that client, where `statehouse` is not ours:

    python v1_client_driver.py ADDRESS OTHER_ADDRESS AGENT_PREFIX

ADDRESS is the node under test, OTHER_ADDRESS another one of its cluster. Prints one JSON line for
each check: its name and, when it failed, the traceback. test_published_v1_client.py reads them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from google.protobuf import json_format
from google.protobuf.message import Message

from statehouse import Statehouse, StatehouseError, Transaction, TransactionError

EXPIRY_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 30.0

CHECKS = {}


def check(function):
    CHECKS[function.__name__] = function
    return function


class Driven:
    """The node under test, another node of its cluster, and an agent no other check uses."""

    def __init__(self, address, other_address, agent):
        self.address = address
        self.agent = agent
        self.client = Statehouse(url=address)
        self.other = Statehouse(url=other_address)

    def put(self, **values):
        """Writes each value in a transaction of its own; returns their commit_ts."""
        timestamps = []
        for key, value in values.items():
            tx = self.client.begin_transaction()
            tx.write(agent_id=self.agent, key=key, value=value)
            timestamps.append(tx.commit())
        return timestamps

    def delete(self, key):
        tx = self.client.begin_transaction()
        tx.delete(agent_id=self.agent, key=key)
        return tx.commit()

    def events(self, **bounds):
        return list(self.client.replay(self.agent, **bounds))

    def command(self, *arguments, code=0):
        """What the published command line prints when asked through this node."""
        program = Path(sys.executable).with_name("statehousectl")
        done = subprocess.run(
            [program, "--address", self.address, *arguments],
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stdout


def plain(value):
    """A value as this client returns it, without the messages it leaves inside."""
    if isinstance(value, Message):
        return json_format.MessageToDict(value)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def error_of(kind, call):
    """The error of `kind` that `call` raises, or None."""
    try:
        call()
    except kind as error:
        return error
    return None


def raised(kind, call, *words):
    """Checks that `call` raises an error of `kind` that holds all the words."""
    error = error_of(kind, call)
    assert error is not None, f"{kind.__name__} was not raised"
    for word in words:
        assert word in str(error).lower(), f"{word!r} is not in {error}"


@check
def health_says_ok(node):
    assert node.client.health() == "ok"


@check
def version_names_a_release_and_a_build(node):
    version, git_sha = node.client.version()
    assert version
    assert git_sha


@check
def a_commit_returns_its_place_in_the_log(node):
    first, second, third = node.put(a={"n": 1}, b={"n": 2}, c={"n": 3})
    assert isinstance(first, int)
    assert 0 < first < second < third


@check
def what_was_written_is_read(node):
    (commit_ts,) = node.put(k={"text": "Grüße", "n": 7, "yes": True, "nothing": None})
    found = node.client.get_state(agent_id=node.agent, key="k")
    assert found.value == {"text": "Grüße", "n": 7, "yes": True, "nothing": None}
    assert (found.version, found.commit_ts, found.exists) == (1, commit_ts, True)


@check
def nested_values_come_back_whole(node):
    value = {"plan": [{"step": 1, "tools": ["a", "b"]}, [1, [2, {"x": None}]]], "empty": {}}
    node.put(k=value)
    assert plain(node.client.get_state(node.agent, "k").value) == value


@check
def an_empty_object_is_a_write(node):
    node.put(k={})
    found = node.client.get_state(node.agent, "k")
    assert found.exists
    assert found.value == {}


@check
def a_write_replaces_and_does_not_merge(node):
    tx = node.client.begin_transaction()
    tx.write(node.agent, "k", {"a": 1, "b": 2})
    tx.commit()
    node.put(k={"b": 3})
    found = node.client.get_state(node.agent, "k")
    assert (found.value, found.version) == ({"b": 3}, 2)


@check
def a_commit_is_seen_through_every_node_at_once(node):
    for number in range(1, 6):
        (commit_ts,) = node.put(k={"n": number})
        found = node.other.get_state(node.agent, "k")
        assert (found.value, found.commit_ts) == ({"n": number}, commit_ts)


@check
def what_was_never_written_does_not_exist(node):
    found = node.client.get_state(node.agent, "missing")
    assert (found.value, found.version, found.commit_ts, found.exists) == (None, 0, 0, False)


@check
def a_deleted_key_keeps_counting(node):
    node.put(k={"n": 1})
    deleted = node.delete("k")
    gone = node.client.get_state(node.agent, "k")
    assert (gone.value, gone.version, gone.commit_ts, gone.exists) == (None, 2, deleted, False)
    node.put(k={"n": 2})
    assert node.client.get_state(node.agent, "k").version == 3


@check
def deleting_a_missing_key_leaves_a_tombstone(node):
    deleted = node.delete("k")
    gone = node.client.get_state(node.agent, "k")
    assert (gone.version, gone.commit_ts, gone.exists) == (1, deleted, False)


@check
def every_version_can_be_read(node):
    first, second = node.put(k={"n": 1})[0], node.put(k={"n": 2})[0]
    deleted = node.delete("k")
    found = [node.client.get_state_at_version(node.agent, "k", v) for v in (1, 2, 3, 4)]
    assert [one.value for one in found] == [{"n": 1}, {"n": 2}, None, None]
    assert [one.version for one in found] == [1, 2, 3, 0]
    assert [one.commit_ts for one in found] == [first, second, deleted, 0]
    assert [one.exists for one in found] == [True, True, False, False]


@check
def two_writes_of_a_key_make_two_versions_of_one_commit(node):
    tx = node.client.begin_transaction()
    tx.write(node.agent, "k", {"n": 1})
    tx.write(node.agent, "k", {"n": 2})
    commit_ts = tx.commit()
    older, newer = (node.client.get_state_at_version(node.agent, "k", v) for v in (1, 2))
    assert (older.value, older.commit_ts) == ({"n": 1}, commit_ts)
    assert (newer.value, newer.commit_ts) == ({"n": 2}, commit_ts)
    assert node.client.get_state(node.agent, "k").value == {"n": 2}


@check
def keys_are_listed_in_order_without_the_deleted(node):
    names = ["b", "a/2", "a/10", "é", "Z", "a"]
    node.put(**{name: {"n": 1} for name in [*names, "gone"]})
    node.delete("gone")
    assert node.client.list_keys(node.agent) == sorted(names, key=str.encode)


@check
def an_agent_without_keys_has_an_empty_list(node):
    assert node.client.list_keys(node.agent) == []
    assert node.client.scan_prefix(node.agent, "") == []


@check
def a_scan_gives_the_records_below_a_prefix(node):
    timestamps = node.put(**{"m:2": {"n": 2}, "m:1": {"n": 1}, "n:1": {"n": 9}, "m:3": {"n": 3}})
    node.delete("m:3")
    found = node.client.scan_prefix(node.agent, "m:")
    assert [one.value for one in found] == [{"n": 1}, {"n": 2}]
    assert [one.version for one in found] == [1, 1]
    assert [one.commit_ts for one in found] == [timestamps[1], timestamps[0]]
    assert all(one.exists for one in found)
    assert len(node.client.scan_prefix(node.agent, "")) == 3


@check
def names_with_colons_do_not_run_into_each_other(node):
    neighbour = f"{node.agent}:x"
    with node.client.begin_transaction() as tx:
        tx.write(node.agent, "x:k", {"whose": "mine"})
        tx.write(neighbour, "k", {"whose": "neighbour"})
    assert node.client.get_state(node.agent, "x:k").value == {"whose": "mine"}
    assert node.client.get_state(neighbour, "k").value == {"whose": "neighbour"}
    assert node.client.list_keys(node.agent) == ["x:k"]


@check
def staged_writes_are_invisible_until_the_commit(node):
    tx = node.client.begin_transaction()
    tx.write(node.agent, "k", {"n": 1})
    assert not node.client.get_state(node.agent, "k").exists
    tx.commit()
    assert node.client.get_state(node.agent, "k").exists


@check
def an_aborted_transaction_leaves_nothing(node):
    tx = node.client.begin_transaction()
    tx.write(node.agent, "k", {"n": 1})
    tx.abort()
    tx.abort()
    assert not node.client.get_state(node.agent, "k").exists
    assert node.events() == []


@check
def a_with_block_commits(node):
    with node.client.begin_transaction() as tx:
        tx.write(node.agent, "k", {"n": 1})
    assert node.client.get_state(node.agent, "k").value == {"n": 1}


@check
def an_exception_in_a_with_block_aborts_and_goes_on(node):
    def broken():
        with node.client.begin_transaction() as tx:
            tx.write(node.agent, "k", {"n": 1})
            raise LookupError("mine")

    raised(LookupError, broken, "mine")
    assert not node.client.get_state(node.agent, "k").exists


@check
def a_finished_transaction_takes_nothing_more(node):
    tx = node.client.begin_transaction()
    tx.commit()
    raised(TransactionError, tx.commit)
    raised(TransactionError, lambda: tx.write(node.agent, "k", {}))
    raised(TransactionError, lambda: tx.delete(node.agent, "k"))


@check
def an_empty_transaction_commits_and_shows_in_no_replay(node):
    (before,) = node.put(k={"n": 1})
    assert node.client.begin_transaction().commit() > before
    assert len(node.events()) == 1


@check
def a_transaction_of_two_agents_is_atomic(node):
    second = f"{node.agent}-second"
    tx = node.client.begin_transaction()
    tx.write(node.agent, "k", {"n": 1})
    tx.write(second, "k", {"n": 2})
    commit_ts = tx.commit()
    assert node.client.get_state(node.agent, "k").commit_ts == commit_ts
    assert node.client.get_state(second, "k").commit_ts == commit_ts


@check
def a_late_transaction_says_that_it_expired(node):
    tx = node.client.begin_transaction(timeout_ms=100)
    deadline = time.monotonic() + EXPIRY_TIMEOUT_S
    error = None
    while error is None and time.monotonic() < deadline:
        time.sleep(0.02)
        error = error_of(TransactionError, lambda: tx.write(node.agent, "k", {"n": 1}))
    assert "expired" in str(error).lower(), error
    raised(TransactionError, tx.commit)
    assert not node.client.get_state(node.agent, "k").exists


@check
def an_unexpired_timeout_changes_nothing(node):
    tx = node.client.begin_transaction(timeout_ms=60_000)
    tx.write(node.agent, "k", {"n": 1})
    assert tx.commit() > 0


@check
def a_transaction_nobody_began_is_not_found(node):
    unknown = Transaction(node.client, "never-begun")
    raised(TransactionError, unknown.commit, "not found")
    raised(TransactionError, lambda: unknown.write(node.agent, "k", {}), "not found")
    unknown.abort()


@check
def namespaces_are_worlds_of_their_own(node):
    tx = node.client.begin_transaction(namespace="other")
    tx.write(node.agent, "k", {"where": "other"})
    tx.commit()
    node.put(k={"where": "default"})
    other = Statehouse(url=node.address, namespace="other")
    assert other.get_state(node.agent, "k").value == {"where": "other"}
    assert node.client.get_state(node.agent, "k").value == {"where": "default"}
    assert node.client.get_state(node.agent, "k", namespace="other").value == {"where": "other"}
    assert node.client.list_keys(node.agent, namespace="empty") == []
    assert len(node.client.scan_prefix(node.agent, "", namespace="other")) == 1
    assert len(list(node.client.replay(node.agent, namespace="other"))) == 1
    assert node.client.get_state_at_version(node.agent, "k", 1, namespace="other").exists


@check
def a_replay_tells_every_transaction_in_order(node):
    tx = node.client.begin_transaction()
    tx.write(node.agent, "b", {"n": 1})
    tx.write(node.agent, "a", {"n": 2})
    tx.write(node.agent, "b", {})
    first = tx.commit()
    second = node.delete("a")
    events = node.events()
    assert [event.commit_ts for event in events] == [first, second]
    assert len({event.txn_id for event in events}) == 2
    assert all(event.txn_id for event in events)
    told = [[(op.key, op.value, op.version) for op in event.operations] for event in events]
    assert told == [[("b", {"n": 1}, 1), ("a", {"n": 2}, 1), ("b", {}, 2)], [("a", None, 2)]]


@check
def the_bounds_of_a_replay_are_inclusive(node):
    first, second, third = node.put(a={"n": 1}, b={"n": 2}, c={"n": 3})

    def between(**bounds):
        return [event.commit_ts for event in node.events(**bounds)]

    assert between() == [first, second, third]
    assert between(start_ts=second) == [second, third]
    assert between(end_ts=second) == [first, second]
    assert between(start_ts=second, end_ts=second) == [second]
    assert between(start_ts=0, end_ts=third) == [first, second, third]
    assert between(start_ts=third, end_ts=first) == []
    assert between(start_ts=third + 1_000_000) == []


@check
def a_replay_shows_only_the_operations_of_its_agent(node):
    second = f"{node.agent}-second"
    tx = node.client.begin_transaction()
    tx.write(node.agent, "mine", {"n": 1})
    tx.write(second, "theirs", {"n": 2})
    tx.commit()
    assert [[op.key for op in event.operations] for event in node.events()] == [["mine"]]


@check
def the_replay_of_an_unknown_agent_is_empty(node):
    assert node.events() == []


@check
def a_long_history_is_replayed_whole(node):
    for batch in range(20):
        with node.client.begin_transaction() as tx:
            for number in range(50):
                tx.write(node.agent, f"k{number:02}", {"batch": batch, "text": "x" * 500})
    events = node.events()
    assert [len(event.operations) for event in events] == [50] * 20
    assert [op.version for op in events[-1].operations] == [20] * 50
    assert len(node.client.scan_prefix(node.agent, "k")) == 50


@check
def a_refused_request_is_an_error_of_the_client(node):
    raised(StatehouseError, lambda: node.client.list_keys("x" * 5000))
    assert node.client.health() == "ok"


@check
def the_client_closes_and_works_as_a_context_manager(node):
    with Statehouse(url=node.address) as client:
        assert client.health() == "ok"
    client.close()


@check
def cli_health_is_fine(node):
    assert "healthy" in node.command("health").lower()


@check
def cli_version_names_release_and_build(node):
    version, git_sha = node.client.version()
    printed = node.command("version")
    assert version in printed
    assert git_sha in printed


@check
def cli_get_prints_the_value(node):
    (commit_ts,) = node.put(k={"fact": "Paris", "n": 3})
    printed = node.command("get", node.agent, "k")
    assert "Paris" in printed
    assert str(commit_ts) in printed
    told = json.loads(node.command("get", node.agent, "k", "--json-output"))
    assert (told["key"], told["version"], told["commit_ts"]) == ("k", 1, commit_ts)
    assert told["value"] == {"fact": "Paris", "n": 3}


@check
def cli_get_of_a_missing_key_fails(node):
    node.command("get", node.agent, "missing", code=1)


@check
def cli_keys_lists_them_in_order(node):
    node.put(alpha={"n": 1}, beta={"n": 2}, alps={"n": 3})
    printed = node.command("keys", node.agent)
    assert printed.index("alpha") < printed.index("alps") < printed.index("beta")
    # With a prefix this client prints names it makes up, but as many as there are.
    below_prefix = node.command("keys", node.agent, "--prefix", "alp")
    assert "beta" not in below_prefix
    assert "2" in below_prefix.splitlines()[-1]


@check
def cli_keys_of_an_unknown_agent_is_no_failure(node):
    node.command("keys", node.agent)


@check
def cli_replay_tells_the_history_in_order(node):
    first, second, third = node.put(one={"n": 1}, two={"n": 2}, three={"n": 3})
    printed = node.command("replay", node.agent)
    assert printed.index("one") < printed.index("two") < printed.index("three")
    bounded = node.command("replay", node.agent, "--start-ts", str(second), "--end-ts", str(second))
    assert "two" in bounded
    assert "one" not in bounded
    assert "three" not in bounded
    limited = node.command("replay", node.agent, "--limit", "1")
    assert "one" in limited
    assert "three" not in limited
    assert str(first) in printed
    assert str(third) in printed


@check
def cli_tail_shows_the_end(node):
    node.put(first={"n": 1}, last={"n": 2})
    assert "last" in node.command("tail", node.agent)


@check
def cli_dump_writes_the_state(node):
    timestamps = node.put(a={"n": 1}, b={"n": 2})
    expected = {
        "a": {"value": {"n": 1}, "version": 1, "commit_ts": timestamps[0]},
        "b": {"value": {"n": 2}, "version": 1, "commit_ts": timestamps[1]},
    }
    assert json.loads(node.command("dump", node.agent)) == expected
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "dump.json"
        node.command("dump", node.agent, "-o", str(target))
        assert json.loads(target.read_text()) == expected
    assert "a" in node.command("dump", node.agent, "--format", "text")


@check
def cli_takes_a_namespace(node):
    tx = node.client.begin_transaction(namespace="other")
    tx.write(node.agent, "k", {"n": 1})
    tx.commit()
    assert "k" in node.command("keys", node.agent, "--namespace", "other")
    node.command("get", node.agent, "k", code=1)


def main():
    address, other_address, prefix = sys.argv[1:]
    for name, function in CHECKS.items():
        failure = None
        try:
            function(Driven(address, other_address, f"{prefix}-{name}"))
        except Exception:
            failure = traceback.format_exc()
        print(json.dumps({"check": name, "failure": failure}), flush=True)


if __name__ == "__main__":
    main()
