"""The example agent: whatever dies, every step is remembered once and the answer comes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from statehouse import Statehouse

AGENT = Path(__file__).resolve().parents[2] / "examples" / "agent_research" / "agent.py"
QUESTION = "How many lines of Python?"


class Example:
    """Runs the agent on a small folder."""

    def __init__(self, cluster, agent_id, tmp_path):
        self.folder = tmp_path / "repository"
        self.folder.mkdir()
        (self.folder / "one.py").write_text("1\n2\n")
        (self.folder / "sub").mkdir()
        (self.folder / "sub" / "two.py").write_text("3\n")
        self.reports = tmp_path / "reports"
        self.environment = {
            **os.environ,
            "STATEHOUSE_URL": cluster.endpoints,
            "AGENT_ID": agent_id,
        }

    def command(self, *words):
        where = ["--folder", str(self.folder), "--reports", str(self.reports)]
        return [sys.executable, str(AGENT), *words, *where]

    def run(self, *words, stdin=""):
        return subprocess.run(
            self.command(*words),
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def killed_after(self, commits, *words):
        """Runs until so many commits are acknowledged, then SIGKILL; whether it came so far."""
        with subprocess.Popen(
            self.command(*words, "--json"), env=self.environment, stdout=subprocess.PIPE, text=True
        ) as agent:
            for _ in range(commits):
                if not agent.stdout.readline():
                    return False
            agent.send_signal(signal.SIGKILL)
        return True


@pytest.fixture
def example(cluster, agent_id, tmp_path):
    return Example(cluster, agent_id, tmp_path)


def _history(cluster, agent_id):
    with Statehouse(url=cluster.endpoints) as client:
        return list(client.replay(agent_id))


def test_a_question_is_answered_and_every_step_is_in_the_history(cluster, agent_id, example):
    answered = example.run("ask", QUESTION)
    assert answered.returncode == 0, answered.stderr
    assert "3 lines in 2 .py files" in answered.stdout
    assert "3 lines" in next(example.reports.iterdir()).read_text()
    keys = [
        op.key.split("/")[0] for event in _history(cluster, agent_id) for op in event.operations
    ]
    assert {"session", "tool", "note", "final"} == set(keys)
    replayed = example.run("replay")
    assert "TOOL" in replayed.stdout
    assert "FINAL" in replayed.stdout


@pytest.mark.slow
def test_killed_after_each_commit_in_turn_it_ends_with_each_step_done_once(
    cluster, agent_id, example
):
    assert example.killed_after(1, "ask", QUESTION)
    # Each life gets one commit further; some more than one, for the kill comes a little late.
    while example.killed_after(1, "resume"):
        pass
    ended = example.run("resume")
    assert ended.returncode == 0, ended.stderr
    assert "3 lines in 2 .py files" in ended.stdout
    versions = {}
    for event in _history(cluster, agent_id):
        for op in event.operations:
            versions[op.key] = versions.get(op.key, 0) + 1
            assert op.version == versions[op.key]
    steps = {key: count for key, count in versions.items() if "/step/" in key}
    assert set(steps.values()) == {2}, "each step is decided once and done once"
    results = [key for key in versions if key.split("/")[0] in ("tool", "note", "final")]
    assert len(results) == len(steps)
    assert {versions[key] for key in results} == {1}


def test_two_agents_on_one_session_share_the_steps(cluster, agent_id, example):
    assert example.killed_after(1, "ask", QUESTION)
    agents = [
        subprocess.Popen(
            example.command("resume"),
            env=example.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    ends = [(agent.communicate(timeout=60), agent.returncode) for agent in agents]
    for (out, err), code in ends:
        assert code == 0, err
        assert "3 lines in 2 .py files" in out
    done = [op for event in _history(cluster, agent_id) for op in event.operations]
    assert {op.version for op in done if op.key.startswith("tool/")} == {1}


def test_the_prompt_takes_the_same_commands(cluster, agent_id, example):
    talked = example.run(stdin=f"ask {QUESTION}\nnonsense\nreset\nresume\nquit\n")
    assert talked.returncode == 0
    assert "3 lines in 2 .py files" in talked.stdout
    assert "is no command" in talked.stderr
    assert "the history stays" in talked.stdout
    assert "Nothing was asked yet" in talked.stdout
    with Statehouse(url=cluster.endpoints) as client:
        assert client.list_keys(agent_id) == []
    assert _history(cluster, agent_id)


def test_json_mode_tells_each_commit(cluster, agent_id, example):
    told = [json.loads(line) for line in example.run("ask", QUESTION, "--json").stdout.splitlines()]
    history = _history(cluster, agent_id)
    assert [line["commit_ts"] for line in told] == [event.commit_ts for event in history]


def test_no_cluster_is_one_sentence(example):
    example.environment |= {"STATEHOUSE_URL": "127.0.0.1:1", "STATEHOUSE_TIMEOUT": "1"}
    ended = example.run("ask", QUESTION)
    assert ended.returncode == 1
    assert ended.stderr.startswith("agent: ")
    assert "Traceback" not in ended.stderr
