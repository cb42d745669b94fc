"""The kernel of tally.c against its twin in numpy: any bits, lengths, alignments, and odd values."""

from __future__ import annotations

import ctypes
import math
from dataclasses import astuple
from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from git_lepton.compare import tally
from git_lepton.compare.decoding import decoder
from git_lepton.compare.tally import Pair, Spread, Tally
from git_lepton.native.tally import KINDS, TallyKernels
from git_lepton.values import DTYPES

FLOATS: dict[str, Any] = {"BF16": ml_dtypes.bfloat16, "F16": "<f2", "F32": "<f4", "F64": "<f8"}
WIDE = {"U64", "I64", "C64", "C128"}
READ = sorted(dtype for dtype in DTYPES if dtype not in WIDE | {"BOOL"})
SPECIAL = (0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, -1e-45, 1e-40, 6e-8, 6e-5, 1.0, 65504.0, 3.3e38)


@pytest.fixture(scope="module")
def kernels(compiled: ctypes.CDLL) -> TallyKernels:
    return TallyKernels(compiled)


def pair_of(dtypes: tuple[str, str], raw: tuple[bytes, bytes], count: int) -> Pair:
    before, after = map(decoder, dtypes)
    assert before is not None
    assert after is not None
    return Pair.of(before, raw[0], after, raw[1], count)


def tallied(which: TallyKernels | None, pair: Pair) -> tuple[Tally, NDArray[np.float32]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tally, "kernels", lambda: which)
        change = np.full(len(pair.before), 7, np.float32)
        found = pair.tally(change)
        assert repr(pair.tally()) == repr(found)
        return found, change


def agree(kernels: TallyKernels, pair: Pair) -> Tally:
    """What either finds: counts and changes are equal, sums to within their rounding."""
    (found, change), (wanted, expected) = (tallied(which, pair) for which in (kernels, None))
    np.testing.assert_array_equal(change, expected)
    exact = ("compared", "changed", "max_abs")
    assert [getattr(found, name) for name in exact] == [getattr(wanted, name) for name in exact]
    norms = math.sqrt(wanted.before) * math.sqrt(wanted.after)
    for name, scale in (
        ("difference", wanted.difference),
        ("before", wanted.before),
        ("after", wanted.after),
        ("product", norms),
    ):
        assert abs(getattr(found, name) - getattr(wanted, name)) <= 1e-12 * scale, name
    for spread, other in (
        (found.spread_before, wanted.spread_before),
        (found.spread_after, wanted.spread_after),
    ):
        same_spread(spread, other)
    return found


def same_spread(found: Spread, wanted: Spread) -> None:
    assert (found.count, *astuple(found)[3:]) == (wanted.count, *astuple(wanted)[3:])
    if not found.count:
        return
    assert abs(found.mean - wanted.mean) <= 1e-12 * math.sqrt(wanted.energy / wanted.count)
    # The twin takes a second pass only where more than six digits would cancel.
    assert found.squares == pytest.approx(wanted.squares, rel=1e-8, abs=1e-24 * wanted.energy)


def coded(dtype: str, values: Any) -> bytes:
    with np.errstate(all="ignore"):
        return bytes(np.asarray(values, np.float64).astype(FLOATS[dtype]).tobytes())


@st.composite
def sides(draw: st.DrawFn, dtypes: tuple[str, str]) -> Pair:
    """Special values, neighbours of one another, or values that hardly differ and lie far from zero."""
    count = draw(st.integers(0, 90))
    kind = draw(st.sampled_from(["special", "near", "far"]))
    raw = []
    for dtype in dtypes:
        if kind == "special":
            values: Any = draw(st.lists(st.sampled_from(SPECIAL), min_size=count, max_size=count))
        else:
            steps = np.array(draw(st.lists(st.integers(-4, 4), min_size=count, max_size=count)))
            values = steps * 2.0**-7 + (1.0 if kind == "near" else 4096.0)
        raw.append(coded(dtype, values))
    return pair_of(dtypes, (raw[0], raw[1]), count)


@pytest.mark.parametrize("dtypes", [*product(FLOATS, FLOATS)])
@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_odd_values(kernels: TallyKernels, dtypes: tuple[str, str], data: st.DataObject) -> None:
    agree(kernels, data.draw(sides(dtypes)))


@pytest.mark.parametrize("dtype", [dtype for dtype in READ if dtype != "F64"])
@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_any_bits(kernels: TallyKernels, dtype: str, data: st.DataObject) -> None:
    group, size = decoder(dtype).group  # type: ignore[union-attr]
    groups = data.draw(st.integers(0, 40))
    raw = st.binary(min_size=groups * size, max_size=groups * size)
    agree(kernels, pair_of((dtype, dtype), data.draw(st.tuples(raw, raw)), groups * group))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1023, 1024, 1025, 65_536 + 7, 300_001])
def test_lengths_and_alignments(kernels: TallyKernels, dtype: str, count: int) -> None:
    chance = np.random.default_rng(count)
    values = chance.standard_normal(count)
    sides = []
    for moved in (0.0, 0.01):
        codes = np.frombuffer(coded(dtype, values + moved * chance.standard_normal(count)), np.uint8)
        memory = np.empty(codes.size + 1, np.uint8)
        memory[1:] = codes
        sides.append(memory[1:].view(f"<u{DTYPES[dtype].bits // 8}"))
    decode = decoder(dtype)
    assert decode is not None
    agree(kernels, Pair(decode, decode, sides[0], sides[1]))


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_few_are_not_finite(kernels: TallyKernels, dtype: str) -> None:
    chance = np.random.default_rng(0)
    before, after = chance.standard_normal((2, 100_000))
    for values, odd in product((before, after), (math.nan, math.inf, -math.inf, 0.0)):
        values[chance.integers(0, values.size, 40)] = odd
    found = agree(kernels, pair_of((dtype, dtype), (coded(dtype, before), coded(dtype, after)), before.size))
    assert found.spread_before.infinities
    assert found.spread_after.nans


@pytest.mark.parametrize("mean", [1e3, -1e6, 1e12])
def test_a_mean_far_from_zero_cancels_nothing(kernels: TallyKernels, mean: float) -> None:
    values = mean + np.random.default_rng(0).standard_normal(70_001) * 1e-3
    raw = values.tobytes(), (values + 1e-3).tobytes()
    (found, _) = tallied(kernels, pair_of(("F64", "F64"), raw, values.size))
    exact = values.astype(np.longdouble)
    assert found.spread_before.moments().mean == pytest.approx(float(exact.mean()), rel=1e-15)
    assert found.spread_before.moments().deviation == pytest.approx(float(exact.std()), rel=1e-9)


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_every_half_is_read(kernels: TallyKernels, dtype: str) -> None:
    every = np.arange(1 << 16, dtype="<u2").tobytes()
    found = agree(kernels, pair_of((dtype, dtype), (bytes(len(every)), every), 1 << 16))
    special = 1 << (8 if dtype == "BF16" else 11)
    assert (found.changed, found.spread_after.infinities, found.spread_after.nans) == (65_535, 2, special - 2)


def test_what_the_kernel_does_not_know_is_left_to_numpy(kernels: TallyKernels) -> None:
    assert not KINDS.keys() & (WIDE | {"BOOL"})
    for dtype in ("U64", "I64", "BOOL"):
        agree(kernels, pair_of((dtype, dtype), (bytes(64), bytes([1] * 64)), 64 * 8 // DTYPES[dtype].bits))
