"""The soak's bookkeeping: rounds until the time is over, every figure told, too little is red."""

from __future__ import annotations

import json
import random
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "soak"


@pytest.fixture
def soak(monkeypatch):
    loader = SourceFileLoader("soak_script", str(SCRIPT))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    # Dataclasses look up the module they are in.
    monkeypatch.setitem(sys.modules, loader.name, module)
    loader.exec_module(module)
    return module


def test_the_shares_are_those_of_the_parts_and_the_whole(soak):
    assert set(soak.SHARES) == set(soak.PARTS) == set(soak.A_MINUTE_MIN)
    assert sum(soak.SHARES.values()) == pytest.approx(1.0)


def test_a_part_goes_on_until_its_time_is_over(soak, tmp_path):
    def one_round(part, folder, seconds, draw):
        part.figures["points"] += 10

    soak.PARTS["crash points"] = one_round
    part = soak.run_part("crash points", tmp_path, 0.2, random.Random(1))
    assert part.rounds > 1
    assert part.figures["points"] == 10 * part.rounds
    assert soak.too_little("crash points", part) == []


def test_a_part_ends_with_the_first_violation(soak, tmp_path):
    def one_round(part, folder, seconds, draw):
        part.violations.append("an acknowledged write is lost")

    soak.PARTS["chaos"] = one_round
    part = soak.run_part("chaos", tmp_path, 60, random.Random(1))
    assert part.rounds == 1
    report = soak.report_of({"chaos": part}, 5)
    assert report["violations"] == ["chaos: an acknowledged write is lost"]
    assert json.loads(json.dumps(report)) == report
    assert "chaos: an acknowledged write is lost" in soak.text_of(report)


def test_doing_too_little_is_red(soak):
    part = soak.Part(minutes=10, figures=soak.Counter(faults=39, operations=100_000))
    assert soak.too_little("chaos", part) == ["too little: 39 faults in 10 minutes of chaos"]


def test_the_line_of_the_simulation_is_understood(soak):
    told = soak.SIMULATED.search(
        "7 seeds, 0.06 virtual hours (18 x real time), 12142 operations (2767 writes acknowledged, "
        "1775 reads), 807 faults, 1 violations"
    )
    assert told.groups() == ("7", "0.06", "12142", "807")


def test_the_text_has_every_figure(soak):
    part = soak.Part(minutes=2, rounds=3, figures=soak.Counter(faults=41), seeds=["7 on 3"])
    part.faults["pause"] = 17
    part.note_worst("longest silence in seconds", 2.5)
    part.note_worst("longest silence in seconds", 1.5)
    told = soak.text_of(soak.report_of({"chaos": part}, 5))
    for figure in ("no violations", "41 faults", "17 x pause", "2.5 longest silence", "7 on 3"):
        assert figure in told
    assert "pysyncobj 0.3.17" in told
