"""statehousectl through time: what was, why, what differs, what if, live, and whether it is so."""

from __future__ import annotations

import io
import json
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from helpers.shell import Shell
from helpers.waiting import eventually
from statehouse_sdk.cli import history_file
from statehouse_sdk.proofs import check_events

from statehouse import Statehouse
from statehouse.core import keys
from statehouse.storage.database import Database

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def ctl(cluster):
    return Shell(cluster)


@pytest.fixture
def client(cluster):
    with Statehouse(url=cluster.endpoints) as made:
        yield made


@pytest.fixture
def story(client, agent_id):
    """Two versions of a plan, and a step that was decided by the second; their commit_ts."""
    commits = []
    for way, actor in (("north", "ada"), ("south", "ben")):
        tx = client.begin_transaction(actor=actor, reason=f"{way} is dry", run_id="run-1")
        tx.write(agent_id, "plan", {"find": "water", "way": way})
        commits.append(tx.commit())
    tx = client.begin_transaction(actor="walker", caused_by=commits[0])
    way = tx.get(agent_id, "plan").value["way"]
    tx.write(agent_id, "step", {"go": way})
    commits.append(tx.commit())
    return commits


def _told(ctl, *arguments):
    return json.loads(ctl.done(*arguments, "-o", "json"))


# -- What was, why, and what differs


def test_a_value_is_led_back_to_what_it_was_made_of(ctl, agent_id, story):
    versions = [
        json.loads(line)
        for line in ctl.done("history", agent_id, "plan", "-o", "json").splitlines()
    ]
    assert [one["commit_ts"] for one in versions] == story[:2]
    newest = ctl.done("history", agent_id, "plan", "--newest-first", "--limit", "1")
    assert "actor=ben  (south is dry)" in newest
    blamed = {key["key"]: key for key in _told(ctl, "blame", agent_id)}
    fields = blamed["plan"]["fields"]
    assert (fields["find"]["commit_ts"], fields["way"]["commit_ts"]) == (story[0], story[1])
    explained = _told(ctl, "explain", agent_id, "step")["commits"]
    assert [commit["commit_ts"] for commit in explained] == [story[2], story[1], story[0]]
    tree = ctl.done("explain", agent_id, "step")
    assert [tree.count(name) for name in ("walker", "ada", "ben")] == [1, 1, 1]


def test_a_point_is_a_number_a_time_or_a_label(ctl, agent_id, story):
    assert ctl.done("label", "set", agent_id, "before", "--at", str(story[0])) == (
        f"before is commit_ts {story[0]}\n"
    )
    moment = _told(ctl, "get", agent_id, "plan", "--version", "1")["committed_at"]
    for point in (str(story[0]), moment, "before"):
        assert _told(ctl, "get", agent_id, "plan", "--at", point)["version"] == 1
        changed = _told(ctl, "diff", agent_id, point)["keys"]
        assert [(key["key"], key["kind"]) for key in changed] == [
            ("plan", "changed"),
            ("step", "added"),
        ]
    assert [field["path"] for field in changed[0]["fields"]] == ["way"]
    assert ctl("diff", agent_id, "before", "--exit-code").returncode == 1
    assert ctl("diff", agent_id, str(story[2]), "--exit-code").returncode == 0
    ctl.done("label", "delete", agent_id, "before")
    assert "has no label 'before'" in ctl("diff", agent_id, "before").stderr


def test_a_fork_goes_its_own_way_and_comes_back(ctl, agent_id, story):
    fork = f"{agent_id}-fork"
    ctl.done("fork", agent_id, fork, "--at", str(story[1]))
    assert _told(ctl, "keys", fork) == ["plan"]
    ctl.done("put", fork, "plan", '{"find": "shade"}')
    ctl.done("put", fork, "list/a", "[1]")
    ctl.done("put", agent_id, "plan", '{"find": "rest"}')
    assert [one["agent_id"] for one in _told(ctl, "lineage", agent_id)["forks"]] == [fork]
    refused = ctl("merge", fork, agent_id)
    assert (refused.returncode, refused.stdout.splitlines()[0]) == (1, "! plan")
    assert _told(ctl, "get", agent_id, "plan")["value"] == {"find": "rest"}
    assert "would write 2 keys" in ctl.done(
        "merge", fork, agent_id, "--dry-run", "--choose", "source"
    )
    merged = _told(ctl, "merge", fork, agent_id, "--choose", "plan=source")
    assert sorted(key["key"] for key in merged["written"]) == ["list/a", "plan"]
    assert _told(ctl, "get", agent_id, "plan")["value"] == {"find": "shade"}
    assert "nothing new" in ctl.done("merge", fork, agent_id)
    for agent in (agent_id, fork):
        assert "state hash" in ctl.done("replay", agent, "--verify")
        assert "state hash" in ctl.done("replay", agent, "--verify", "--until", str(story[1]))


