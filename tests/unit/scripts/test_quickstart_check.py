"""The quickstart's comparison of promise and history: it must be able to fail."""

from __future__ import annotations

import json
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "quickstart"


@pytest.fixture(scope="module")
def quickstart():
    loader = SourceFileLoader("quickstart_script", str(SCRIPT))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def _event(commit_ts, **versions):
    operations = [{"key": key, "version": version} for key, version in versions.items()]
    return {"commit_ts": commit_ts, "operations": operations}


EVENTS = [_event(1, a=1, b=1), _event(2, a=2), _event(3, b=2)]
PROMISED = {1: {"a": 1, "b": 1}, 2: {"a": 2}, 3: {"b": 2}}


def test_a_history_that_is_what_was_promised_passes(quickstart):
    quickstart.check(EVENTS, PROMISED)


@pytest.mark.parametrize(
    ("events", "promised", "told"),
    [
        (EVENTS[:2], PROMISED, "lost"),
        (EVENTS, {1: PROMISED[1], 2: PROMISED[2]}, "nobody asked for"),
        ([EVENTS[0], EVENTS[2]], {1: PROMISED[1], 3: PROMISED[3]}, "are not 1, 2, 3"),
        ([EVENTS[0], EVENTS[0]], {1: PROMISED[1]}, "are not 1, 2, 3"),
        (EVENTS, {**PROMISED, 2: {"a": 3}}, "not as they were acknowledged"),
        ([_event(1, a=1), _event(2, a=1)], {1: {"a": 1}, 2: {"a": 1}}, "out of turn"),
        ([_event(1, a=1), _event(2, a=3)], {1: {"a": 1}, 2: {"a": 3}}, "out of turn"),
    ],
)
def test_any_difference_fails_and_is_named(quickstart, events, promised, told):
    with pytest.raises(quickstart.Failed, match=told):
        quickstart.check(events, promised)


def test_nodes_that_differ_fail(quickstart, monkeypatch):
    monkeypatch.setattr(quickstart, "CATCH_UP_TIMEOUT_S", 0)
    same = json.dumps({"nodes": [{"commit_ts": 3, "chain_head": "aa"}] * 3})
    cases = [same.replace("aa", "bb", 1), same.replace("3", "2", 1), '{"nodes": []}']

    class Stub:
        def __init__(self, told):
            self.told = told

        def ctl(self, *_):
            return self.told

    quickstart.check_nodes(Stub(same), 3)
    for told in cases:
        with pytest.raises(quickstart.Failed, match="differ"):
            quickstart.check_nodes(Stub(told), 3)
