"""Numbers of two tensors against numpy on the whole, for every dtype; and what is read, and what is said."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from git_lepton.codec import CHUNK_ELEMENTS
from git_lepton.compare import tally
from git_lepton.compare.numbers import QUANTIZED, NumberOptions, measure
from git_lepton.compare.sides import FileOnDisk, Side, StoredFile
from git_lepton.compare.values import Moments, Numbers, TensorChange
from git_lepton.errors import CorruptError
from git_lepton.git.repo import discover
from git_lepton.progress import Silent
from git_lepton.store.source import BytesSource
from git_lepton.store.store import Store
from git_lepton.values import DTYPES
from tests.compare.memory import PLAIN, MemoryFile, compared, numbers, one, ref
from tests.support import git

KINDS: dict[str, Any] = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "U32": np.uint32,
    "I32": np.int32,
    "U64": np.uint64,
    "I64": np.int64,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
    "C64": np.complex64,
    "C128": np.complex128,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "F6_E2M3": ml_dtypes.float6_e2m3fn,
    "F6_E3M2": ml_dtypes.float6_e3m2fn,
    "F4": ml_dtypes.float4_e2m1fn,
    "I4": ml_dtypes.int4,
    "U4": ml_dtypes.uint4,
    "I2": ml_dtypes.int2,
    "U2": ml_dtypes.uint2,
}


def packed(dtype: str, codes: NDArray[np.uint8]) -> bytes:
    """Elements of less than a byte, one in each byte, as they lie in a file: the first in the lowest bits."""
    bits = np.unpackbits(codes[:, None], axis=1, bitorder="little")[:, : DTYPES[dtype].bits]
    return np.packbits(bits.reshape(-1), bitorder="little").tobytes()


@dataclass(frozen=True)
class Made:
    """A tensor: its bytes, its bit patterns, and what numpy reads."""

    raw: bytes
    codes: NDArray[Any]
    values: NDArray[Any]


def made(dtype: str, codes: NDArray[Any]) -> Made:
    codes = codes.reshape(-1)
    values = codes.view(KINDS[dtype])
    with np.errstate(invalid="ignore"):  # signalling NaNs
        values = values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)
    raw = packed(dtype, codes) if DTYPES[dtype].bits < 8 else codes.tobytes()
    return Made(raw, codes.reshape(len(values), -1), values)


def random(dtype: str, count: int, seed: int, *, wild: bool = False) -> Made:
    """Values near one another; `wild`: every bit pattern may occur, NaN and infinities too."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(KINDS[dtype])
    bits = DTYPES[dtype].bits
    if dtype == "BOOL":
        return made(dtype, rng.integers(0, 2, count, np.uint8))
    if wild or bits <= 8:
        codes = np.frombuffer(rng.bytes(count * kind.itemsize), np.uint8)
        return made(dtype, codes & ((1 << bits) - 1) if bits < 8 else codes)
    normal = rng.standard_normal(count)
    if dtype.startswith("C"):
        values = (normal + 1j * rng.standard_normal(count)).astype(kind)
    else:
        values = (normal * 0.02 if DTYPES[dtype].kind == "float" else normal * 50 + 200).astype(kind)
    return made(dtype, values.view(np.uint8))


def expected(before: Made, after: Made, *, bits: bool = True) -> Numbers:
    """What numpy says of the whole."""
    with np.errstate(all="ignore"):
        a, b = before.values, after.values
        both = np.isfinite(a) & np.isfinite(b)
        differs = (before.codes != after.codes).any(axis=1) if bits else (a != b) & ~(np.isnan(a) & np.isnan(b))
        x, y = a[both], b[both]
        l2, norm = np.linalg.norm(y - x), np.linalg.norm(x)
        norms = norm * np.linalg.norm(y)
        return Numbers(
            elements=len(a),
            compared=len(a),
            sampled=False,
            changed=int(differs.sum()),
            l2=float(l2),
            relative_l2=float(l2 / norm) if norm else math.inf,
            cosine=float(np.vdot(x, y).real / norms) if norms else math.nan,
            max_abs=float(abs(y - x).max(initial=0.0)),
            before=moments(a),
            after=moments(b),
        )


