"""Each kernel of merging.c against its twin in numpy: any bits, lengths, alignments, and odd values."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.compare import arithmetic
from git_lepton.compare.arithmetic import Block
from git_lepton.native.merging import KINDS, STREAMS, Chance, Choice, Election, MergeKernels
from git_lepton.values import DTYPES

CODES = {dtype: np.dtype(f"<u{DTYPES[dtype].bits // 8}") for dtype in KINDS}
NUMPY: dict[str, Any] = {"BF16": ml_dtypes.bfloat16, "F16": "<f2", "F32": "<f4", "F64": "<f8"}
SPECIAL = (
    0.0,
    -0.0,
    math.inf,
    -math.inf,
    math.nan,
    5e-324,
    -1e-45,
    1e-40,
    6e-8,
    6e-5,
    65504,
    65520,
    3.3e38,
    3.4e38,
    1e308,
)
FACTORS = st.sampled_from([0.0, 1.0, -1.0, 0.5, 0.3, 1e-9, 10.0])


@pytest.fixture(scope="module")
def kernels(compiled: ctypes.CDLL) -> MergeKernels:
    return MergeKernels(compiled)


def both(kernels: MergeKernels, task: Callable[[], Any]) -> Any:
    """The result, which is that of either."""
    results = []
    for which in (kernels, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(arithmetic, "kernels", lambda which=which: which)
            results.append(task())
    assert bytes(results[0]) == bytes(results[1]) if isinstance(results[0], memoryview) else results[0] == results[1]
    return results[0]


def coded(dtype: str, values: Any) -> np.ndarray:
    with np.errstate(all="ignore"):
        found: np.ndarray = np.asarray(values, np.float64).astype(NUMPY[dtype]).view(CODES[dtype])
    return found


def decoded(dtype: str, raw: Any) -> np.ndarray:
    found: np.ndarray = np.frombuffer(raw, CODES[dtype]).view(NUMPY[dtype]).astype(np.float64)
    return found


@st.composite
def blocks(draw: st.DrawFn, dtype: str) -> Block:
    """Three sides of any bits, special values, or neighbours of one another."""
    count = draw(st.integers(1, 70))
    width = CODES[dtype].itemsize
    kind = draw(st.sampled_from(["bits", "special", "near"]))
    sides = []
    for _ in range(3):
        if kind == "bits":
            sides.append(np.frombuffer(draw(st.binary(min_size=count * width, max_size=count * width)), CODES[dtype]))
        elif kind == "special":
            sides.append(coded(dtype, draw(st.lists(st.sampled_from(SPECIAL), min_size=count, max_size=count))))
        else:
            steps = draw(st.lists(st.integers(-4, 4), min_size=count, max_size=count))
            sides.append(coded(dtype, 1 + np.array(steps) * 2.0**-7))
    return Block(0, *sides)


@pytest.mark.parametrize("dtype", KINDS)
@given(data=st.data(), ours=FACTORS, theirs=FACTORS, scale=FACTORS)
@settings(deadline=None, max_examples=40)
def test_sums(kernels: MergeKernels, dtype: str, data: st.DataObject, ours: float, theirs: float, scale: float) -> None:
    block = data.draw(blocks(dtype))
    both(kernels, lambda: arithmetic.weighted(dtype, block, ours, theirs))
    both(kernels, lambda: arithmetic.added(dtype, block, (ours, theirs), scale))


@pytest.mark.parametrize("dtype", KINDS)
@given(data=st.data(), factors=st.tuples(FACTORS, FACTORS, FACTORS), means=st.tuples(FACTORS, FACTORS, FACTORS))
@settings(deadline=None, max_examples=40)
def test_elections(
    kernels: MergeKernels,
    dtype: str,
    data: st.DataObject,
    factors: tuple[float, float, float],
    means: tuple[float, float, float],
) -> None:
    block = data.draw(blocks(dtype))
    sizes = sorted({0, *(int(bits) for part in arithmetic.magnitudes(dtype, block) for side in part for bits in side)})
    ours, theirs = (Choice(f, data.draw(st.sampled_from(sizes)), data.draw(st.integers(0, 3))) for f in factors[:2])
    both(kernels, lambda: arithmetic.elected(dtype, block, Election(ours, theirs, means, factors[2])))
    whole = Choice(factors[0]), Choice(factors[1])
    both(kernels, lambda: arithmetic.elected(dtype, block, Election(*whole, means, factors[2])))
    state = np.random.default_rng(data.draw(st.integers(0, 99))).bytes(32 * STREAMS)
    chance = Chance(state, data.draw(st.sampled_from([0, 1 << 31, 1 << 32])), 1.5)
    both(kernels, lambda: arithmetic.elected(dtype, block, Election(*whole, means, factors[2], chance)))


@pytest.mark.parametrize("dtype", KINDS)
@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_windows(kernels: MergeKernels, dtype: str, data: st.DataObject) -> None:
    block = data.draw(blocks(dtype))
    sizes = [int(bits) for part in arithmetic.magnitudes(dtype, block) for side in part for bits in side]
    least, most = sorted(data.draw(st.tuples(st.sampled_from(sizes), st.sampled_from(sizes))))

    def found() -> list[tuple[int, list[int]]]:
        windows = [(least, most), (0, most)]
        return [(above, bits.tolist()) for above, bits in arithmetic.window(dtype, block, windows)]

    (_, inside), _ = both(kernels, found)
    assert all(least <= bits <= most for bits in inside)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("count", [1, 15, 16, 511, 513, 40_000, 65_536 + 7])
def test_lengths_and_alignments(kernels: MergeKernels, dtype: str, count: int) -> None:
    chance = np.random.default_rng(count)
    base = chance.standard_normal(count)
    memory = [np.empty((count + 1) * CODES[dtype].itemsize, np.uint8) for _ in range(3)]
    sides = []
    for data in memory:
        view = data[1 : 1 + count * CODES[dtype].itemsize].view(CODES[dtype])
        view[:] = coded(dtype, base + 0.01 * chance.standard_normal(count))
        sides.append(view)
    block = Block(0, *sides)
    both(kernels, lambda: arithmetic.weighted(dtype, block, 0.3, 0.7))
    both(kernels, lambda: arithmetic.added(dtype, block, (0.3, 0.7), 1.1))
    both(kernels, lambda: arithmetic.products(dtype, block))
    sizes = np.concatenate([part[0] for part in arithmetic.magnitudes(dtype, block)] or [np.empty(0, "<i8")])
    least = int(np.sort(sizes)[count // 2])
    trimmed = Election(Choice(1.0, least, 3), Choice(1.0, least, count // 3), (1.0, 1.0, 0.5), 1.0)
    both(kernels, lambda: arithmetic.elected(dtype, block, trimmed))
    dropped = Election(
        Choice(1.0), Choice(1.0), (1.0, 1.0, 1.0), 1.0, Chance(chance.bytes(32 * STREAMS), 3 << 30, 4 / 3)
    )
    both(kernels, lambda: arithmetic.elected(dtype, block, dropped))


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_every_half_is_read_and_written(kernels: MergeKernels, dtype: str) -> None:
    every = np.arange(1 << 16, dtype="<u2")
    found = np.empty_like(every)
    kernels.weighted(dtype, every, np.zeros_like(every), (1.0, 1.0), found)
    expected = decoded(dtype, every.tobytes())
    np.testing.assert_array_equal(decoded(dtype, found.tobytes()), expected)
    lost = np.isnan(expected)
    assert set(found[lost].tolist()) == {0x7FC0 if dtype == "BF16" else 0x7E00}


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_midpoints_and_their_neighbours(kernels: MergeKernels, dtype: str) -> None:
    """A product that no float holds, between two halves: rounding it twice would show."""
    codes = np.arange(1 << 15, dtype="<u2")[: 0x7F80 if dtype == "BF16" else 0x7C00]
    values = decoded(dtype, codes.tobytes())
    zeros = coded(dtype, np.zeros(codes.size))
    for factor in (1 + 2.0**-9, 1 + 2.0**-9 + 2.0**-40, 1 + 2.0**-12, 1 - 2.0**-30, 0.5 + 2.0**-45, 3.0):
        exact = values * factor

        def found(factor: float = factor) -> memoryview:
            return arithmetic.weighted(dtype, Block(0, None, codes, zeros), factor, 0.0)

        rounded = decoded(dtype, both(kernels, found))
        ladder = np.append(values, 2 * values[-1] - values[-2])
        at = np.clip(np.searchsorted(ladder, exact), 1, len(ladder) - 1)
        below, above = exact - ladder[at - 1], ladder[at] - exact
        up = (above < below) | ((above == below) & (at % 2 == 0))
        nearest = ladder[np.where(exact >= ladder[-1], len(ladder) - 1, np.where(up, at, at - 1))]
        nearest[nearest == ladder[-1]] = np.inf
        np.testing.assert_array_equal(rounded, nearest)
