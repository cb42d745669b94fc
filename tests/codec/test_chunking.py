"""Cuts: whole, positive, aligned across dtypes, stable under insertion."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.codec import CHUNK_BYTES, CHUNK_ELEMENTS, chunk_lengths, content_cuts
from git_lepton.codec.chunking import CONTENT_MAX, CONTENT_MIN
from git_lepton.values import DTYPES

MIB = 1 << 20


@pytest.mark.parametrize(
    ("dtype", "step"),
    [
        ("F8_E4M3", MIB // 2),
        ("BOOL", MIB // 2),
        ("BF16", MIB),
        ("F16", MIB),
        ("F32", 2 * MIB),
        ("F64", 4 * MIB),
        ("C64", MIB),
        ("F4", MIB),
        ("Q4_0", MIB),
    ],
)
def test_step(dtype: str, step: int) -> None:
    assert chunk_lengths(dtype, 0) == ()
    assert chunk_lengths(dtype, 1) == (1,)
    assert chunk_lengths(dtype, step) == (step,)
    assert chunk_lengths(dtype, 2 * step + 5) == (step, step, 5)


def test_constants_are_frozen() -> None:
    assert (CHUNK_ELEMENTS, CHUNK_BYTES) == (524_288, 1_048_576)


def test_chunk_i_covers_the_same_elements_in_every_dtype() -> None:
    count = 3 * CHUNK_ELEMENTS + 17
    cuts = {
        tuple(length * 8 // d.bits for length in chunk_lengths(d.name, count * d.bits // 8))
        for d in DTYPES.values()
        if d.kind != "opaque"
    }
    assert cuts == {(CHUNK_ELEMENTS, CHUNK_ELEMENTS, CHUNK_ELEMENTS, 17)}


@given(st.integers(0, 40 * MIB), st.sampled_from([*DTYPES, "Q8_0"]))
@settings(deadline=None, max_examples=50)
def test_lengths_add_up(length: int, dtype: str) -> None:
    lengths = chunk_lengths(dtype, length)
    assert sum(lengths) == length
    assert all(lengths)
    assert len(set(lengths[:-1])) <= 1


GOLDEN_CUTS = (848218, 2257769, 1182347, 1903461, 1082757, 1576399, 586233)
NOISE = random.Random(7).randbytes(9 * MIB)


def test_content_cuts_add_up_and_keep_their_bounds() -> None:
    cuts = content_cuts(memoryview(NOISE))
    assert sum(cuts) == len(NOISE)
    assert len(cuts) > 3
    assert all(CONTENT_MIN <= cut <= CONTENT_MAX for cut in cuts[:-1])


def test_content_cuts_are_frozen() -> None:
    assert content_cuts(memoryview(NOISE)) == GOLDEN_CUTS


def test_an_insertion_moves_few_cuts() -> None:
    def pieces(data: bytes) -> set[bytes]:
        view, at, found = memoryview(data), 0, set()
        for cut in content_cuts(view):
            found.add(bytes(view[at : at + cut]))
            at += cut
        return found

    before, after = pieces(NOISE), pieces(NOISE[: 4 * MIB] + b"inserted" + NOISE[4 * MIB :])
    assert len(after - before) <= 2


@pytest.mark.parametrize("size", [0, 1, CONTENT_MIN, CONTENT_MIN + 1])
def test_small_data_are_one_chunk(size: int) -> None:
    assert content_cuts(memoryview(bytes(size))) == ((size,) if size else ())


@given(st.lists(st.integers(-5, 3 * MIB), max_size=6))
@settings(deadline=None, max_examples=30)
def test_forced_cuts_are_honoured(forced: list[int]) -> None:
    data = memoryview(NOISE)[: 2 * MIB]
    cuts = content_cuts(data, forced)
    ends = {sum(cuts[: k + 1]) for k in range(len(cuts))}
    assert all(cuts)
    assert sum(cuts) == len(data)
    assert {cut for cut in forced if 0 < cut < len(data)} <= ends


def test_cutting_starts_afresh_at_a_forced_cut() -> None:
    part = NOISE[: 4 * MIB]
    alone = content_cuts(memoryview(part))
    assert content_cuts(memoryview(b"head" + part), [4]) == (4, *alone)