def test_what_cannot_be_is_one_sentence(ctl, agent_id, story):
    ctl.done("fork", agent_id, f"{agent_id}-twin")
    ctl.done("put", f"{agent_id}-other", "k", "1")
    for arguments in (
        ("get", agent_id, "plan", "--at", "1000000000"),
        ("get", agent_id, "plan", "--at", "1999-01-01T00:00:00Z"),
        ("get", agent_id, "plan", "--at", "no-such-label"),
        ("label", "set", agent_id, "12"),
        ("label", "set", agent_id, "2031-05-01T12:00:00Z"),
        ("label", "delete", agent_id, "no-such-label"),
        ("fork", agent_id, f"{agent_id}-twin"),
        ("fork", f"{agent_id}-nobody", f"{agent_id}-new"),
        ("merge", agent_id, f"{agent_id}-other"),
        ("cursor", "delete", f"{agent_id}-nobody"),
        ("verify", "--file", __file__),
    ):
        ended = ctl(*arguments)
        assert (ended.returncode, ended.stdout) == (1, ""), arguments
        assert ended.stderr.startswith("Error: "), arguments
        assert len(ended.stderr.splitlines()) == 1, arguments


# -- Step by step


def test_a_replay_is_stepped_through_by_a_pipe(ctl, agent_id, story):
    commands = f"n\nn\nn\np\ng {story[0]}\np\ns\ng 1000000000\nq\n"
    ended = ctl("replay", agent_id, "--step", stdin=commands)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    steps = [int(line.split()[1]) for line in lines if line.startswith("commit_ts ")]
    assert steps == [*story, story[1], story[0]]
    assert '      ~ way: "north" -> "south"' in lines
    assert lines[-2] == f"state at commit_ts {story[0]}: 1 keys"
    assert ended.stderr.splitlines() == [
        "this is the last event",
        "this is the first event",
        "there is no event from 1000000000 on",
    ]
    of_the_run = ctl.done("replay", agent_id, "--step", "--run", "run-1", stdin="n\nn\n")
    assert of_the_run.count("run_id") == 2


# -- Live


class Watching:
    """A `watch` under way, and what it has shown."""

    def __init__(self, ctl, *arguments):
        self.process = ctl.start("watch", *arguments, "-o", "json")
        self.seen = []
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self):
        for line in self.process.stdout:
            self.seen.append(json.loads(line)["operations"][0]["value"])

    def end(self, signal):
        """Its exit code and what it said, after this signal."""
        self.process.send_signal(signal)
        code = self.process.wait(timeout=20)
        self._listener.join()
        said = self.process.stderr.read()
        self.process.stdout.close()
        self.process.stderr.close()
        return code, said.strip()


def _write(client, agent_id, number):
    with client.begin_transaction() as tx:
        tx.write(agent_id, "k", number)


@pytest.mark.slow
def test_a_named_watch_loses_nothing_over_its_own_death_and_the_leaders(fresh_cluster, agent_id):
    cluster = fresh_cluster()
    ctl = Shell(cluster)
    named = (agent_id, "--subscribe", "mailer", "--after", "0")
    with Statehouse(url=cluster.endpoints) as client:
        _write(client, agent_id, 0)
        first = Watching(ctl, *named)
        for number in range(1, 20):
            if number == 10:
                cluster.kill(eventually(cluster.leader, what="a leader"))
            _write(client, agent_id, number)
        eventually(lambda: len(first.seen) >= 20, timeout_s=30, what="twenty events")
        assert first.seen == list(range(20)), "no gap, no repeat, in order"
        first.end(9)
        for number in range(20, 25):
            _write(client, agent_id, number)
        second = Watching(ctl, *named)
        eventually(lambda: 24 in second.seen, timeout_s=30, what="what came meanwhile")
        assert second.end(2) == (130, "")
    assert second.seen in (list(range(19, 25)), list(range(20, 25))), "the last one may come again"


