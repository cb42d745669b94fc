"""The frame: one chunk's encoded bytes with everything needed to read them, version 1.

    0   4  magic "LEPT"
    4   1  version, 1
    5   1  codec: 0 stored, 1 zstd, 2 planes, 3 delta
    6   1  dtype code of the chunk, 255 for opaque bytes
    7   1  dtype code of the base; 0 when there is none, which is so for every codec but delta
    8   4  raw length, little-endian, at most `MAX_RAW`
    12 32  BLAKE3 of the raw bytes
    44 32  BLAKE3 of the base's raw bytes, only when the base's dtype code is not 0
    ..     payload, up to the end

The payloads of planes and delta are described in `payload`; docs/formats.md has the same tables. A
reader refuses what it does not know, and bytes that are left over.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, TypeAlias

from git_lepton.errors import FrameError
from git_lepton.values import Hash

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Contiguous bytes. (`collections.abc.Buffer` came with Python 3.12.)"""

MAGIC: Final = b"LEPT"
VERSION: Final = 1

STORED: Final = 0
ZSTD: Final = 1
PLANES: Final = 2
DELTA: Final = 3

MAX_RAW: Final = 64 << 20
"""Greatest raw length in bytes that a frame may declare: bounds what a hostile one can make a reader allocate."""

OPAQUE: Final = "OPAQUE"
"""The dtype that a frame reports for bytes whose elements mean nothing to the codec."""

OPAQUE_CODE: Final = 255

DTYPE_CODES: Final[dict[str, int]] = {
    "BOOL": 1,
    "U8": 2,
    "I8": 3,
    "U16": 4,
    "I16": 5,
    "U32": 6,
    "I32": 7,
    "U64": 8,
    "I64": 9,
    "F16": 10,
    "BF16": 11,
    "F32": 12,
    "F64": 13,
    "C64": 14,
    "C128": 15,
    "F8_E4M3": 16,
    "F8_E5M2": 17,
    "F8_E8M0": 18,
    "F8_E4M3FNUZ": 19,
    "F8_E5M2FNUZ": 20,
    "F6_E2M3": 21,
    "F6_E3M2": 22,
    "F4": 23,
    "I4": 24,
    "U4": 25,
    "I2": 26,
    "U2": 27,
    OPAQUE: OPAQUE_CODE,
}
"""Frozen with version 1: codes are never reused. Any other dtype is written as `OPAQUE`."""

_DTYPE_NAMES: Final = {code: name for name, code in DTYPE_CODES.items()}
_FIXED: Final = struct.Struct("<4sBBBBI32s")
_DIGEST_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What a frame says before its payload.

    Attributes:
        codec: `STORED`, `ZSTD`, `PLANES` or `DELTA`.
        dtype: element type of the chunk, `OPAQUE` if it has none that the codec knows.
        raw_length: bytes of the chunk.
        raw_hash: BLAKE3 of the chunk.
        base_dtype: element type of the base, or None without a base.
        base_hash: BLAKE3 of the base's raw bytes, or None without a base.
        size: bytes of this header; the payload follows.
    """

    codec: int
    dtype: str
    raw_length: int
    raw_hash: Hash
    base_dtype: str | None
    base_hash: Hash | None
    size: int


def build_header(
    codec: int, dtype: str, raw_length: int, raw_digest: bytes, base: tuple[str, bytes] | None = None
) -> bytes:
    """Write a header; `base` is the base's dtype and BLAKE3 digest. A dtype without a code becomes `OPAQUE`."""
    code = DTYPE_CODES.get(dtype, OPAQUE_CODE)
    base_code, base_digest = (0, b"") if base is None else (DTYPE_CODES[base[0]], base[1])
    return _FIXED.pack(MAGIC, VERSION, codec, code, base_code, raw_length, raw_digest) + base_digest


def read_header(frame: Buffer) -> FrameHeader:
    """Read a frame's header without touching its payload.

    Raises:
        FrameError: not a frame, of another version, cut short, or with a field outside its range.
    """
    if len(frame) < _FIXED.size:
        raise FrameError(f"a frame has at least {_FIXED.size} bytes, this one {len(frame)}")
    magic, version, codec, code, base_code, raw_length, raw_digest = _FIXED.unpack_from(frame)
    if magic != MAGIC:
        raise FrameError("not a chunk frame: it does not begin with LEPT")
    if version != VERSION:
        raise FrameError(f"chunk frame of version {version}; this program reads {VERSION}")
    if codec > DELTA:
        raise FrameError(f"chunk frame with unknown codec {codec}")
    if raw_length > MAX_RAW:
        raise FrameError(f"chunk frame declares {raw_length} raw bytes; at most {MAX_RAW} are allowed")
    if (base_code != 0) != (codec == DELTA):
        raise FrameError(f"chunk frame with codec {codec} and base dtype code {base_code}")
    dtype, base_dtype, base_hash, size = _dtype_name(code), None, None, _FIXED.size
    if base_code:
        size += _DIGEST_SIZE
        if len(frame) < size:
            raise FrameError("chunk frame ends inside its base hash")
        base_dtype = _dtype_name(base_code)
        base_hash = Hash(bytes(frame[_FIXED.size : size]).hex())
    return FrameHeader(codec, dtype, raw_length, Hash(raw_digest.hex()), base_dtype, base_hash, size)


def _dtype_name(code: int) -> str:
    name = _DTYPE_NAMES.get(code)
    if name is None:
        raise FrameError(f"chunk frame with unknown dtype code {code}")
    return name
