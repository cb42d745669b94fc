"""Frames there and back for every dtype and any bits, what they cost, and what a hostile frame can do: be refused."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from git_lepton.codec import (
    DELTA,
    MAX_RAW,
    OPAQUE,
    PLANES,
    STORED,
    ZSTD,
    Base,
    Frame,
    decode,
    delta_limit,
    encode,
    read_header,
)
from git_lepton.codec.frame import build_header
from git_lepton.codec.payload import PackedPlane, build_table
from git_lepton.errors import CorruptError, FrameError
from git_lepton.values import DTYPES, Hash

COUNT = 200_000
NUMPY = {"F32": np.float32, "F16": np.float16, "F64": np.float64, "BF16": ml_dtypes.bfloat16}
WEIGHTS: NDArray[np.float64] = np.random.default_rng(5).standard_normal(COUNT) * 0.02
TUNED: NDArray[np.float64] = WEIGHTS + np.random.default_rng(6).standard_normal(COUNT) * 2e-5


def cast(values: NDArray[np.float64], dtype: str) -> bytes:
    return values.astype(np.float32).astype(NUMPY[dtype]).tobytes()


def base_of(raw: bytes, dtype: str) -> Base:
    return Base(Hash(blake3(raw).hexdigest()), dtype, raw)


def join(frame: Frame) -> bytes:
    data = b"".join(frame.parts)
    assert len(data) == frame.length
    return data


def round_trip(raw: bytes, dtype: str, base: Base | None = None) -> Frame:
    """Encode, check every way to decode, and return the frame."""
    frame = encode(raw, dtype, base=base)
    data = join(frame)

    def find(wanted: Hash) -> bytes:
        assert base is not None
        assert wanted == base.hash
        return bytes(base.raw)

    header = read_header(data)
    assert header.codec == frame.codec
    assert header.raw_hash == frame.raw_hash == blake3(raw).hexdigest()
    assert header.raw_length == frame.raw_length == len(raw)
    assert header.dtype == (dtype if dtype in DTYPES else OPAQUE)
    assert header.base_hash == (base.hash if base and frame.codec == DELTA else None)
    assert decode(data, find) == raw
    room = bytearray(len(raw) + 2)
    out = memoryview(room)[1:-1]
    assert decode(memoryview(data), find, out=out, check=False) is out
    assert room == b"\0" + raw + b"\0"
    return frame


@pytest.mark.parametrize(
    ("dtype", "codec", "share"),
    [("BF16", PLANES, 0.67), ("F16", PLANES, 0.85), ("F32", PLANES, 0.835), ("F64", PLANES, 0.45)],
)
def test_gaussian_floats(dtype: str, codec: int, share: float) -> None:
    raw = cast(WEIGHTS, dtype)
    frame = round_trip(raw, dtype)
    assert frame.codec == codec
    assert frame.length <= share * len(raw)


def test_floats_that_were_narrower_once() -> None:
    narrow = cast(WEIGHTS, "BF16")
    wide = WEIGHTS.astype(ml_dtypes.bfloat16).astype(np.float32).tobytes()
    assert round_trip(wide, "F32").length <= encode(narrow, "BF16").length + 100


def test_floats_with_zeros() -> None:
    pruned = np.where(np.random.default_rng(8).random(COUNT) < 0.7, 0.0, WEIGHTS)
    frame = round_trip(cast(pruned, "F32"), "F32")
    assert frame.length <= 0.37 * frame.raw_length
    assert round_trip(bytes(4 * COUNT), "F32").length < 100


@pytest.mark.parametrize(("dtype", "share"), [("F32", 0.56), ("BF16", 0.16), ("F16", 0.3), ("F64", 0.3)])
def test_fine_tuned_floats(dtype: str, share: float) -> None:
    raw, base = cast(TUNED, dtype), base_of(cast(WEIGHTS, dtype), dtype)
    assert delta_limit(raw, dtype, base) is not None
    frame = round_trip(raw, dtype, base)
    assert frame.codec == DELTA
    assert frame.length <= share * len(raw)


@pytest.mark.parametrize(
    ("dtype", "base_dtype", "share"),
    [("BF16", "F32", 0.001), ("F16", "F32", 0.001), ("F32", "BF16", 0.52), ("F32", "F16", 0.42), ("F32", "F64", 0.001)],
)
def test_casts(dtype: str, base_dtype: str, share: float) -> None:
    raw = cast(WEIGHTS, dtype)
    frame = round_trip(raw, dtype, base_of(cast(WEIGHTS, base_dtype), base_dtype))
    assert frame.codec == DELTA
    assert frame.length <= share * len(raw)


@pytest.mark.parametrize("dtype", ["I8", "I32", "I64", "U8", "F8_E4M3"])
def test_changed_integers(dtype: str) -> None:
    width = DTYPES[dtype].bits // 8
    old = np.frombuffer(np.random.default_rng(9).bytes(COUNT * width), f"<u{width}").copy()
    base = base_of(old.tobytes(), dtype)
    old[::50] += 1
    frame = round_trip(old.tobytes(), dtype, base)
    assert frame.codec == DELTA
    assert frame.length <= 0.05 * frame.raw_length


def test_a_base_that_does_not_help_is_left_out() -> None:
    raw, other = cast(WEIGHTS, "F32"), base_of(cast(WEIGHTS[::-1].copy(), "F32"), "F32")
    assert delta_limit(raw, "F32", other) is None
    assert round_trip(raw, "F32", other).codec == PLANES
    assert round_trip(raw, "I32", other).codec != DELTA
    assert round_trip(raw, "Q4_0", other).codec != DELTA
    assert round_trip(raw, "F32", base_of(b"", "F32")).codec == PLANES


def test_a_base_that_helps_only_where_it_is_sampled_is_left_out() -> None:
    raw = np.frombuffer(cast(WEIGHTS, "F32"), "<u4").copy()
    base = np.frombuffer(cast(WEIGHTS[::-1].copy(), "F32"), "<u4").copy()
    stride = (COUNT - 4096) // 3
    for start in range(0, COUNT, stride):
        base[start : start + 4096] = raw[start : start + 4096]
    assert delta_limit(raw.tobytes(), "F32", base_of(base.tobytes(), "F32")) is not None
    assert round_trip(raw.tobytes(), "F32", base_of(base.tobytes(), "F32")).codec == PLANES


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.5])
def test_bases_of_another_length(factor: float) -> None:
    raw = cast(TUNED, "F32")
    values = np.resize(WEIGHTS, int(COUNT * factor))
    assert round_trip(raw, "F32", base_of(cast(values, "F32") + b"odd", "F32")).codec == DELTA
    assert round_trip(cast(TUNED, "BF16"), "BF16", base_of(cast(values, "F32"), "F32")).codec == DELTA


def test_text_is_matched_and_noise_stored() -> None:
    text = b'"weight.%d":{"dtype":"F32","shape":[384,384]},' * 2000
    assert round_trip(text, OPAQUE).length < 300
    assert round_trip(text, "Q4_0").codec == ZSTD
    noise = random.Random(1).randbytes(100_000)
    for dtype in ("Q4_0", "U8", "BF16", "F32"):
        frame = round_trip(noise, dtype)
        assert (frame.codec, frame.length) == (STORED, 44 + len(noise))


def test_a_stored_chunk_is_not_copied() -> None:
    noise = random.Random(1).randbytes(1000)
    part = encode(noise, "U8").parts[-1]
    assert isinstance(part, memoryview)
    assert part.obj is noise


@pytest.mark.parametrize("dtype", [*DTYPES, "Q4_0"])
@pytest.mark.parametrize("length", [0, 1, 2, 7, 8, 24])
def test_tiny_and_ragged_chunks(dtype: str, length: int) -> None:
    raw = bytes(range(length))
    round_trip(raw, dtype)
    round_trip(raw, dtype, base_of(raw, dtype))
    round_trip(bytes(length), dtype, base_of(raw[:-1], dtype))


SPECIAL = {
    "F32": [0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7F800001, 0xFFFFFFFF, 0x7FC00000, 1, 0x80000001],
    "BF16": [0x0000, 0x8000, 0x7F80, 0xFF80, 0x7F81, 0xFFFF, 0x7FC0, 1, 0x8001],
    "F16": [0x0000, 0x8000, 0x7C00, 0xFC00, 0x7C01, 0xFFFF, 0x7E00, 1, 0x8001],
    "F64": [0, 1 << 63, 0x7FF << 52, 0xFFF << 52, (0x7FF << 52) + 1, (1 << 64) - 1, 1, (1 << 63) + 1, 5],
}


@pytest.mark.parametrize("base_dtype", SPECIAL)
@pytest.mark.parametrize("dtype", SPECIAL)
def test_special_values_return_exactly(dtype: str, base_dtype: str) -> None:
    rng = np.random.default_rng(4)
    width, base_width = DTYPES[dtype].bits // 8, DTYPES[base_dtype].bits // 8
    raw = rng.choice(np.array(SPECIAL[dtype], f"<u{width}"), 3000).tobytes()
    base = rng.choice(np.array(SPECIAL[base_dtype], f"<u{base_width}"), 2900).tobytes()
    round_trip(raw, dtype)
    round_trip(raw, dtype, base_of(base, base_dtype))


@given(st.binary(max_size=600), st.binary(max_size=600), st.sampled_from([*DTYPES]), st.sampled_from([*DTYPES]))
@settings(deadline=None, max_examples=50)
def test_any_bytes_return(raw: bytes, other: bytes, dtype: str, base_dtype: str) -> None:
    round_trip(raw, dtype)
    round_trip(raw, dtype, base_of(other, base_dtype))
    round_trip(raw, dtype, base_of(raw[: len(raw) // 2] + other, dtype))


def sample_frames() -> list[bytes]:
    short, tuned = cast(WEIGHTS[:3000], "BF16"), cast(TUNED[:3000], "BF16")
    wide = base_of(cast(WEIGHTS[:3000], "F32"), "F32")
    frames = [
        encode(b"noise!", "U8"),
        encode(b"text " * 100, OPAQUE),
        encode(short, "BF16"),
        encode(bytes(400), "F32"),
        encode(tuned, "BF16", base=base_of(short, "BF16")),
        encode(tuned, "BF16", base=wide),
    ]
    assert [frame.codec for frame in frames] == [STORED, ZSTD, PLANES, PLANES, DELTA, DELTA]
    return [join(frame) for frame in frames]


FRAMES = sample_frames()


@given(st.sampled_from(FRAMES), st.data(), st.booleans())
@settings(deadline=None, max_examples=200)
def test_a_damaged_frame_is_refused_or_right(frame: bytes, data: st.DataObject, check: bool) -> None:
    damaged = bytearray(frame)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1) | st.integers(0, min(110, len(damaged) - 1)))
        match data.draw(st.sampled_from(["set", "cut", "insert"])):
            case "set":
                damaged[at] = data.draw(st.integers(0, 255))
            case "cut":
                del damaged[at : at + data.draw(st.integers(1, 20))]
            case _:
                damaged[at:at] = data.draw(st.binary(min_size=1, max_size=9))
        if not damaged:
            break
    base = data.draw(st.binary(max_size=50))
    try:
        raw = decode(damaged, lambda _: base, check=check)
    except (FrameError, CorruptError):
        return
    assert len(raw) == read_header(damaged).raw_length
    assert not check or blake3(raw).hexdigest() == read_header(damaged).raw_hash


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=50)
def test_arbitrary_payloads_are_refused(payload: bytes) -> None:
    for codec, dtype, base in ((ZSTD, "U8", None), (PLANES, "BF16", None), (DELTA, "F32", ("BF16", bytes(32)))):
        with pytest.raises((FrameError, CorruptError)):
            decode(build_header(codec, dtype, 64, bytes(32), base) + payload, lambda _: bytes(32))


def planes_frame(dtype: str, raw_length: int, *, base: str | None = None, count: int = 2) -> bytes:
    planes = [PackedPlane(2, b"\1")] * count
    header = build_header(DELTA if base else PLANES, dtype, raw_length, bytes(32), (base, bytes(32)) if base else None)
    return header + build_table(planes) + b"\1" * count


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (build_header(STORED, "U8", 4, bytes(32)) + b"12345", "5 bytes where 4 belong"),
        (build_header(STORED, "U8", 4, bytes(32)) + b"123", "3 bytes where 4 belong"),
        (build_header(ZSTD, "U8", 4, bytes(32)), "zstd"),
        (planes_frame("BF16", 3), "no whole elements"),
        (planes_frame("I16", 4), "not for dtype I16"),
        (planes_frame("C64", 8), "not for dtype C64"),
        (planes_frame("F8_E4M3", 8, count=1), "not for dtype F8_E4M3"),
        (planes_frame("C64", 8, base="C64"), "not for dtype C64"),
        (planes_frame("BF16", 8, base="I16"), "BF16 from I16"),
        (planes_frame("BF16", 8, base=OPAQUE), "BF16 from OPAQUE"),
    ],
)
def test_malformed_frames(frame: bytes, reason: str) -> None:
    with pytest.raises(FrameError, match=reason):
        decode(frame, lambda _: b"12345678")


def test_a_delta_needs_its_base() -> None:
    with pytest.raises(FrameError, match="no base is given"):
        decode(FRAMES[4])
    with pytest.raises(CorruptError):
        decode(FRAMES[4], lambda _: b"another base")

    def missing(wanted: Hash) -> bytes:
        raise LookupError(wanted)

    with pytest.raises(LookupError):
        decode(FRAMES[4], missing)


def test_out_must_have_the_chunks_length() -> None:
    with pytest.raises(FrameError, match="6 bytes where one of 7"):
        decode(FRAMES[0], out=memoryview(bytearray(7)))


def test_a_wrong_hash_is_found_before_the_frame_is_returned() -> None:
    for dtype in ("U8", "BF16", OPAQUE):
        with pytest.raises(CorruptError):
            encode(cast(WEIGHTS, "BF16"), dtype, raw_hash=bytes(32))


def test_a_chunk_too_long_is_refused() -> None:
    with pytest.raises(FrameError, match="at most"):
        encode(bytes(MAX_RAW + 1), "U8")


def test_golden_frames() -> None:
    chunk = random.Random(2).randbytes(12)
    digest = blake3(chunk).digest()
    assert join(encode(chunk, "BF16")) == b"LEPT\1\0\x0b\0" + b"\x0c\0\0\0" + digest + chunk
    table = bytes.fromhex("04" + "0201000000" * 4)
    for length in (64, 128):
        zeros = bytes(length)
        header = b"LEPT\1\2\x0c\0" + length.to_bytes(4, "little") + blake3(zeros).digest()
        assert decode(header + table + b"\0\0\0\0") == zeros
    assert join(encode(zeros, "F32")) == header + table + b"\0\0\0\0"
    assert encode(bytes(127), "F32").codec == STORED
    half = random.Random(3).randbytes(400)
    middle = bytes.fromhex("02" + "0201000000" * 2) + b"\x80\x80"
    header = b"LEPT\1\3\x0b\x0b" + b"\x90\1\0\0" + blake3(half).digest() + blake3(half).digest()
    assert join(encode(half, "BF16", base=base_of(half, "BF16"))) == header + middle


def test_threads_do_not_disturb_each_other() -> None:
    def work(seed: int) -> bool:
        dtype = ("BF16", "F32", "F16", "F64")[seed % 4]
        values = np.random.default_rng(seed).standard_normal(20_000 + seed)
        raw, base = cast(values, dtype), base_of(cast(values * 1.001, "F32"), "F32")
        frames = [encode(raw, dtype), encode(raw, dtype, base=base)]
        return all(decode(join(frame), lambda _: base.raw) == raw for frame in frames)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(32)))


def test_frames_of_released_versions_are_read() -> None:
    frames = [path.read_bytes() for path in sorted((Path(__file__).parent.parent / "golden").glob("frame-*.lp"))]
    assert sorted(read_header(frame).codec for frame in frames) == [STORED, ZSTD, PLANES, DELTA, DELTA]
    plain = {read_header(frame).raw_hash: decode(frame) for frame in frames if read_header(frame).codec != DELTA}
    for frame in frames:
        assert len(decode(frame, plain.__getitem__)) == read_header(frame).raw_length
