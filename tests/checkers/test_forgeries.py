"""Both checkers against histories known to be good, and against every kind known to be bad."""

from __future__ import annotations

import random

import pytest

from tests.checkers import linearizability, order, traffic
from tests.checkers.check import check_all
from tests.checkers.forgeries import FORGERIES, LINEARIZABILITY, ORDER
from tests.checkers.history import validate

GOOD = 300
BAD = 300
VISIBLE_TO_BOTH = sorted(name for name, one in FORGERIES.items() if LINEARIZABILITY in one.seen_by)


def forged(name, count):
    """So many bad histories of one kind, from the first seeds that offer a victim."""
    found = []
    for seed in range(count * 20):
        rng = random.Random(f"{name} {seed}")
        bad = FORGERIES[name].forge(rng, traffic.make(rng, traffic.mixed(rng)))
        if bad is not None:
            found.append((seed, bad))
            if len(found) == count:
                return found
    raise AssertionError(f"{len(found)} of {count} runs offered {name} a victim")


def test_good_histories_are_accepted_by_both():
    for seed in range(GOOD):
        rng = random.Random(seed)
        report = check_all(*traffic.make(rng, traffic.mixed(rng)))
        assert report.ok, f"seed {seed}: {report}"


def test_good_histories_are_linearizable_without_asking_the_log():
    for seed in range(GOOD):
        rng = random.Random(seed)
        history, _ = traffic.make(rng, traffic.mixed(rng))
        result = linearizability.check(history)
        assert result.ok, f"seed {seed}: {result}"


@pytest.mark.parametrize("name", sorted(FORGERIES))
def test_the_order_checker_rejects_every_kind(name):
    assert ORDER in FORGERIES[name].seen_by
    for seed, bad in forged(name, -(-BAD // len(FORGERIES))):
        validate(bad.history)
        assert order.check(*bad), f"{name}, seed {seed}: not seen"


@pytest.mark.parametrize("name", VISIBLE_TO_BOTH)
def test_the_linearizability_checker_rejects_what_any_client_could_notice(name):
    for seed, (history, events) in forged(name, -(-BAD // len(VISIBLE_TO_BOTH))):
        resolved = linearizability.resolve(history, events)
        result = linearizability.check(resolved)
        assert result.violations, f"{name}, seed {seed}: not seen"
        assert not result.undecided


def test_what_the_order_checker_accepts_some_order_explains():
    """Random damage, seen or not: the checker that sees more never accepts more."""
    accepted = 0
    for seed in range(400):
        rng = random.Random(seed)
        run = traffic.make(rng, traffic.Traffic(operations=30, clients=4, keys=2))
        for _ in range(rng.choice((1, 2))):
            forge = rng.choice(list(FORGERIES.values())).forge
            run = (forge(rng, run) if run.events[1:] else None) or run
            run = damaged(rng, run)
        if not order.check(*run):
            accepted += 1
            assert linearizability.check(linearizability.resolve(*run)).ok, f"seed {seed}"
    assert accepted >= 20


def damaged(rng, run):
    """Widens what may be excused: some calls began earlier, or ended later, than recorded."""
    for one in run.history:
        if rng.random() < 0.3 and one.returned_at_ns is not None:
            one.returned_at_ns += rng.randint(0, 5_000)
            one.called_at_ns = max(0, one.called_at_ns - rng.randint(0, 5_000))
    return run
