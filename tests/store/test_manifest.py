"""The manifest: one spelling, and no way to lie."""

from __future__ import annotations

from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import settings as configure
from hypothesis import strategies as st

from git_lepton.errors import ManifestError
from git_lepton.store.manifest import (
    FIRST_LINE,
    Manifest,
    TensorLine,
    escape_name,
    is_newer,
    looks_like,
    parse,
    unescape_name,
)
from git_lepton.values import Hash

GOLDEN = Path(__file__).parent.parent / "golden"


def digest(text: str) -> Hash:
    return Hash(blake3(text.encode()).hexdigest())


EXAMPLE = Manifest(
    "safetensors",
    1000,
    digest("file"),
    digest("other"),
    104,
    (
        TensorLine("F32", (8, 16), digest("a"), "layers.0.weight"),
        TensorLine("BF16", (), digest("b"), "a name with spaces  and ünicode"),
        TensorLine("Q4_K", (0, 3), digest("c"), "back\\slash\nnew line\udcff\u202e"),
        TensorLine("I8", (1,), digest("d"), ""),
    ),
)

names = st.text(st.characters(exclude_categories=[]), max_size=40).filter(
    # lone surrogates other than those of surrogateescape never come from a file's bytes
    lambda s: not any(0xD800 <= ord(c) < 0xDC80 or 0xDCFF < ord(c) <= 0xDFFF for c in s)
)
hashes = st.binary(min_size=32, max_size=32).map(lambda b: Hash(b.hex()))
lines = st.builds(
    TensorLine,
    st.sampled_from(["F32", "BF16", "F8_E4M3", "Q4_K"]),
    st.lists(st.integers(0, 2**40), max_size=4).map(tuple),
    hashes,
    names,
)
manifests = st.builds(
    lambda fmt, size, file_hash, other, tensors: Manifest(fmt, size, file_hash, other, size // 2, tuple(tensors)),
    st.sampled_from(["safetensors", "onnx", "raw"]),
    st.integers(0, 2**60),
    hashes,
    hashes,
    st.lists(lines, max_size=6, unique_by=lambda t: t.name),
)


def test_the_released_text_of_version_1_never_changes() -> None:
    golden = (GOLDEN / "manifest-1.txt").read_bytes()
    assert EXAMPLE.to_bytes() == golden
    assert parse(golden) == EXAMPLE


@configure(deadline=None, max_examples=50)
@given(manifests)
def test_what_is_written_is_read_back(manifest: Manifest) -> None:
    assert parse(manifest.to_bytes()) == manifest


@configure(deadline=None, max_examples=50)
@given(names)
def test_names_survive_and_stay_on_one_line(name: str) -> None:
    spelled = escape_name(name)
    assert unescape_name(spelled) == name
    spelled.encode()
    assert len(spelled.splitlines()) <= 1


@configure(deadline=None, max_examples=50)
@given(manifests, st.data())
def test_any_other_text_is_refused_with_our_error(manifest: Manifest, data: st.DataObject) -> None:
    text = bytearray(manifest.to_bytes())
    at = data.draw(st.integers(0, len(text) - 1))
    text[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ManifestError):
        parse(bytes(text))


@configure(deadline=None, max_examples=50)
@given(st.binary(max_size=300))
def test_garbage_raises_nothing_else(garbage: bytes) -> None:
    for data in (garbage, FIRST_LINE + garbage):
        with pytest.raises(ManifestError):
            parse(data)


def with_check(body: bytes) -> bytes:
    return body + b"check " + blake3(body).hexdigest().encode() + b"\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"size 1000", b"size 01000"),
        (b"size 1000", b"size -1"),
        (b"size 1000", b"size 100"),
        (b"format safetensors", b"format SafeTensors"),
        (b"[8,16]", b"[8, 16]"),
        (b"[8,16]", b"[8,16"),
        (b"tensor F32", b"tensor f32"),
        (b"tensor F32", b"Tensor F32"),
        (b"back\\\\slash", b"back\\slash"),
        (b"\\xff", b"\\xFF"),
        (b"layers.0.weight", b"layers.0.w\\x65ight"),
        (b"layers.0.weight", b"layers.0.w\\u{110000}ight"),
        (b"layers.0.weight", b""),
        (b"other ", b"others "),
        (b"\ntensor BF16", b"\n\ntensor BF16"),
        (b"\ntensor BF16", b"\r\ntensor BF16"),
    ],
)
def test_another_spelling_is_refused_even_with_a_right_check_line(old: bytes, new: bytes) -> None:
    body = EXAMPLE.to_bytes().rpartition(b"check ")[0]
    assert old in body
    with pytest.raises(ManifestError):
        parse(with_check(body.replace(old, new, 1)))


def test_two_manifests_merged_as_text_are_refused() -> None:
    other = Manifest("safetensors", 1000, digest("file 2"), digest("other"), 104, EXAMPLE.tensors[:1])
    ours, theirs = EXAMPLE.to_bytes().splitlines(keepends=True), other.to_bytes().splitlines(keepends=True)
    merged = b"".join([*ours[:3], theirs[3], *ours[4:]])
    with pytest.raises(ManifestError, match="merged as text"):
        parse(merged)
    conflict = b"".join([*ours[:3], b"<<<<<<< ours\n", ours[3], b"=======\n", theirs[3], b">>>>>>> x\n", *ours[4:]])
    with pytest.raises(ManifestError):
        parse(conflict)


def test_newer_manifests_are_recognised() -> None:
    assert is_newer(b"git-lepton 2 something else\n")
    assert not is_newer(EXAMPLE.to_bytes())
    assert not is_newer(b"git-lepton x")
    with pytest.raises(ManifestError, match="newer"):
        parse(b"git-lepton 2 something else\n")
    assert looks_like(b"git-lepton 2")
    assert not looks_like(b"git-lepto")
