"""How outputs are read: classes, probabilities, labels, likeness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.errors import UsageError
from git_lepton.gate.outputs import classified, distribution, likeness, measured, predictions

FEW = settings(deadline=None, max_examples=30)


@FEW
@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(2, 6), st.floats(-50, 50))
def test_distributions_are_distributions(seed: int, rows: int, classes: int, shift: float) -> None:
    raw = (np.random.default_rng(seed).normal(0, 5, (rows, classes)) + shift).astype("float32")
    found = distribution(raw)
    assert found.shape == raw.shape
    assert np.allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) == raw.argmax(axis=1)).all()
    assert np.allclose(distribution(found), found)


def test_one_score_is_of_the_second_of_two_classes() -> None:
    probabilities, logits = np.array([[0.2], [0.7]]), np.array([[-3.0], [2.0]])
    assert predictions(probabilities).tolist() == [0, 1]
    assert predictions(logits).tolist() == [0, 1]
    assert distribution(probabilities[:, 0]).tolist() == [[0.8, 0.2], [pytest.approx(0.3), 0.7]]
    found = classified(probabilities, np.array([0, 0]))
    assert (found.names, found.answer.tolist()) == (("0", "1"), [0, 1])


RAW = np.array([[3.0, 1, 0], [0, 1, 3], [0, 4, 1]])


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.array([0, 2, 1]), ()),
        (np.array([0.0, 2.0, 1.0]), ()),
        (np.array([[0], [2], [1]]), ()),
        (np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]]), ()),
        (np.array(["cat", "emu", "dog"]), ("cat", "dog", "emu")),
        (np.array([b"cat", b"emu", b"dog"]), ("cat", "dog", "emu")),
        (np.array([10, 30, 20]), ("10", "20", "30")),
        (np.array([0, 2, 1]), ("cat", "dog", "emu")),
    ],
)
def test_labels_in_every_spelling(labels: np.ndarray, classes: tuple[str, ...]) -> None:
    found = classified(RAW, labels, classes)
    assert found.truth.tolist() == found.answer.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (np.array([0, 2]), (), "3 outputs do not fit 2 labels"),
        (np.array([0, 3, 1]), (), "reach from 0 to 3"),
        (np.array([0, -1, 1]), (), "reach from -1"),
        (np.array([0.5, 1, 1]), (), "fractions"),
        (np.array(["a", "b", "c"]), (), "nothing tells"),
        (np.array(["a", "b", "z"]), ("a", "b", "c"), "'z' is none of the 3 classes"),
        (np.array([0, 2, 1]), ("a", "b"), "2 names"),
        (np.ones((3, 3)), (), "are no classes"),
    ],
)
def test_labels_that_do_not_fit(labels: np.ndarray, classes: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        classified(RAW, labels, classes)


def test_a_model_may_say_the_class_itself() -> None:
    found = classified(np.array(["b", "a"]), np.array(["b", "b"]))
    assert (found.names, found.truth.tolist(), found.answer.tolist()) == (("a", "b"), [1, 1], [1, 0])
    numbers = classified(np.array([10, 9]), np.array([9, 9]))
    assert (numbers.names, numbers.answer.tolist()) == (("9", "10"), [1, 0])


def test_numbers_need_one_shape() -> None:
    assert measured(np.array([[1.0], [2]]), np.array([1, 2])).answer.tolist() == [1, 2]
    with pytest.raises(UsageError, match=r"float64\[2, 2\] do not fit labels int64\[2\]"):
        measured(np.ones((2, 2)), np.array([1, 2]))
    with pytest.raises(UsageError, match="string"):
        measured(np.array(["a"]), np.array(["a"]))


def test_likeness() -> None:
    same = likeness(RAW, RAW)
    assert (same.agreement, same.output_error, same.kl) == (1.0, 0.0, 0.0)
    other = likeness(RAW[:, ::-1], RAW)
    assert other.agreement == pytest.approx(1 / 3)
    assert other.output_error == 3.0
    assert other.kl is not None
    assert other.kl > 0
    broken = likeness(np.full_like(RAW, np.nan), RAW)
    assert (broken.agreement, broken.output_error, broken.kl) == (None, None, None)
    assert likeness(np.array(["a", "b"]), np.array(["a", "c"])).agreement == 0.5
    with pytest.raises(UsageError, match="cannot be compared"):
        likeness(RAW, RAW[:2])
