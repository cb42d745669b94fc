"""The manifest: the small text that git tracks instead of a weight file (docs/formats.md, "Manifest").

It is a pure function of the file's bytes, so two people who add the same file commit the same blob, and a plain
`git diff` tells which tensors changed. There is exactly one valid text for a manifest: `parse` refuses any other
spelling, and the last line is a checksum of all lines above, so that a text merge of two manifests, or a hand,
cannot make one that lies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from blake3 import blake3

from git_lepton.errors import ManifestError
from git_lepton.values import Hash

VERSION: Final = 1
PREFIX: Final = b"git-lepton "
FIRST_LINE: Final = (
    b"git-lepton 1 weights are elsewhere: pip install git-lepton && git lepton install && git lepton pull\n"
)
MAX_BYTES: Final = 256 << 20
"""A manifest of a million tensors with long names; anything larger that begins like one is refused."""

_HEX64: Final = re.compile(r"[0-9a-f]{64}")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_WORD: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_SIZE: Final = r"(?:0|[1-9][0-9]{0,18})"
_TENSOR: Final = re.compile(
    rf"tensor ([A-Z0-9][A-Z0-9_]{{0,31}}) (\[(?:{_SIZE}(?:,{_SIZE})*)?\]) ([0-9a-f]{{64}}) (.*)", re.DOTALL
)
_ESCAPE: Final = re.compile(r"\\(?:\\|x[0-9a-f]{2}|u\{[0-9a-f]{2,6}\})")
# Control characters, the separators that some tools take for a line end, and the bidirectional overrides that could
# make a reviewer read another name than the one that is there.
_UNSAFE: Final = re.compile("[\\\\\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class TensorLine:
    """One tensor as the manifest tells it: `hash` is the BLAKE3 of its bytes in the file."""

    dtype: str
    shape: tuple[int, ...]
    hash: Hash
    name: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What git tracks of a weight file.

    Attributes:
        format: name of the parser that found the tensors.
        size: bytes in the file.
        blake3: hash of the whole file: the identity of the stored version.
        other_hash: hash of all bytes outside tensors, concatenated.
        other_size: how many those are.
        tensors: in file order.
    """

    format: str
    size: int
    blake3: Hash
    other_hash: Hash
    other_size: int
    tensors: tuple[TensorLine, ...]

    def to_bytes(self) -> bytes:
        """Serialise: the only text that `parse` accepts for these values."""
        lines = [
            f"format {self.format}\n",
            f"size {self.size}\n",
            f"blake3 {self.blake3}\n",
            f"other {self.other_hash} {self.other_size}\n",
        ]
        lines += [
            f"tensor {t.dtype} [{','.join(map(str, t.shape))}] {t.hash} {escape_name(t.name)}\n" for t in self.tensors
        ]
        body = FIRST_LINE + "".join(lines).encode()
        return body + b"check " + blake3(body).hexdigest().encode() + b"\n"


def escape_name(name: str) -> str:
    r"""Spell a tensor name on one line: `\\`, `\xNN` for a byte, `\u{N}` for a character that could mislead."""
    return _UNSAFE.sub(_escape_one, name)


def _escape_one(match: re.Match[str]) -> str:
    char = match.group()
    code = ord(char)
    if char == "\\":
        return "\\\\"
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8, kept by surrogateescape
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{{{code:x}}}"


def unescape_name(text: str) -> str:
    """Invert `escape_name`.

    Raises:
        ManifestError: an escape that `escape_name` never writes.
    """
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text

    def one(match: re.Match[str]) -> str:
        spelling = match.group()
        if spelling == "\\\\":
            return "\\"
        if spelling[1] == "x":
            code = int(spelling[2:], 16)
            return chr(code) if code < 0x80 else chr(0xDC00 + code)
        code = int(spelling[3:-1], 16)
        if code > 0x10FFFF:
            raise ManifestError(f"a tensor name holds the impossible escape {spelling}")
        return chr(code)

    name = _ESCAPE.sub(one, text)
    if escape_name(name) != text:
        raise ManifestError(f"a tensor name is not spelled as git-lepton spells it: {text!r}")
    return name


def looks_like(data: bytes | memoryview) -> bool:
    """Whether these bytes begin with our first words: then they are a manifest or a mistake, never weights."""
    return bytes(data[: len(PREFIX)]) == PREFIX


def is_newer(data: bytes) -> bool:
    """Whether this is the manifest of a later git-lepton, which must be left exactly as it is."""
    match = re.match(rb"git-lepton ([1-9][0-9]{0,3}) ", data)
    return match is not None and int(match.group(1)) > VERSION


def parse(data: bytes) -> Manifest:
    """Read a manifest strictly: one valid spelling, and the check line must hold.

    Raises:
        ManifestError: naming the line that is wrong; nothing else for any input.
    """
    if len(data) > MAX_BYTES:
        raise ManifestError(f"a manifest of {len(data)} bytes is larger than {MAX_BYTES} allows")
    if is_newer(data):
        raise ManifestError("this manifest was written by a newer git-lepton", hint="pip install --upgrade git-lepton")
    if not data.startswith(FIRST_LINE):
        raise ManifestError("line 1 is not that of a git-lepton manifest")
    body, _, last = data[:-1].rpartition(b"\n")
    if not data.endswith(b"\n") or not last.startswith(b"check "):
        raise ManifestError("the last line is no check line: the manifest is cut short or has conflict markers")
    if last[6:] != blake3(body + b"\n").hexdigest().encode():
        raise ManifestError(
            "the check line does not match the lines above: two manifests were merged as text, or one was edited",
            hint="restore one side: git checkout --ours|--theirs -- PATH",
        )
    try:
        lines = body.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ManifestError(f"byte {error.start} is not UTF-8") from error
    return _parse_lines(lines)


def _parse_lines(lines: list[str]) -> Manifest:
    if len(lines) < 5:
        raise ManifestError("the manifest has fewer than five lines")
    fmt = _field(lines, 1, "format", _WORD)
    size = int(_field(lines, 2, "size", _NUMBER))
    file_hash = Hash(_field(lines, 3, "blake3", _HEX64))
    other_hash, _, other_size = lines[4].removeprefix("other ").partition(" ")
    if not lines[4].startswith("other ") or not _HEX64.fullmatch(other_hash) or not _NUMBER.fullmatch(other_size):
        raise ManifestError("line 5 is not `other <blake3> <bytes>`")
    if int(other_size) > size:
        raise ManifestError("line 5 counts more bytes than the file has")
    tensors = tuple(_tensor(number, line) for number, line in enumerate(lines[5:], start=6))
    if len({t.name for t in tensors}) != len(tensors):
        raise ManifestError("two tensors have the same name")
    return Manifest(fmt, size, file_hash, Hash(other_hash), int(other_size), tensors)


def _field(lines: list[str], at: int, key: str, pattern: re.Pattern[str]) -> str:
    word, _, value = lines[at].partition(" ")
    if word != key or not pattern.fullmatch(value):
        raise ManifestError(f"line {at + 1} is not `{key} …`")
    return value


def _tensor(number: int, line: str) -> TensorLine:
    match = _TENSOR.fullmatch(line)
    if match is None:
        raise ManifestError(f"line {number} is not `tensor <dtype> <shape> <blake3> <name>`")
    dtype, shape, digest, name = match.groups()
    return TensorLine(dtype, _shape(shape), Hash(digest), unescape_name(name))


@lru_cache(maxsize=1 << 12)
def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(d) for d in text[1:-1].split(",")) if text != "[]" else ()
