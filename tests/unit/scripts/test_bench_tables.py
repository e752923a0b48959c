"""What the bench shows: tables that name the winner, a page with the figures of its file, plots."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from tests.bench import page, tables
from tests.bench.figures import Spent, sample_of
from tests.bench.results import Results, System
from tests.bench.work import COMMIT, GET_AT, REPLAY, Work

SPENT = Spent(client_s=0.1, server_s=0.2, others=0.25)


def sample(work, per_s):
    return sample_of(work, [0.001] * per_s, 1.0, SPENT)


@pytest.fixture
def results():
    """Two rounds: Statehouse twice as fast at 64 callers, half as fast alone."""
    one, many = Work(COMMIT), Work(COMMIT, 64)
    return Results(
        machine={"processors": "2 x fast"},
        settings={"measured": "2 rounds"},
        systems={"statehouse": System("0.1.0", "3 nodes"), "etcd": System("3.4", "3 nodes")},
        left_out={"redis": "no program redis-server: apt-get install redis-server"},
        samples={
            "statehouse": [
                *(sample(one, 50), sample(many, 2000), sample(Work(GET_AT), 10)),
                *(sample(one, 50), sample(many, 2200)),
            ],
            "etcd": [sample(one, 100), sample(many, 1000), sample(one, 100), sample(many, 1000)],
        },
        failovers_s={"dies": {"etcd": [1.0, 3.0, 2.0]}},
    )


@pytest.fixture
def plots():
    """The module; an environment that was made before it needed matplotlib has none."""
    if os.environ.get("CI"):
        return importlib.import_module("tests.bench.plots")
    pytest.importorskip("matplotlib", reason="plots need matplotlib: pip install '.[dev]'")
    return importlib.import_module("tests.bench.plots")


def lines(table):
    """The rows of a table as lists of cells, without the rule below the head."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [row for row in rows if not set(row[0]) <= {"-"} or row[0] == ""]


def test_rates_stand_with_their_spread(results):
    assert lines(tables.rates(results)) == [
        ["work", "Statehouse", "etcd"],
        ["commit, 1 caller", "50 (50 to 50)", "100 (100 to 100)"],
        ["commit, 64 callers", "2,100 (2,000 to 2,200)", "1,000 (1,000 to 1,000)"],
        ["as-of get, 1 caller", "10 (10 to 10)", "-"],
    ]


def test_where_others_win_is_in_bold(results):
    assert lines(tables.ratios(results)) == [
        ["work", "etcd"],
        ["commit, 1 caller", "**0.50x** (0.50 to 0.50)"],
        ["commit, 64 callers", "2.10x (2.00 to 2.20)"],
    ]


def test_targets_are_judged_by_the_median(results):
    head, *rows = lines(tables.targets(results))
    assert head[:2] == ["work", "to reach"]
    judged = {row[0]: row[2:] for row in rows}
    assert judged["commits/s, 64 callers, to etcd"] == ["2.10x (2.00x to 2.20x)", "**no**"]
    assert judged["commit, 1 caller, p50, to etcd's put"] == ["1.00x (1.00x to 1.00x)", "yes"]


def test_who_is_left_out_is_named_with_the_reason(results):
    assert ["Redis", "left out: no program redis-server: apt-get install redis-server"] in lines(
        tables.context(results)
    )


def test_what_others_used_of_the_machine_is_told(results):
    told = ["everything else", "used 25% of the processors meanwhile, at most 25%"]
    assert told in lines(tables.context(results))


def test_failovers_are_all_shown(results):
    assert lines(tables.failovers(results))[1] == ["dies", "etcd", "2.00 s", "1.00, 3.00, 2.00"]


def test_a_table_without_rows_is_left_out_with_its_heading():
    found = Results({"processors": "2"}, {}, samples={"etcd": [sample(Work(COMMIT), 10)]})
    told = tables.report(found)
    assert "Answers a second" in told
    assert "reached" not in told
    assert "ratio" not in told
    assert "leader is lost" not in told


def test_all_rows_of_a_table_are_as_wide_as_each_other(results):
    for table in (tables.rates(results), tables.context(results), tables.targets(results)):
        assert len({len(line) for line in table.splitlines()}) == 1


def test_the_page_keeps_what_is_around_the_figures(results):
    text = f"# Page\n\nbefore\n\n{page.BEGIN}\nold figures\n{page.END}\n\nafter\n"
    renewed = page.with_figures(text, results)
    assert renewed.startswith(f"# Page\n\nbefore\n\n{page.BEGIN}\n")
    assert renewed.endswith(f"{page.END}\n\nafter\n")
    assert "old figures" not in renewed
    assert tables.report(results) in renewed
    assert page.with_figures(renewed, results) == renewed


def test_a_page_without_the_marks_is_left_alone(results):
    with pytest.raises(page.NoMarks, match="lacks the marks"):
        page.with_figures("# Page\n", results)


def test_plots_are_the_same_bytes_for_the_same_results(results, tmp_path, plots):
    drawn = plots.draw(results, tmp_path / "one")
    again = plots.draw(results, tmp_path / "two")
    assert [path.name for path in drawn] == ["commits.svg", "latency.svg", "ratios.svg"]
    for one, other in zip(drawn, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert "Durable commits a second" in drawn[0].read_text()


def test_a_replay_alone_draws_nothing(tmp_path, plots):
    replay = sample_of(Work(REPLAY), [], 1.0, SPENT, count=10)
    assert plots.draw(Results({}, {}, samples={"etcd": [replay]}), tmp_path) == []


def test_the_page_shows_what_its_file_holds():
    docs = Path(__file__).resolve().parents[3] / "docs"
    results = Results.from_json((docs / "performance/figures.json").read_text())
    text = (docs / "performance.md").read_text("utf-8")
    assert page.with_figures(text, results) == text, (
        "run scripts/bench.py --from docs/performance/figures.json --page docs/performance.md"
    )