def moments(values: NDArray[Any]) -> Moments:
    values = abs(values) if values.dtype.kind == "c" else values
    finite = values[np.isfinite(values)]
    mean, deviation = (float(finite.mean()), float(finite.std())) if finite.size else (math.nan, math.nan)
    zeros = int((finite == 0).sum())
    return Moments(mean, deviation, zeros, int(np.isnan(values).sum()), int(np.isinf(values).sum()))


def figures(found: Numbers) -> tuple[float, ...]:
    sides = [(m.mean, m.deviation) for m in (found.before, found.after)]
    return (found.l2, found.relative_l2, found.cosine, found.max_abs, *sides[0], *sides[1])


def counts(found: Numbers) -> tuple[int, ...]:
    sides = [(m.zeros, m.nans, m.infinities) for m in (found.before, found.after)]
    return (found.elements, found.compared, found.changed, *sides[0], *sides[1])


def agree(found: Numbers | None, wanted: Numbers) -> None:
    assert found is not None
    assert counts(found) == counts(wanted)
    assert figures(found) == pytest.approx(figures(wanted), rel=1e-6, abs=1e-300, nan_ok=True)


def test_every_dtype_is_tested() -> None:
    assert KINDS.keys() == DTYPES.keys()


@pytest.mark.parametrize("dtype", KINDS)
def test_numbers_are_those_of_numpy(dtype: str) -> None:
    count = tally.BLOCK + 4_004  # two blocks, and no partial byte
    before, after = random(dtype, count, 1), random(dtype, count, 2)
    found, note = numbers(one(dtype, before.raw), one(dtype, after.raw))
    agree(found, expected(before, after))
    assert note == ""


@pytest.mark.parametrize("dtype", [d for d, known in DTYPES.items() if known.bits >= 8 and d != "BOOL"])
def test_every_bit_pattern_is_understood(dtype: str) -> None:
    before, after = random(dtype, 4_096, 3, wild=True), random(dtype, 4_096, 4, wild=True)
    found, _ = numbers(one(dtype, before.raw), one(dtype, after.raw))
    if dtype in {"F64", "C128", "I64", "U64"}:  # squares overflow, and differences round: in numpy too
        assert found is not None
        assert counts(found) == counts(expected(before, after))
    else:
        agree(found, expected(before, after))


@pytest.mark.parametrize("dtype", ["F6_E2M3", "F6_E3M2", "F4", "I4", "U4", "I2", "U2"])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 1_001])
def test_the_last_byte_may_be_a_part(dtype: str, count: int) -> None:
    before, after = random(dtype, count, 5), random(dtype, count, 6)
    if before.raw == after.raw:
        return
    found, _ = numbers(one(dtype, before.raw, (count,)), one(dtype, after.raw, (count,)))
    agree(found, expected(before, after))


@pytest.mark.parametrize(("dtype", "big"), [("I64", -(1 << 62)), ("U64", (1 << 64) - 8)])
def test_differences_of_large_integers_are_exact(dtype: str, big: int) -> None:
    before = np.full(8, big, KINDS[dtype])
    after = before + np.arange(8, dtype=KINDS[dtype])
    found, _ = numbers(one(dtype, before.tobytes()), one(dtype, after.tobytes()))
    assert found is not None
    assert (found.max_abs, found.changed) == (7.0, 7)
    assert found.l2 == pytest.approx(math.sqrt(140))


def test_a_small_deviation_far_from_zero_is_not_cancelled() -> None:
    values = 1e6 + np.random.default_rng(0).standard_normal(300_000) * 1e-3
    before, after = made("F64", values.view(np.uint8)), made("F64", (values + 1e-3).view(np.uint8))
    found, _ = numbers(one("F64", before.raw), one("F64", after.raw))
    agree(found, expected(before, after))


