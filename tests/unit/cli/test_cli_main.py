"""The program as a whole: settings, help, exit codes, errors, and how quickly it starts."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest
from fake_client import FakeClient
from statehouse_sdk.cli.main import COMMANDS
from statehouse_sdk.errors import ConnectionError, StatehouseError

STARTUP_TIME_MAX_S = 0.5


def test_every_command_is_listed_and_has_help(ctl):
    listed = ctl("--help")
    assert listed.code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in listed.out
        assert ctl(command, "--help").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("get", "only-an-agent"),
        ("get", "a", "k", "--nonsense"),
        ("-o", "xml", "health"),
        ("get", "a", "k", "--at", ""),
        ("get", "a", "k", "--at", "2031-05-01T12:00:00"),
        ("get", "a", "k", "--at", "1", "--version", "1"),
        ("--timeout", "0", "health"),
        ("put", "a", "k"),
        ("put", "a", "k", "{"),
        ("put", "a", "k", "NaN"),
        ("put", "a", "k", '{"a":1,"a":2}'),
        ("put", "a", "k", "1", "--json", "--string"),
        ("put", "a", "k", "1", "--if-absent", "--if-version", "1"),
        ("explain", "a", "k", "--at", "1", "--version", "1"),
        ("diff", "a"),
        ("label", "set", "a"),
        ("merge", "a", "b", "--choose", "mine"),
        ("merge", "a", "b", "--choose", "plan/=mine"),
        ("replay", "a", "--step", "--verify"),
        ("replay", "a", "--verify", "--run", "r"),
        ("replay", "a", "--step", "--limit", "1"),
        ("watch", "a", "--after", "-1"),
        ("verify", "--file", "not there"),
        ("dump", "a", "--history", "--format", "text"),
    ],
)
def test_wrong_usage_is_exit_code_two_told_on_stderr(ctl, fake, arguments):
    ended = ctl(*arguments)
    assert ended.code == 2
    assert ended.out == ""
    assert "Error: " in ended.err
    assert fake.events == []


def test_an_error_of_the_cluster_is_one_sentence_on_stderr(ctl, fake):
    fake.failure = ConnectionError("no node answers at localhost:50051; is it running?")
    ended = ctl("health")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "Error: no node answers at localhost:50051; is it running?\n"


def test_ctrl_c_is_exit_code_130(ctl, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeClient, "records", interrupted)
    assert ctl("keys", "a").code == 130


def test_settings_come_from_options_before_the_environment(ctl, fake, monkeypatch):
    ctl("health")
    monkeypatch.setenv("STATEHOUSE_ADDR", "old:1")
    ctl("health")
    monkeypatch.setenv("STATEHOUSE_URL", "new:1,new:2")
    monkeypatch.setenv("STATEHOUSE_NAMESPACE", "theirs")
    monkeypatch.setenv("STATEHOUSE_TIMEOUT", "5")
    ctl("health")
    ctl("--address", "given:1", "--namespace", "mine", "--timeout", "0.5", "health")
    ctl("--url", "given:2", "keys", "a", "--namespace", "after")
    assert fake.asked == [
        ("localhost:50051", "default", 30.0),
        ("old:1", "default", 30.0),
        ("new:1,new:2", "theirs", 5.0),
        ("given:1", "mine", 0.5),
        ("given:2", "after", 5.0),
    ]


def test_version_tells_that_of_the_cluster_and_dash_dash_version_its_own(ctl):
    assert ctl("version").out == "Version: 9.8.7\nGit SHA: abc1234\n"
    own = ctl("--version")
    assert own.code == 0
    assert own.out.startswith("statehousectl ")


def test_health_is_a_sentence_or_a_document(ctl):
    assert "Daemon is healthy" in ctl("health").out
    assert ctl("-o", "json", "health").out == '{\n  "status": "ok"\n}\n'


def test_nothing_is_coloured_when_it_is_not_a_terminal(ctl):
    assert "\x1b" not in ctl("health").out


def test_names_from_the_cluster_cannot_steer_the_terminal(ctl):
    ctl("put", "a", "evil\x1b[2J", "1")
    assert "evil\\x1b[2J" in ctl("keys", "a").out


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["get", "--help"]])
def test_it_starts_at_once(arguments):
    quickest = min(_seconds(arguments) for _ in range(5))
    assert quickest < STARTUP_TIME_MAX_S


def _seconds(arguments: list[str]) -> float:
    """Of processor time: what the start costs, whatever else the machine does meanwhile."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "statehouse_sdk.cli", *arguments], check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_loads_neither_rich_nor_the_server():
    program = (
        "import sys; from statehouse_sdk.cli.main import run; run(['--help']);"
        "print(sorted({'rich', 'rocksdict', 'pysyncobj', 'statehouse'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout.endswith(b"\n[]\n")


def test_a_reader_that_leaves_is_no_error_message():
    program = "from statehouse_sdk.cli.main import *; import click\n"
    program += "@click.command()\ndef much():\n    for _ in range(100_000): click.echo('x' * 80)\n"
    program += "LazyGroup.get_command = lambda *_: much\nsys.exit(run(['much']))"
    done = subprocess.run(
        ["bash", "-c", '"$0" -c "$1" | head -n 1; exit ${PIPESTATUS[0]}', sys.executable, program],
        capture_output=True,
        check=False,
        env=os.environ,
    )
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_error_without_words_is_still_told(ctl, fake):
    fake.failure = StatehouseError()
    assert ctl("health").err.strip() not in ("", "Error:")
