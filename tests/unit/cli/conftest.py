"""Runs `statehousectl` in this process, on a cluster that is only a dictionary and a list."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass

import pytest
from fake_client import FakeCluster
from statehouse_sdk.cli import settings
from statehouse_sdk.cli.main import run


@dataclass(frozen=True)
class Ended:
    """What one run of the program left: its exit code and what it wrote."""

    code: int
    out: str
    err: str


class Ctl:
    """`ctl("get", "a", "k")` is `statehousectl get a k`; `stdin` is what it can read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str, stdin: str = "") -> Ended:
        file = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
        self._monkeypatch.setattr(sys, "stdin", file)
        self._capsys.readouterr()
        code = run(arguments)
        written = self._capsys.readouterr()
        return Ended(code, written.out, written.err)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    cluster = FakeCluster()
    monkeypatch.setattr(settings, "open_client", cluster.open)
    return cluster


@pytest.fixture
def ctl(
    fake: FakeCluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Ctl:
    return Ctl(monkeypatch, capsys)