def test_nothing_finite() -> None:
    nothing, zeros = made("F32", np.full(4, np.nan, "f4").view(np.uint8)), made("F32", np.zeros(16, np.uint8))
    found, _ = numbers(one("F32", nothing.raw), one("F32", zeros.raw))
    assert found is not None
    assert (found.changed, found.l2, found.relative_l2, found.before.nans, found.after.zeros) == (4, 0.0, 0.0, 4, 4)
    assert math.isnan(found.cosine)
    assert math.isnan(found.before.mean)


def test_all_that_was_zero() -> None:
    found, _ = numbers(one("F32", bytes(16)), one("F32", np.ones(4, "f4").tobytes()))
    assert found is not None
    assert (found.l2, found.relative_l2, found.before.zeros) == (2.0, math.inf, 4)
    assert math.isnan(found.cosine)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["F32", "BF16", "F8_E5M2", "F6_E3M2", "I4", "I2", "C64", "I16"]),
    st.integers(1, 400),
    st.integers(1, 97),
    st.integers(1, 97),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_cuts_do_not_matter(dtype: str, count: int, cut: int, other: int, hashed: bool, rng: Any) -> None:
    """Wherever the chunks end, and whether or not their hashes are known."""
    before = random(dtype, count, rng.randrange(1 << 30))
    codes = before.codes.copy()
    for _ in range(3):
        codes[rng.randrange(count)] ^= 1
    after = made(dtype, codes.reshape(-1))
    files = [one(dtype, m.raw, (count,), cut=c, hashed=hashed) for m, c in ((before, cut), (after, other))]
    found, _ = numbers(files[0], files[1])
    wanted = expected(before, after)
    assert found is not None
    assert (found.changed, found.elements) == (wanted.changed, wanted.elements)
    assert (found.l2, found.max_abs) == pytest.approx((wanted.l2, wanted.max_abs), nan_ok=True)
    assert found.compared <= count


def test_equal_chunks_are_not_read() -> None:
    raw = bytearray(np.arange(5 * CHUNK_ELEMENTS, dtype="<u2").tobytes())
    before = one("U16", bytes(raw))
    raw[2 * 3 * CHUNK_ELEMENTS] ^= 1
    after = one("U16", bytes(raw))
    found, _ = numbers(before, after)
    assert before.reads == after.reads == [("t", 3)]
    assert found is not None
    assert (found.elements, found.compared, found.changed) == (5 * CHUNK_ELEMENTS, CHUNK_ELEMENTS, 1)
    assert found.share == 1 / (5 * CHUNK_ELEMENTS)
    assert found.l2 == 1.0


def test_a_grown_vocabulary_is_compared_over_its_common_rows() -> None:
    rows = np.random.default_rng(0).standard_normal((900, 700)).astype("f4")
    grown = np.concatenate([rows, rows[:64]])
    before, after = one("F32", rows.tobytes(), rows.shape), one("F32", grown.tobytes(), grown.shape)
    found, note = numbers(before, after)
    assert note == "rows 0-899 of 964"
    assert found is not None
    assert (found.elements, found.compared, found.changed, found.l2) == (630_000, 0, 0, 0.0)
    assert {number for _, number in before.reads} == {1}, "the first chunk has the same hash"
    grown[899, 3] += 1
    found, _ = numbers(before, one("F32", grown.tobytes(), grown.shape))
    assert found is not None
    assert found.changed == 1
    assert found.max_abs == pytest.approx(1.0, rel=1e-6)


def test_shapes_that_do_not_correspond() -> None:
    raw = np.arange(24, dtype="f4").tobytes()
    turned, note = numbers(one("F32", raw, (4, 6)), one("F32", raw[::-1], (6, 4)))
    assert turned is not None
    assert note == "in file order: the shapes differ"
    assert numbers(one("F32", raw, (4, 6)), one("F32", raw[:80], (4, 5))) == (
        None,
        "shapes [4,6] and [4,5] do not correspond",
    )
    assert numbers(one("F32", b"", (0, 6)), one("F32", raw, (4, 6)))[0] is None


