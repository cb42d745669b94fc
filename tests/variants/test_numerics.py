"""Rounding, packing and masks against independent implementations of the same rules."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from git_lepton.variants import numerics

EVERY_BF16 = (np.arange(1 << 16, dtype=np.uint32) << 16).view(np.float32)
RANDOM_BITS = np.random.default_rng(0).integers(0, 1 << 32, 100_000, dtype=np.uint32).view(np.float32)
NEAR_E4M3 = (np.random.default_rng(1).standard_normal(100_000) * np.repeat([1, 100, 0.01, 0.003], 25_000)).astype("f")
HARD = np.concatenate([EVERY_BF16, RANDOM_BITS, NEAR_E4M3])


def test_bf16_rounds_to_nearest_even() -> None:
    ours = numerics.from_float(HARD, "BF16")
    with np.errstate(invalid="ignore"):
        theirs = HARD.astype(ml_dtypes.bfloat16)
    assert np.array_equal(numerics.to_float(ours, "BF16"), theirs.astype(np.float32), equal_nan=True)


def test_e4m3_rounds_to_nearest_even_and_stops_at_the_largest() -> None:
    ours = numerics.from_float(HARD, "F8_E4M3")
    with np.errstate(invalid="ignore"):
        theirs = np.clip(HARD, -448, 448).astype(ml_dtypes.float8_e4m3fn)
    number = ~np.isnan(HARD)
    assert np.array_equal(ours[number], theirs.view(np.uint8)[number])
    assert np.isnan(numerics.to_float(ours[~number], "F8_E4M3")).all()


def test_e4m3_reads_as_the_standard_says() -> None:
    every = np.arange(256, dtype=np.uint8)
    theirs = every.view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    assert np.array_equal(numerics.to_float(every, "F8_E4M3"), theirs, equal_nan=True)


@pytest.mark.parametrize("bits", [4, 8])
@given(columns=st.integers(1, 40), seed=st.integers(0, 100))
@settings(deadline=None, max_examples=25)
def test_packed_words_hold_the_codes_low_bits_first(bits: int, columns: int, seed: int) -> None:
    half = 1 << (bits - 1)
    codes = np.random.default_rng(seed).integers(-half, half, (3, columns)).astype(np.int8)
    words = numerics.packed(codes, bits)
    assert words.shape == (3, -(-columns * bits // 32))
    for row in range(3):
        number = sum(int(word) % (1 << 32) << (32 * i) for i, word in enumerate(words[row]))
        assert [(number >> (bits * i)) % (1 << bits) - half for i in range(columns)] == codes[row].tolist()


@given(arrays(np.float32, st.tuples(st.integers(1, 6), st.just(64)), elements=st.floats(-1e4, 1e4, width=32)))
@settings(deadline=None, max_examples=50)
def test_quantized_rows_stay_within_half_a_step(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    for bits, group in ((8, None), (4, 32)):
        scale = numerics.scales(values, bits, group, "F32")
        after = numerics.dequantize(numerics.quantize(values, scale, bits), scale, bits)
        # The positive end loses a code to two's complement, hence a whole half step more there.
        assert (np.abs(after - values) <= np.repeat(scale, 64 // scale.shape[1], axis=1) * 1.01).all()


@given(
    arrays(np.float32, st.integers(0, 60), elements=st.sampled_from([0, 1, -1, 2, -3, math.nan])),
    st.integers(1, 99),
)
@settings(deadline=None, max_examples=50)
def test_the_smallest_are_exactly_as_many_as_asked(
    values: np.ndarray[tuple[int], np.dtype[np.float32]], percent: int
) -> None:
    mask = numerics.smallest(values, percent)
    assert mask.sum() == len(values) * percent // 100
    magnitude = np.where(np.isnan(values), np.inf, np.abs(values))
    if mask.any() and not mask.all():
        assert magnitude[mask].max() <= magnitude[~mask].min()


def test_two_of_four_keeps_the_larger_half_along_its_axis() -> None:
    values = np.array([[1, -4, 3, 2, 9, 9], [0, 0, 0, 0, 1, 1]], np.float32)
    assert numerics.two_of_four(values, 1).astype(int).tolist() == [[1, 0, 0, 1, 0, 0], [1, 1, 0, 0, 0, 0]]
    assert np.array_equal(numerics.two_of_four(values.T, 0), numerics.two_of_four(values, 1).T)


def test_distance_leaves_out_what_is_no_number() -> None:
    distance = numerics.Distance()
    distance.add(np.array([3, 4, math.nan, 1], "f"), np.array([3, 5, 1, math.inf], "f"))
    assert distance.relative_l2 == pytest.approx(1 / 5)
    assert distance.max_abs == 1
    nothing = numerics.Distance()
    nothing.add(np.zeros(2, "f"), np.ones(2, "f"))
    assert nothing.relative_l2 == math.inf
