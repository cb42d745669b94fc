"""Merged values against the papers' formulas, written down here on whole tensors, as mergekit has them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.compare import arithmetic, strategies
from git_lepton.compare.arithmetic import Block
from git_lepton.compare.strategies import TensorBlocks, _Trim, _trims, prepare
from git_lepton.errors import UsageError
from git_lepton.native.merging import Choice, Election

BLOCK = 700


@pytest.fixture(autouse=True, params=["native", "numpy"])
def _kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "numpy":
        monkeypatch.setattr(arithmetic, "kernels", lambda: None)


def tensor(base: np.ndarray | None, ours: np.ndarray, theirs: np.ndarray, block: int = BLOCK) -> TensorBlocks:
    """Elements of float64, whose bits nothing rounds."""
    sides = [None if side is None else np.asarray(side, np.float64).view("<u8") for side in (base, ours, theirs)]

    def load(number: int) -> Block:
        before, here, there = (None if s is None else s[number * block : (number + 1) * block] for s in sides)
        assert here is not None
        assert there is not None
        return Block(number * block, before, here, there)

    return TensorBlocks("layer.0.weight", "F64", ours.size, -(-ours.size // block), load, based=sides[0] is not None)


def merged(strategy: str, data: TensorBlocks, **options: float) -> np.ndarray:
    combine = prepare(strategy, options, data)
    return np.concatenate([np.frombuffer(raw) for raw in data.each(combine)])


def trimmed(data: TensorBlocks, trim: _Trim) -> np.ndarray:
    """What a trim leaves of the change of ours from a base of zeros."""
    nothing = Choice(0.0)

    def one(block: Block) -> memoryview:
        how = Election(trim.choice(block.first, 1.0), nothing, (1.0, 1.0, 1.0), 1.0)
        return arithmetic.elected("F64", block, how)

    return np.concatenate([np.frombuffer(raw) for raw in data.each(one)])


def three(seed: int, count: int = 5000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    base = rng.standard_normal(count)
    return base, base + 0.1 * rng.standard_normal(count), base + 0.1 * rng.standard_normal(count)


# The formulas, from the papers, on whole arrays.


def paper_slerp(t: float, v0: np.ndarray, v1: np.ndarray) -> np.ndarray:
    dot = float(np.sum(v0 / np.linalg.norm(v0) * (v1 / np.linalg.norm(v1))))
    if abs(dot) > 0.9995:
        return (1 - t) * v0 + t * v1
    theta = np.arccos(dot)
    result: np.ndarray = np.sin(theta - theta * t) / np.sin(theta) * v0 + np.sin(theta * t) / np.sin(theta) * v1
    return result


def paper_trim(delta: np.ndarray, density: float) -> np.ndarray:
    k = int(density * delta.size)
    kept = np.argsort(-np.abs(delta), kind="stable")[:k]
    result = np.zeros_like(delta)
    result[kept] = delta[kept]
    return result


def paper_elect(deltas: list[np.ndarray], weights: list[float], *, normalize: bool) -> np.ndarray:
    weighted = np.stack([w * d for w, d in zip(weights, deltas, strict=True)])
    majority = (weighted.sum(axis=0) >= 0).astype(float) * 2 - 1
    mask = np.sign(weighted) == majority
    total: np.ndarray = (weighted * mask).sum(axis=0)
    if normalize:
        divisor = (np.array(weights)[:, None] * mask).sum(axis=0)
        divisor[np.abs(divisor) < 1e-8] = 1
        total /= divisor
    return total


def paper_ties(
    base: np.ndarray, ours: np.ndarray, theirs: np.ndarray, density: float, w: list[float], scale: float
) -> np.ndarray:
    deltas = [paper_trim(ours - base, density), paper_trim(theirs - base, density)]
    return base + scale * paper_elect(deltas, w, normalize=True)


def close(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 1.0])
def test_average(weight: float) -> None:
    _, ours, theirs = three(1)
    close(merged("average", tensor(None, ours, theirs), weight=weight), (1 - weight) * ours + weight * theirs)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_slerp(weight: float) -> None:
    rng = np.random.default_rng(2)
    ours, theirs = rng.standard_normal(3000), rng.standard_normal(3000)
    close(merged("slerp", tensor(None, ours, theirs), weight=weight), paper_slerp(weight, ours, theirs))
    near = ours + 1e-4 * theirs
    close(merged("slerp", tensor(None, ours, near), weight=weight), paper_slerp(weight, ours, near))


def test_slerp_of_nothing_is_nothing() -> None:
    zeros = np.zeros(10)
    assert not merged("slerp", tensor(None, zeros, zeros)).any()


def test_task_arithmetic() -> None:
    base, ours, theirs = three(3)
    found = merged("task-arithmetic", tensor(base, ours, theirs), ours=0.7, theirs=-0.2, scale=1.5)
    close(found, base + 1.5 * (0.7 * (ours - base) - 0.2 * (theirs - base)))


@pytest.mark.parametrize(("density", "weights", "scale"), [(0.2, [1, 1], 1), (0.5, [0.3, 0.9], 0.8), (1.0, [1, 2], 1)])
def test_ties(density: float, weights: list[float], scale: float) -> None:
    base, ours, theirs = three(4)
    found = merged("ties", tensor(base, ours, theirs), density=density, ours=weights[0], theirs=weights[1], scale=scale)
    close(found, paper_ties(base, ours, theirs, density, weights, scale))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=60),
    st.floats(0.01, 1.0),
    st.integers(1, 20),
)
def test_trimming_breaks_ties_by_place(steps: list[int], density: float, block: int) -> None:
    """Changes of low precision have few magnitudes: exactly as many stay as were asked for."""
    base = np.zeros(len(steps))
    ours = np.array(steps, float)
    if int(density * len(steps)) == 0:
        return
    found = merged("ties", tensor(base, ours, ours, block), density=density)
    close(found, paper_trim(ours, density))


def test_trimming_a_large_tensor_of_few_magnitudes() -> None:
    """More candidates than are collected share all their bits but the last ones."""
    rng = np.random.default_rng(5)
    ours = 1 + rng.integers(0, 3, 1_300_000) * 2.0**-50
    data = tensor(np.zeros_like(ours), ours, ours, 100_000)
    trim, _ = _trims(data, 400_000)
    kept = trimmed(data, trim)
    assert np.count_nonzero(kept) == 400_000
    close(kept, paper_trim(ours, 400_000 / ours.size + 1e-9))


def test_trimming_a_tensor_that_hardly_changed_collects_nothing() -> None:
    ours = np.zeros(1_300_000)
    ours[::1000] = 1
    data = tensor(np.zeros_like(ours), ours, -ours, 100_000)
    trim, other = _trims(data, 400_000)
    assert (trim.threshold, other.threshold, trimmed(data, trim).sum()) == (0, 0, 1300)


def test_trimming_where_no_block_is_like_another() -> None:
    ours = np.random.default_rng(6).permutation(20_000) + 1.0
    ours[:15_000].sort()
    close(merged("ties", tensor(np.zeros_like(ours), ours, ours), density=0.15), paper_trim(ours, 0.15))


@pytest.mark.parametrize("kept", [False, True])
def test_guessing_and_searching_agree(kept: bool) -> None:
    base, ours, theirs = (side.astype(np.float16) for side in three(7, 30_000))
    data = dataclasses.replace(tensor(base, ours, theirs, 2000), kept=kept)
    assert strategies._guessed(data, 6000) == strategies._searched(data, 6000)


def test_candidates_that_are_equal_are_collected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes of narrow floats in a large tensor: many are as large as the threshold."""
    monkeypatch.setattr(strategies, "_COLLECT", 1000)
    steps = np.random.default_rng(4).integers(-20, 21, (2, 300_000)) * 0.25
    data = tensor(np.zeros(300_000), steps[0], steps[1], 65_536)
    trims = strategies._guessed(data, 60_000)
    assert trims is not None
    assert trims == strategies._searched(data, 60_000)
    np.testing.assert_array_equal(trimmed(data, trims[0]), paper_trim(steps[0], 0.2))