@pytest.mark.parametrize("dtypes", [("F32", "F32"), ("F16", "F32"), ("I4", "F32")])
def test_a_shape_that_asks_for_more_than_there_is(dtypes: tuple[str, str]) -> None:
    """A manifest may say what it likes; nothing beyond the bytes is read."""
    whole, short = (
        MemoryFile({"t": (dtype, (99,), bytes([n]) * size)})
        for n, (dtype, size) in enumerate(zip(dtypes, (99 * 4, 98 * 4), strict=True))
    )
    for sides in ((whole, short), (short, whole)):
        with pytest.raises(CorruptError, match="has 392 bytes, and its shape asks for 396"):
            numbers(*sides)


def test_blocks_of_gguf_have_no_numbers() -> None:
    before, after = one("Q4_K", bytes(144), (256,)), one("Q4_K", bytes(143) + b"1", (256,))
    assert numbers(before, after) == (None, "elements of Q4_K cannot be told apart")
    assert before.reads == []


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F8_E4M3", "F8_E5M2", "F6_E2M3", "F64"])
def test_a_cast_has_the_error_of_its_values(dtype: str) -> None:
    count = 2 * CHUNK_ELEMENTS + 1_000
    values = np.random.default_rng(0).standard_normal(count).astype("f4")
    before = made("F32", values.view(np.uint8))
    after = made(dtype, values.astype(KINDS[dtype]).view(np.uint8))
    found, note = numbers(one("F32", before.raw), one(dtype, after.raw))
    agree(found, expected(before, after, bits=False))
    assert note == ""


def test_a_cast_to_integers_has_numbers_and_a_quantization_has_none() -> None:
    values = np.random.default_rng(0).standard_normal(1_000).astype("f4") * 20
    cast, scaled = values.astype("i1"), np.round(values / abs(values).max() * 10).astype("i1")
    before = one("F32", values.tobytes())
    found, _ = numbers(before, one("I8", cast.tobytes()))
    assert found is not None
    assert 0.5 < found.max_abs < 1
    assert numbers(before, one("I8", scaled.tobytes())) == (None, QUANTIZED)


def test_a_sample_is_evenly_spaced_and_says_so() -> None:
    count = 10 * CHUNK_ELEMENTS
    before, after = one("U8", bytes(count)), one("U8", b"\1" * count)
    found, _ = numbers(before, after, NumberOptions(sample=3 * CHUNK_ELEMENTS))
    assert found is not None
    assert (found.sampled, found.compared, found.share) == (True, 3 * CHUNK_ELEMENTS, 1.0)
    assert sorted(after.reads) == [("t", 1), ("t", 5), ("t", 8)]
    whole, _ = numbers(before, after, NumberOptions(sample=count))
    assert whole is not None
    assert not whole.sampled
    least, _ = numbers(before, after, NumberOptions(sample=1))
    assert least is not None
    assert least.compared == CHUNK_ELEMENTS


