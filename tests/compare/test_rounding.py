"""Rounding to narrow floats, against ml_dtypes and against a search of all values."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.compare.decoding import Decoder
from git_lepton.compare.rounding import ROUNDED, round_to
from git_lepton.values import DTYPES

NUMPY = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}
SMALL = {
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}


def decoded(dtype: str, raw: bytes) -> np.ndarray:
    decoder = Decoder(dtype, DTYPES[dtype].bits)
    count = len(raw) * 8 // decoder.bits
    out = np.empty(count, np.float64)
    decoder.values(decoder.codes(raw, count), out)
    return out


def all_codes(dtype: str) -> bytes:
    return np.arange(1 << DTYPES[dtype].bits, dtype="<u2" if DTYPES[dtype].bits == 16 else "u1").tobytes()


@pytest.mark.parametrize("dtype", sorted(ROUNDED - {"F32", "F64"}))
def test_every_value_of_a_dtype_is_kept(dtype: str) -> None:
    values = decoded(dtype, all_codes(dtype))
    again = decoded(dtype, round_to(dtype, values))
    np.testing.assert_array_equal(again, values)
    np.testing.assert_array_equal(np.signbit(again[~np.isnan(again)]), np.signbit(values[~np.isnan(values)]))


@pytest.mark.parametrize("dtype", sorted(ROUNDED - {"F32", "F64"}))
def test_midpoints_go_to_even_and_their_neighbours_to_the_nearest(dtype: str) -> None:
    values = decoded(dtype, all_codes(dtype))
    ladder = np.unique(values[np.isfinite(values)])
    middles = (ladder[1:] + ladder[:-1]) / 2
    lower, upper = (
        decoded(dtype, round_to(dtype, np.nextafter(middles, to))) for to in (np.full_like(middles, -np.inf), np.inf)
    )
    np.testing.assert_array_equal(lower, ladder[:-1])
    np.testing.assert_array_equal(upper, ladder[1:])
    chosen = np.frombuffer(round_to(dtype, middles), "<u2" if DTYPES[dtype].bits == 16 else "u1")
    assert not (chosen & 1).any()


@pytest.mark.parametrize("dtype", sorted(ROUNDED))
@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.floats(width=64), min_size=1, max_size=20))
def test_rounding_is_that_of_another_implementation(dtype: str, values: list[float]) -> None:
    ours = decoded(dtype, round_to(dtype, np.array(values)))
    with np.errstate(all="ignore"):
        if dtype in {"F64", "F32", "F16"}:
            theirs = np.array(values).astype(NUMPY[dtype]).astype(np.float64)
        else:
            theirs = np.array([_nearest(dtype, value) for value in values])
    np.testing.assert_array_equal(ours, theirs)


def _nearest(dtype: str, value: float) -> float:
    """By looking at every value of the dtype."""
    values = decoded(dtype, all_codes(dtype))
    if np.isnan(value):
        return np.nan
    finite = values[np.isfinite(values)]
    greatest = finite.max()
    has_infinity = bool(np.isinf(values).any())
    step = greatest - np.unique(finite)[-2]
    if has_infinity and abs(value) >= greatest + step / 2:
        return float(np.copysign(np.inf, value))
    if abs(value) > greatest:
        return float(np.copysign(greatest, value))
    # Fractions make the distances exact, where float64 might not.
    from fractions import Fraction

    near = finite[np.argsort(np.abs(finite - value))[:6]]
    best = min(abs(Fraction(float(n)) - Fraction(value)) for n in near)
    winners = {float(n) for n in near if abs(Fraction(float(n)) - Fraction(value)) == best}
    even = [w for w, c in itertools.product(winners, [0]) if _code(dtype, w) % 2 == c]
    return winners.pop() if len(winners) == 1 else even[0]


def _code(dtype: str, value: float) -> int:
    values = decoded(dtype, all_codes(dtype))
    return int(np.flatnonzero((values == value) & (np.signbit(values) == np.signbit(value)))[0])


@pytest.mark.parametrize("dtype", sorted(SMALL))
def test_small_values_agree_with_ml_dtypes(dtype: str) -> None:
    values = np.random.default_rng(1).standard_normal(20_000) * 10.0 ** np.random.default_rng(2).uniform(-4, 2, 20_000)
    values = np.clip(values, -200, 200)
    # From float32, so that ml_dtypes rounds once as well.
    single = values.astype(np.float32)
    theirs = single.astype(SMALL[dtype]).astype(np.float64)
    np.testing.assert_array_equal(decoded(dtype, round_to(dtype, single.astype(np.float64))), theirs)