def test_dare_drops_at_random_rescales_and_elects() -> None:
    base, ours, theirs = three(6, 200_000)
    data = tensor(base, ours, theirs, 65_536)
    found = merged("dare-ties", data, density=0.25, seed=7) - base
    left, right = 4 * (ours - base), 4 * (theirs - base)
    # Each element is one of: nothing, one change, both where their signs agree; see which.
    options = np.stack([np.zeros_like(left), left, right, left + right])
    distance = np.abs(options - found).min(axis=0)
    assert distance.max() < 1e-12
    share = np.mean(found != 0)
    assert abs(share - (1 - 0.75**2)) < 0.005
    # And with the same masks, it is the paper's formula.
    masks = [np.zeros_like(left), np.zeros_like(right)]
    only = merged("dare-ties", tensor(base, ours, base, 65_536), density=0.25, seed=7) - base
    masks[0] = (only != 0).astype(float)
    only = merged("dare-ties", tensor(base, base, theirs, 65_536), density=0.25, seed=7) - base
    masks[1] = (only != 0).astype(float)
    close(found, paper_elect([left * masks[0], right * masks[1]], [1, 1], normalize=False))


def test_dare_depends_on_the_seed_and_on_nothing_else() -> None:
    base, ours, theirs = three(8)
    data = tensor(base, ours, theirs)
    first = merged("dare-ties", data, seed=1)
    assert (first == merged("dare-ties", data, seed=1)).all()
    assert (first != merged("dare-ties", data, seed=2)).any()


def test_what_cannot_be_merged_is_refused() -> None:
    _, ours, theirs = three(9)
    data = tensor(None, ours, theirs)
    for strategy in ("task-arithmetic", "ties", "dare-ties"):
        with pytest.raises(UsageError, match="common ancestor"):
            prepare(strategy, {}, data)
    for strategy in ("ours", "nonsense"):
        with pytest.raises(UsageError):
            prepare(strategy, {}, data)
    with pytest.raises(UsageError, match="densty"):
        prepare("ties", {"densty": 0.5}, data)
    with pytest.raises(UsageError, match="not in"):
        prepare("average", {"weight": 2}, data)