def test_a_sample_speaks_for_the_chunks_that_differ_and_no_others() -> None:
    count = 8 * CHUNK_ELEMENTS
    old = np.random.default_rng(1).standard_normal(count).astype(np.float16)
    new = old.copy()
    new[: count // 2] += np.float16(0.5)
    before, after = (one("F16", values.tobytes()) for values in (old, new))
    found, _ = numbers(before, after, NumberOptions(sample=2 * CHUNK_ELEMENTS))
    whole, _ = numbers(before, after)
    assert found is not None
    assert whole is not None
    assert (found.sampled, found.compared, found.differing) == (True, CHUNK_ELEMENTS, 4 * CHUNK_ELEMENTS)
    assert (whole.sampled, whole.compared, whole.differing) == (False, 4 * CHUNK_ELEMENTS, None)
    assert found.share == pytest.approx(whole.share, rel=1e-3)
    assert found.l2 == pytest.approx(whole.l2, rel=1e-2)
    assert found.relative_l2 == pytest.approx(whole.relative_l2, rel=1e-2)


def test_a_histogram_is_that_of_numpy() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal(700_000).astype("f4")
    b = a + rng.standard_normal(700_000).astype("f4")
    b[5] = np.nan
    found, _ = numbers(one("F32", a.tobytes()), one("F32", b.tobytes()), NumberOptions(histogram=31))
    assert found is not None
    difference = np.delete(b.astype("f8") - a, 5)
    assert found.histogram == tuple(np.histogram(difference, 31, (-found.max_abs, found.max_abs))[0].tolist())


def test_measure_fills_in_what_can_be_measured_and_keeps_the_order() -> None:
    small, large = np.arange(10, dtype="f4"), np.arange(700_000, dtype="f4")
    before = MemoryFile(
        {
            "small": ("F32", (10,), small.tobytes()),
            "same": ("F32", (10,), small.tobytes()),
            "old": ("F32", (10,), small.tobytes()),
            "large": ("F32", (700_000,), large.tobytes()),
            "opaque": ("Q8_0", (32,), bytes(34)),
        }
    )
    after = MemoryFile(
        {
            "small": ("F32", (10,), (small + 1).tobytes()),
            "new": ("F32", (10,), small.tobytes()),
            "large": ("F32", (700_000,), (large * 3).tobytes()),
            "opaque": ("Q8_0", (32,), b"1" * 34),
        }
    )
    changes = (
        TensorChange("changed", ref(before, "small"), ref(after, "small")),
        TensorChange("removed", ref(before, "same"), None),
        TensorChange("renamed", ref(before, "old"), ref(after, "new"), note="as it was"),
        TensorChange("changed", ref(before, "large"), ref(after, "large")),
        TensorChange("changed", ref(before, "opaque"), ref(after, "opaque")),
    )
    comparison = compared(*changes)
    sides = Side("a", {before.path: before}), Side("b", {after.path: after})
    found = measure(comparison, *sides, NumberOptions(histogram=8, top=1), Silent())
    assert (found.numbers, found.sampled) == (True, False)
    tensors = found.files[0].tensors
    assert [t.name for t in tensors] == ["small", "same", "new", "large", "opaque"]
    assert [t.numbers is not None for t in tensors] == [True, False, False, True, False]
    assert tensors[2] == changes[2]
    assert tensors[4].note == "elements of Q8_0 cannot be told apart"
    assert tensors[0].numbers is not None
    assert tensors[3].numbers is not None
    assert tensors[0].numbers.l2 == pytest.approx(math.sqrt(10))
    assert tensors[3].numbers.relative_l2 == pytest.approx(2.0)
    assert (len(tensors[0].numbers.histogram), sum(tensors[3].numbers.histogram)) == (0, 700_000)
    assert measure(comparison, *sides, PLAIN, Silent()) == measure(comparison, *sides, PLAIN, Silent())
    assert measure(comparison, *sides, NumberOptions(sample=1 << 20), Silent()).sampled


def safetensors(values: NDArray[Any]) -> bytes:
    from safetensors.numpy import save

    return save({"t": values})


def test_from_disk_and_from_the_store(tmp_path: Path) -> None:
    """Real files, one of them stored as a delta of the other."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((1_100, 1_024)).astype("f4")
    b = a.copy()
    b[600:] += (rng.standard_normal((500, 1_024)) * 1e-3).astype("f4")
    git(tmp_path, "init", "-q", "-b", "main", "r")
    store = Store(discover(tmp_path / "r"))
    stored, disk = [], []
    for name, values in (("a", a), ("b", b)):
        data = safetensors(values)
        (tmp_path / name).write_bytes(data)
        disk.append(FileOnDisk(tmp_path / name))
        stored.append(StoredFile(store, store.add(BytesSource(data), f"{name}.safetensors"), name))
    wanted = expected(made("F32", a[512:].view(np.uint8)), made("F32", b[512:].view(np.uint8)))
    for before, after in (disk, stored, (disk[0], stored[1])):
        found, _ = numbers(before, after)
        assert found is not None
        assert (found.compared, found.changed) == (588 * 1_024, wanted.changed)
        assert figures(found) == pytest.approx(figures(wanted), rel=1e-6)


def test_numpy_is_not_loaded_when_all_is_equal() -> None:
    import subprocess
    import sys

    code = "import sys, git_lepton.compare.numbers; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "False"
