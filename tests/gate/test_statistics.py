"""Intervals and verdicts: what a rule decides, and how often it is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from benchmarks.gate_power import simulate
from git_lepton.gate import statistics
from git_lepton.gate.statistics import bootstrap, decide, matched, needed, paired
from git_lepton.gate.values import Interval

FEW = settings(deadline=None, max_examples=50)


def test_equal_models_lose_nothing() -> None:
    interval = paired(np.zeros(40))
    assert interval == Interval(0.0, 0.0)
    assert decide(0.0, interval, 0.0) == "pass"


def test_the_score_interval_is_that_of_the_literature(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014), table IV: 1 and 7 discordant of 21."""
    monkeypatch.setattr(statistics, "_Z", stats.norm.ppf(0.975))
    interval = matched(1, 7, 21)
    assert (interval.low, interval.high) == pytest.approx((-0.517, -0.026), abs=0.0015)


def test_a_model_that_is_nowhere_worse_passes() -> None:
    for drops in (np.array([0.0] * 148 + [-1.0]), np.array([-0.5, 0.0, 0.0])):
        interval = paired(drops)
        assert interval is not None
        assert decide(float(drops.mean()), interval, 0.0) == "pass"


@FEW
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 2000))
def test_the_score_interval_is_sane(lost: int, gained: int, same: int) -> None:
    n = lost + gained + same
    if n == 0:
        return
    interval, mirrored = matched(lost, gained, n), matched(gained, lost, n)
    assert -1 <= interval.low <= (lost - gained) / n + 1e-9
    assert 1 >= interval.high >= (lost - gained) / n - 1e-9
    assert interval.low == pytest.approx(-mirrored.high, abs=1e-9)


@FEW
@given(st.lists(st.floats(-5, 5), min_size=4, max_size=40))
def test_the_interval_of_a_mean_is_students(values: list[float]) -> None:
    drops = np.array(values)
    if np.isin(drops, (-1, 0, 1)).all() or drops.std() < 1e-9 or (drops <= 0).all():
        return
    interval = paired(drops)
    assert interval is not None
    reach = stats.t.ppf(0.95, len(drops) - 1) * stats.sem(drops)
    assert interval.high - interval.low == pytest.approx(2 * reach, rel=2e-3)
    assert (interval.low + interval.high) / 2 == pytest.approx(drops.mean(), abs=1e-9)


@pytest.mark.parametrize("freedom", [1, 2, 3, 5, 10, 1000])
def test_student_quantiles(freedom: int) -> None:
    assert statistics._t_quantile(freedom) == pytest.approx(stats.t.ppf(0.95, freedom), rel=1e-3)


def test_one_example_tells_nothing_unless_it_is_equal() -> None:
    assert paired(np.array([0.5])) is None
    assert paired(np.array([0.0])) == Interval(0.0, 0.0)
    assert paired(np.array([])) is None


@pytest.mark.parametrize(
    ("drop", "interval", "limit", "verdict"),
    [
        (0.0, Interval(-0.01, 0.004), 0.005, "pass"),
        (0.0, Interval(-0.01, 0.005), 0.005, "pass"),
        (0.01, Interval(0.006, 0.02), 0.005, "fail"),
        (0.01, Interval(0.005, 0.02), 0.005, "inconclusive"),
        (0.01, None, 0.005, "fail"),
        (0.005, None, 0.005, "pass"),
        (math.nan, None, 0.005, "fail"),
        (0.0, Interval(math.nan, math.nan), 0.005, "fail"),
        (0.0, Interval(-math.inf, math.inf), 0.005, "fail"),
        (0.0, Interval(0.0, 0.0), math.nan, "fail"),
    ],
)
def test_the_verdict(drop: float, interval: Interval | None, limit: float, verdict: str) -> None:
    assert decide(drop, interval, limit) == verdict


def test_the_needed_examples_would_decide() -> None:
    n = needed(500, 0.0, matched(5, 5, 500), 0.005)
    assert n is not None
    scale = n / 500
    assert decide(0.0, matched(round(5 * scale), round(5 * scale), n), 0.0051) == "pass"
    assert needed(500, 0.005, Interval(0.0, 0.01), 0.005) is None
    assert needed(500, 0.005 - 1e-12, Interval(0.0, 0.01), 0.005) is None


def test_the_bootstrap_is_the_same_every_time_and_leaves_out_what_is_undefined() -> None:
    values = np.random.default_rng(1).normal(0.3, 1, 200)

    def mean(rows: np.ndarray) -> float:
        return float(values[rows].mean())

    interval = bootstrap(200, mean)
    assert interval == bootstrap(200, mean)
    assert interval is not None
    assert interval.low < 0.3 < interval.high
    assert bootstrap(1, mean) is None
    assert bootstrap(200, lambda rows: math.nan) is None


@pytest.mark.parametrize(("n", "loses", "refused"), [(2000, 0.01, 0.45), (10_000, 0.01, 0.9)])
def test_true_losses_are_refused(n: int, loses: float, refused: float) -> None:
    """2 % of examples change sides, half a point is allowed."""
    shares = simulate(n, loses, churn=0.02, limit=0.005, rounds=1500, seed=7)
    assert shares["fail"] >= refused
    equal = simulate(n, 0.0, churn=0.02, limit=0.005, rounds=1500, seed=7)
    assert equal["fail"] <= 0.01