# -- Whether it is so


def test_a_history_is_verified_without_its_cluster(ctl, agent_id, story, tmp_path):
    file = tmp_path / "history.jsonl"
    (tmp_path / "raw").write_bytes(bytes(range(256)))
    ctl.done("put", agent_id, "raw", "--bytes-file", str(tmp_path / "raw"))
    ctl.done("delete", agent_id, "step", "--reason", "done")
    ctl.done("label", "set", agent_id, "end")
    ctl.done("fork", agent_id, f"{agent_id}-fork")
    ctl.done("dump", f"{agent_id}-fork", "--history", "-o", str(file))
    assert "7 events" in ctl.done("verify", "--file", str(file))
    found = list(_forged(file.read_text()))
    assert len(found) > 40
    for what, text in found:
        _, events = history_file.read(io.StringIO(text))
        with suppress(history_file.FileError):
            assert not check_events(events).ok, what


def _forged(text):
    """The file with one fact of one event changed, for each fact that the hash covers."""
    lines = text.splitlines(keepends=True)
    yield "whose it is", text.replace('-fork","head"', '","head"', 1)
    for number, line in enumerate(lines[1:-1], 1):
        for path, told in _forged_events(json.loads(line)):
            changed = [*lines[:number], json.dumps(told) + "\n", *lines[number + 1 :]]
            yield f"line {number}: {path}", "".join(changed)


def _forged_events(event):
    for name in ("txn_id", "commit_ts", "hash", "previous_hash", "body", "metadata"):
        yield name, {**event, name: _other(event[name])}
    yield "committed_at", {**event, "committed_at": "2031-05-01T12:00:00+00:00"}
    for place, operation in enumerate(event["operations"]):
        for name in ("agent_id", "namespace", "version", "key", "value", "value_base64", "deleted"):
            if name in operation and not (name == "value" and "value_base64" in operation):
                forged = {**operation, name: _other(operation[name])}
                told = [*event["operations"][:place], forged, *event["operations"][place + 1 :]]
                yield f"operation {place} {name}", {**event, "operations": told}


def _other(fact):
    if isinstance(fact, bool):
        return not fact
    if isinstance(fact, int):
        return fact + 1
    if isinstance(fact, dict):
        return {**fact, "actor": "mallory"}
    # Also in hexadecimal, where case does not count, it is another text.
    return ("B" if fact[0] in "aA" else "A") + fact[1:] if fact else "A"


@pytest.mark.slow
def test_a_node_whose_record_was_changed_is_named_with_the_event(fresh_cluster, agent_id):
    cluster = fresh_cluster()
    ctl = Shell(cluster)
    for number in range(5):
        ctl.done("put", agent_id, f"k{number}", '"truth"')
    assert "all 3 nodes hold the same history" in ctl.done("verify")
    assert "all 3 nodes hold the same history" in ctl.done("verify", "--agent", agent_id)
    cluster.stop_node(2)
    unchecked = ctl("verify")
    assert (unchecked.returncode, "n2" in unchecked.stderr) == (1, True)
    _change_value(cluster.node(2).data, agent_id, "k3")
    cluster.restart(2)
    for scope in ((), ("--agent", agent_id)):
        ended = ctl("verify", *scope)
        assert ended.returncode == 1
        assert ended.stderr.startswith("n2 at ")
        assert "commit_ts 4: the value of version 1 of key 'k3' has another hash" in ended.stderr
    told = json.loads(ctl("verify", "-o", "json").stdout)
    assert [(node["name"], node["bad_commit_ts"]) for node in told["nodes"]] == [
        ("n1", None),
        ("n2", 4),
        ("n3", None),
    ]


def _change_value(data: Path, agent_id: str, key: str) -> None:
    """Writes another value over the stored one, behind the back of everybody."""
    (path,) = (data / "state").glob("db-*")
    database = Database(path)
    place = keys.latest_key("default", agent_id, key)
    row = database.first(keys.Table.RECORDS, place)
    assert row is not None
    changed = row[1].replace(b"truth", b"fraud")
    assert changed != row[1]
    database.write([(keys.Table.RECORDS, row[0], changed)], [])
    database.sync()
    database.release()
