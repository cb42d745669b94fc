"""Our metrics beside scikit-learn's and scipy's, on anything hypothesis thinks of."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from git_lepton.config.values import GateRule
from git_lepton.errors import UsageError
from git_lepton.gate import metrics
from git_lepton.gate.data import Data
from git_lepton.gate.evaluators import Outputs
from git_lepton.gate.outputs import Examples
from git_lepton.gate.scoring import drop, score
from git_lepton.gate.values import Interval

FEW = settings(deadline=None, max_examples=12)
Array = np.ndarray[Any, Any]


@st.composite
def classified(draw: st.DrawFn, least: int = 2, most: int = 5) -> Examples:
    """Classes, with scores that are coarse enough to be equal now and then."""
    classes, rows = draw(st.integers(least, most)), draw(st.integers(2, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    scores = random.integers(1, 6, (rows, classes)).astype("float64")
    scores /= scores.sum(axis=1, keepdims=True)
    truth = random.integers(0, classes, rows)
    return Examples(truth, scores.argmax(axis=1), scores, tuple(map(str, range(classes))))


@st.composite
def numbers(draw: st.DrawFn) -> Examples:
    rows = draw(st.integers(2, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    return Examples(random.integers(0, 9, rows) / 2, random.integers(0, 9, rows) / 2)


def ours(name: str, examples: Examples) -> float:
    metric = metrics.find(name)
    assert metric is not None
    return metric.value(examples)


@FEW
@given(classified())
def test_classes(examples: Examples) -> None:
    truth, answer = examples.truth, examples.answer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ours("accuracy", examples) == pytest.approx(sk.accuracy_score(truth, answer))
        assert ours("balanced_accuracy", examples) == pytest.approx(sk.balanced_accuracy_score(truth, answer))
        for average in ("macro", "micro", "weighted"):
            for name, theirs in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
                expected = theirs(truth, answer, average=average, zero_division=0)
                assert ours(f"{name}_{average}", examples) == pytest.approx(expected)


@FEW
@given(classified(most=2))
def test_two_classes(examples: Examples) -> None:
    assert examples.scores is not None
    truth, answer = examples.truth, examples.answer
    for name, theirs in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
        assert ours(name, examples) == pytest.approx(theirs(truth, answer, zero_division=0))
    assert ours("brier", examples) == pytest.approx(sk.brier_score_loss(truth, examples.scores[:, 1]))
    if len(set(truth.tolist())) == 2:
        assert ours("auc", examples) == pytest.approx(sk.roc_auc_score(truth, examples.scores[:, 1]))
    else:
        assert math.isnan(ours("auc", examples))


@FEW
@given(classified(least=3))
def test_scores_of_classes(examples: Examples) -> None:
    truth, scores = examples.truth, examples.scores
    assert scores is not None
    labels = list(range(scores.shape[1]))
    assert ours("log_loss", examples) == pytest.approx(sk.log_loss(truth, scores, labels=labels))
    for k in (1, 2):
        expected = sk.top_k_accuracy_score(truth, scores, k=k, labels=labels)
        assert ours(f"top{k}", examples) == pytest.approx(expected)
    if len(set(truth.tolist())) == len(labels):
        assert ours("auc", examples) == pytest.approx(sk.roc_auc_score(truth, scores, multi_class="ovr"))


@FEW
@given(numbers())
def test_numbers(examples: Examples) -> None:
    truth, answer = examples.truth, examples.answer
    assert ours("mae", examples) == pytest.approx(sk.mean_absolute_error(truth, answer))
    assert ours("mse", examples) == pytest.approx(sk.mean_squared_error(truth, answer))
    assert ours("rmse", examples) == pytest.approx(sk.root_mean_squared_error(truth, answer))
    if np.ptp(truth):
        assert ours("r2", examples) == pytest.approx(sk.r2_score(truth, answer))
    if np.ptp(truth) and np.ptp(answer):
        assert ours("spearman", examples) == pytest.approx(stats.spearmanr(truth, answer)[0])
        assert ours("pearson", examples) == pytest.approx(stats.pearsonr(truth, answer)[0])
    else:
        assert math.isnan(ours("spearman", examples))


@FEW
@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(2, 9))
def test_rankings(seed: int, queries: int, items: int) -> None:
    random = np.random.default_rng(seed)
    truth, answer = random.integers(0, 4, (queries, items)).astype(float), random.integers(0, 5, (queries, items)) / 4
    examples = Examples(truth, answer)
    assert ours("ndcg", examples) == pytest.approx(sk.ndcg_score(truth, answer))
    assert ours("ndcg@2", examples) == pytest.approx(sk.ndcg_score(truth, answer, k=2))


def test_reciprocal_ranks_count_ties_against_the_model() -> None:
    truth = np.array([[1.0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 1, 0]])
    answer = np.array([[3.0, 2, 1], [3, 2, 1], [1, 2, 3], [1, 1, 0]])
    assert ours("mrr", Examples(truth, answer)) == pytest.approx((1 + 1 / 3 + 0 + 1 / 2) / 4)


def test_calibration_error_is_the_gap_in_each_bin() -> None:
    scores = np.array([[0.9, 0.1]] * 10 + [[0.4, 0.6]] * 10)
    truth = np.array([0] * 9 + [1] + [1] * 3 + [0] * 7)
    examples = Examples(truth, scores.argmax(axis=1), scores, ("0", "1"))
    assert ours("ece", examples) == pytest.approx((0.0 * 10 + 0.3 * 10) / 20)


def labelled(labels: Array) -> Data:
    return Data("d.npz", {}, len(labels), labels, None, (), frozenset())


def test_other_names_are_scikit_learns() -> None:
    labels, raw = np.array([0, 1, 1, 0, 1]), np.array([[2.0, 1], [1, 2], [2, 1], [3, 1], [0, 1]])
    found = score(GateRule("g", metric="cohen_kappa"), Outputs(raw=raw), labelled(labels))
    assert found.value == pytest.approx(sk.cohen_kappa_score(labels, raw.argmax(axis=1)))
    assert drop(found, found, "higher")[0] == 0.0
    assert metrics.direction(GateRule("g", metric="max_error")) == "lower"
    assert metrics.direction(GateRule("g", metric="max_error", direction="higher")) == "higher"


def test_a_function_that_gives_one_number_is_resampled() -> None:
    labels, rule = np.arange(60.0), GateRule("g", metric="tests.gate.functions:largest")
    found, worse = (score(rule, Outputs(raw=labels + off), labelled(labels)) for off in (0.0, 1.0))
    lost, interval = drop(worse, found, "lower")
    assert (lost, interval) == (1.0, Interval(1.0, 1.0))


def test_an_unknown_metric_names_the_one_that_was_meant_or_all() -> None:
    for name, hint in (
        ("acuracy", "did you mean 'accuracy'"),
        ("mean_squared_eror", "'mean_squared_error'"),
        ("q", "top"),
    ):
        with pytest.raises(UsageError, match=name) as caught:
            metrics.from_sklearn(name)
        assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["no_such_module_of_ours:f", "math:no_such", "math:pi"])
def test_a_function_that_is_not_there(name: str) -> None:
    with pytest.raises(UsageError, match=name.partition(":")[0]):
        metrics.load_function(name)


def test_a_function_may_give_a_value_for_each_example() -> None:
    rule = GateRule("g", metric="tests.gate.functions:absolute")
    labels, raw = np.array([1.0, 2, 3]), np.array([1.0, 1, 1])
    found = score(rule, Outputs(raw=raw), labelled(labels))
    assert found.each is not None
    assert found.value == 1.0
    with pytest.raises(UsageError, match="shape"):
        score(GateRule("g", metric="tests.gate.functions:matrix"), Outputs(raw=raw), labelled(labels))
