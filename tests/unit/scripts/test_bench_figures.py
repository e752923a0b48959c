"""The arithmetic of the bench, on figures that can be reckoned by hand."""

from __future__ import annotations

import pytest

from tests.bench.figures import P50, RATE, Spent, Spread, percentile, sample_of, spread_of
from tests.bench.results import Results, System, UnknownFormat
from tests.bench.rounds import turns
from tests.bench.targets import TARGETS, Target
from tests.bench.work import COMMIT, EVERYTHING, GET, QUICK, REPLAY, Work, chosen

COMMITS = Work(COMMIT, 64)
SPENT = Spent(client_s=0.002, server_s=0.004, others=0.1)


def sample(work, per_s, p50_ms=1.0):
    return sample_of(work, [p50_ms / 1000] * per_s, 1.0, SPENT)


def results(**samples):
    return Results({"processors": "2"}, {}, samples=samples)


def test_a_percentile_is_a_value_that_was_measured():
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.99) == 4.0
    assert percentile(list(range(1, 101)), 0.99) == 99
    assert percentile([7.0], 0.5) == 7.0


def test_a_sample_tells_rate_latencies_and_processor_time_of_one_answer():
    took_s = [0.004, 0.001, 0.002, 0.003]
    told = sample_of(COMMITS, took_s, 2.0, SPENT)
    assert told.per_s == 2.0
    assert (told.p50_ms, told.p99_ms) == (2.0, 4.0)
    assert (told.client_us, told.server_us) == (500.0, 1000.0)
    assert told.others == 0.1


def test_a_replay_has_a_rate_and_no_latency():
    told = sample_of(Work(REPLAY), [], 0.5, SPENT, count=100)
    assert (told.per_s, told.p50_ms, told.p99_ms) == (200.0, None, None)


def test_a_window_without_an_answer_is_no_figure():
    with pytest.raises(ValueError, match=r"commit, 64 callers: no answer in 0\.5 s"):
        sample_of(COMMITS, [], 0.5, SPENT)


def test_the_median_of_the_rounds_stands_with_the_lowest_and_the_highest():
    assert spread_of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)


def test_a_ratio_is_taken_within_each_round_and_not_of_the_medians():
    # The second round was slow for both: three times as fast in each round is three times as fast.
    found = results(
        statehouse=[sample(COMMITS, 300), sample(COMMITS, 30), sample(COMMITS, 330)],
        etcd=[sample(COMMITS, 100), sample(COMMITS, 10), sample(COMMITS, 110)],
    )
    ratio = found.ratio(RATE, ("statehouse", COMMITS), ("etcd", COMMITS))
    assert ratio == Spread(3.0, 3.0, 3.0)


def test_what_a_system_did_not_do_is_no_figure():
    found = results(statehouse=[sample(COMMITS, 10)])
    assert found.spread("redis", COMMITS, RATE) is None
    assert found.spread("statehouse", Work(GET), RATE) is None
    assert found.ratio(RATE, ("statehouse", COMMITS), ("etcd", COMMITS)) is None


def test_results_come_back_from_json_as_they_were():
    found = results(statehouse=[sample(COMMITS, 10), sample(Work(REPLAY), 5)])
    found.systems["statehouse"] = System("0.1.0", "3 nodes")
    found.left_out["redis"] = "no program redis-server"
    found.failovers_s["dies"] = {"statehouse": [1.5]}
    text = found.to_json()
    assert Results.from_json(text) == found
    assert len([line for line in text.splitlines() if "p50_ms" in line]) == 2, "a line for each"


def test_results_of_an_unknown_format_are_refused():
    with pytest.raises(UnknownFormat, match="format 99, and this bench reads 1"):
        Results.from_json('{"format": 99}')


def test_a_target_holds_its_bound_on_the_right_side():
    least = Target("rate", RATE, COMMITS, 2.5, other="etcd")
    assert least.met(Spread(2.5, 1.0, 9.0))
    assert not least.met(Spread(2.49, 1.0, 9.0))
    most = Target("latency", P50, COMMITS, 1.0, False, "etcd")
    assert most.met(Spread(1.0, 0.5, 2.0))
    assert not most.met(Spread(1.01, 0.5, 2.0))


def test_a_target_compares_two_kinds_of_work_of_one_system_too():
    as_of = next(target for target in TARGETS if target.other_work is not None)
    found = results(statehouse=[sample(as_of.work, 10, 1.2), sample(as_of.other_work, 10, 1.0)])
    assert as_of.reached(found).median == pytest.approx(1.2)


def test_a_target_without_another_is_a_figure_by_itself():
    replay = next(target for target in TARGETS if target.work == Work(REPLAY))
    found = results(statehouse=[sample_of(Work(REPLAY), [], 0.5, SPENT, count=100_000)])
    figure = replay.reached(found)
    assert figure.median == 200_000
    assert replay.met(figure)
    assert (replay.wanted, replay.told(figure)) == (
        "≥ 100,000/s",
        "200,000/s (200,000/s to 200,000/s)",
    )


def test_every_target_is_measured_by_the_quick_run_too():
    for target in TARGETS:
        for work in (target.work, target.other_work or target.work):
            assert work in QUICK
            assert work in EVERYTHING


def test_works_are_chosen_by_their_callers():
    assert chosen(EVERYTHING, ()) == EVERYTHING
    assert {work.callers for work in chosen(EVERYTHING, (1, 64))} == {1, 64}


def test_each_round_begins_with_another_system():
    assert turns(["a", "b", "c"], 2) == [(0, "a"), (0, "b"), (0, "c"), (1, "b"), (1, "c"), (1, "a")]
