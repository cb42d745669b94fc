from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.errors import FrameError
from git_lepton.git.packindex import PackedObject, PackIndex, encode_index

OFFSETS = st.integers(12, 2**31 + 5) | st.integers(2**31 - 3, 2**31 + 3) | st.integers(2**32, 2**50)
OBJECTS = st.lists(
    st.builds(PackedObject, st.binary(min_size=20, max_size=20), st.integers(0, 2**32 - 1), OFFSETS),
    unique_by=lambda o: o.oid,
    max_size=40,
)


@given(OBJECTS, st.binary(min_size=20, max_size=20))
@settings(deadline=None, max_examples=50)
def test_what_is_written_is_found(objects: list[PackedObject], other: bytes) -> None:
    index = PackIndex(encode_index(objects, b"h" * 20, "sha1"), 20)
    assert index.count == len(objects)
    for item in objects:
        assert index.find(item.oid) == item.offset
    if other not in {o.oid for o in objects}:
        assert index.find(other) is None


@given(OBJECTS)
@settings(deadline=None, max_examples=15)
def test_large_offsets_as_git_reads_them(objects: list[PackedObject]) -> None:
    done = subprocess.run(
        ["git", "show-index", "--object-format=sha1"],
        input=encode_index(objects, b"h" * 20, "sha1"),
        capture_output=True,
        check=True,
    )
    listed = sorted(line.split() for line in done.stdout.decode().splitlines())
    wanted = sorted([str(o.offset), o.oid.hex(), f"({o.crc:08x})"] for o in objects)
    assert listed == wanted


@pytest.mark.parametrize("algo", ["sha1", "sha256"])
def test_same_bytes_as_index_pack(tmp_path: Path, env: dict[str, str], algo: str) -> None:
    from git_lepton.git.packfile import PackWriter
    from git_lepton.git.repo import discover

    subprocess.run(["git", "init", "-q", f"--object-format={algo}", tmp_path / "r"], check=True)
    with PackWriter(discover(tmp_path / "r")) as writer:
        for size in (0, 1, 15, 16, 17, 2047, 2048, 65534, 65535, 65536, 200_000):
            writer.add("blob", [os.urandom(size)])
            writer.add("blob", [b"text" * size], compress=True)
        with writer.finish() as pack:
            pack.publish()
            made = pack.path(".idx").read_bytes()
            command = ["git", "index-pack", "-o", str(tmp_path / "i.idx"), str(pack.path(".pack"))]
            subprocess.run(command, check=True, cwd=tmp_path / "r", stdout=subprocess.DEVNULL)
    assert made == (tmp_path / "i.idx").read_bytes()


def test_hostile() -> None:
    good = encode_index([PackedObject(bytes([n]) * 20, n, 2**31 + n) for n in range(9)], b"h" * 20, "sha1")
    for bad in (
        b"",
        good[:100],
        good[:-1],
        good + b"x",
        b"\0" + good[1:],
        good[:11] + b"\xff" + good[12:],
        good[:-400],
    ):
        with pytest.raises(FrameError):
            PackIndex(bad, 20)
    row = good.index(b"\x80\0\0\0")
    index = PackIndex(good[:row] + b"\xff\0\0\0" + good[row + 4 :], 20)
    with pytest.raises(FrameError, match="large offset"):
        index.find(bytes(20))
