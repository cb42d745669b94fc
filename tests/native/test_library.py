"""What is loaded, what is refused, and that a frame does not tell which of the two made it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from git_lepton.codec import Base, decode, encode
from git_lepton.native import building, library
from git_lepton.native.library import SWITCH
from git_lepton.native.planes import PlaneKernels
from git_lepton.values import DTYPES, Hash


@pytest.fixture
def fresh() -> Iterator[None]:
    library.library.cache_clear()
    yield
    library.library.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_the_switch_leaves_them_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "0")
    assert library.library() is None


@pytest.mark.usefixtures("fresh")
def test_what_cannot_be_loaded_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    assert library.library() is None
    library.library.cache_clear()
    (tmp_path / library.FILE).write_bytes(b"\x7fELF, and then nothing")
    assert library.library() is None


def test_another_version_is_refused(compiled: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "VERSION", library.VERSION + 1)
    with pytest.raises(OSError, match="other sources"):
        library.load(Path(compiled._name))


def test_the_versions_agree() -> None:
    header = Path(building.__file__).with_name("kernels.h").read_text()
    assert f"#define LEPTON_VERSION {library.VERSION}\n" in header


def test_what_is_made_is_what_is_looked_for() -> None:
    assert building.FILE == library.FILE


def test_all_sources_are_compiled() -> None:
    assert {path.name for path in Path(building.__file__).parent.glob("*.c")} == set(building.SOURCES)


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "false")
    with pytest.raises(building.BuildError):
        building.compile_kernels(tmp_path / "x.so")
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(building.BuildError, match="no C compiler"):
        building.compile_kernels(tmp_path / "x.so")


@pytest.mark.parametrize("kind", ["alone", "near", "short", "cast"])
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64", "I8", "I64"])
def test_frames_are_the_same_with_and_without(
    native: PlaneKernels, dtype: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, base = _case(dtype, kind)
    frames, found = [], []
    for which in (native, None):
        for module in ("transform", "sparse"):
            monkeypatch.setattr(f"git_lepton.codec.{module}.kernels", lambda which=which: which)
        frames.append(b"".join(map(bytes, encode(raw, dtype, base=base).parts)))
        found.append(bytes(decode(frames[0], None if base is None else lambda _: base.raw)))
    assert frames[0] == frames[1]
    assert found == [raw, raw]


def _case(dtype: str, kind: str) -> tuple[bytes, Base | None]:
    chance = np.random.default_rng(5)
    width = DTYPES[dtype].bits // 8
    count = 70_001
    wide = chance.standard_normal(count).astype("<f4")
    tuned = wide * (1 + 0.001 * (chance.random(count) < 0.3)).astype("<f4")
    old, new = (_as(dtype, width, values) for values in (wide, tuned))
    if kind == "alone":
        return new, None
    other = "F32" if kind == "cast" and dtype[0] in "BF" else dtype
    raw = _as(other, DTYPES[other].bits // 8, wide) if kind == "cast" else old
    return new, Base(Hash("0" * 64), other, raw[: len(raw) // 3 * 2 // 8 * 8] if kind == "short" else raw)


def _as(dtype: str, width: int, values: np.ndarray) -> bytes:
    if dtype == "BF16":
        return (values.view("<u4") >> 16).astype("<u2").tobytes()
    if dtype[0] == "F":
        return values.astype(f"<f{width}").tobytes()
    return (values * 20).astype(f"<i{width}").tobytes()
