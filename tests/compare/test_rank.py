"""The effective rank of changes whose rank is known."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from git_lepton.compare.numbers import NumberOptions
from git_lepton.compare.rank import MAX_COLUMNS, worth_asking
from tests.compare.memory import numbers, one

KINDS: dict[str, Any] = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}


def weights(rows: int, columns: int, seed: int = 0) -> NDArray[np.float32]:
    values: NDArray[np.float32] = np.random.default_rng(seed).normal(0, 0.02, (rows, columns)).astype(np.float32)
    return values


def low_rank(rows: int, columns: int, rank: int, size: float) -> NDArray[np.float32]:
    """A product of two Gaussian factors whose entries have about this standard deviation."""
    rng = np.random.default_rng(rank)
    product = rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, columns))
    scaled: NDArray[np.float32] = (product * (size / rank**0.5)).astype(np.float32)
    return scaled


def found(dtype: str, before: NDArray[Any], after: NDArray[Any], **options: Any) -> int | None:
    files = [one(dtype, values.astype(KINDS[dtype]).tobytes(), values.shape) for values in (before, after)]
    result, _ = numbers(files[0], files[1], NumberOptions(**options))
    assert result is not None
    return result.rank


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("size", [2e-4, 1e-3, 1e-2])
def test_a_merged_lora_has_its_rank(dtype: str, size: float) -> None:
    """Although it was rounded: to bfloat16, a change of 2e-4 leaves a percent of noise on all directions."""
    before = weights(1024, 1024).astype(KINDS[dtype]).astype(np.float32)
    assert found(dtype, before, before + low_rank(1024, 1024, 8, size)) == 8


@pytest.mark.parametrize("rank", [1, 4, 16, 48])
@pytest.mark.parametrize("shape", [(1100, 768), (768, 3072), (5000, 300)])
def test_other_ranks_and_shapes(rank: int, shape: tuple[int, int]) -> None:
    if rank > min(MAX_COLUMNS, min(shape) // 4) // 2:
        return
    before = weights(*shape)
    assert found("F32", before, before + low_rank(*shape, rank, 1e-3)) == rank


@pytest.mark.parametrize("dtype", KINDS)
def test_a_change_of_full_rank_has_none(dtype: str) -> None:
    before = weights(1024, 1024)
    assert found(dtype, before, weights(1024, 1024, seed=1)) is None
    assert found(dtype, before, before + weights(1024, 1024, seed=1) / 20) is None


def test_a_flat_spectrum_is_not_taken_for_noise() -> None:
    """A fine-tune whose singular values fall slowly has no low rank, though its largest stand out."""
    before = weights(256, 256)
    left, _, right = np.linalg.svd(weights(256, 256, seed=1))
    change = (left * (np.arange(1, 257) ** -0.5)) @ right * 0.05
    assert found("F32", before, before + change.astype(np.float32)) is None


def test_only_some_rows_changed() -> None:
    before = weights(3000, 512)
    after = before.copy()
    after[1200:1216] += weights(16, 512, seed=3) / 10
    assert found("F32", before, after) == 16


def test_what_lies_far_from_the_first_change_counts_too() -> None:
    """Nothing between the first chunk and the last differs, and the last one is beyond what tells to go on."""
    before = weights(4000, 512)
    after = before.copy()
    after[:4] += weights(4, 512, seed=3) / 10
    after[-5:] += weights(5, 512, seed=4) / 10
    assert found("F32", before, after) == 9


def test_it_is_not_asked_for_what_is_small_huge_sampled_or_unwanted() -> None:
    assert worth_asking((64, 64))
    assert not worth_asking((64,))
    assert not worth_asking((64, 8))
    assert not worth_asking((64, 64, 64))
    assert not worth_asking((1 << 17, 64))
    assert not worth_asking((1 << 14, 1 << 14))
    before = weights(1024, 1024)
    after = before + low_rank(1024, 1024, 8, 1e-3)
    assert found("F32", before, after, sample=1) is None
    assert found("F32", before, after, rank=False) is None
