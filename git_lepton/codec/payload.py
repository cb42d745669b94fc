"""The payload of the planes and delta codecs: a table, then one entry of bytes for each plane.

0   1  number of planes, which is the bytes of one element
1  5n  for each plane, lowest byte of the element first: u8 method, u32 length in bytes (little-endian)
..     the planes' bytes in the same order, without gaps, up to the end

method 0  stored    as many bytes as the chunk has elements
method 1  zstd      one zstd frame that declares as many bytes as the chunk has elements
method 2  constant  one byte, which all elements have here
method 3  sparse    one byte, the common one, then such a payload of two planes, neither of them sparse:
                    a bitmap of the elements that have another byte here (lowest bit first, last bits 0),
                    and those bytes

Sparse is for planes half full of one byte, as those of a delta are. zstd cannot be kept from coding runs of it as
matches, which cost more than the bits that an entropy coder alone would spend: 0.29 of such a plane where its entropy
is 0.22 and sparse needs 0.23.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import zstandard

from git_lepton.codec.frame import Buffer
from git_lepton.codec.sparse import gather, spread
from git_lepton.codec.workspace import WORKSPACE
from git_lepton.errors import FrameError

if TYPE_CHECKING:
    from git_lepton.codec.planes import Plane

STORED: Final = 0
ZSTD: Final = 1
CONSTANT: Final = 2
SPARSE: Final = 3

WORTH: Final = 0.97
"""Greatest share of the original size for which compressed bytes are kept: less gain is not worth decoding."""

_CONSTANT_SUSPECT: Final = 64
"""Only a plane that zstd shrinks to fewer bytes than this is tested for being constant."""

_SPARSE_LEAST: Final = 0.4
_SPARSE_MOST: Final = 0.98
"""Between these shares of the commonest byte, sparse competes with zstd."""

_TRIAL_PIECES: Final = 8
_TRIAL_PIECE: Final = 2048
"""The methods compete on this many evenly spread pieces of a plane, of this many bytes each; so a stretch that shrinks
is noticed unless it is shorter than an eighth of the plane, and noise costs almost no time."""

_PROBE_STRIDE: Final = 8
"""The commonest byte is sought in every eighth byte of those."""

_COUNT: Final = struct.Struct("<B")
_ENTRY: Final = struct.Struct("<BI")


@dataclass(frozen=True, slots=True)
class PackedPlane:
    """One plane as it is written: `method` is `STORED`, `ZSTD`, `CONSTANT` or `SPARSE`."""

    method: int
    data: bytes | memoryview


def pack_plane(plane: Plane) -> PackedPlane:
    """Shrink one plane by the method that does best on a sample. The result does not refer to `plane`."""
    trial = _sample(plane)
    best, common = _pack_simple(trial), _commonest(trial[::_PROBE_STRIDE])
    if common is not None:
        best = min(best, _pack_sparse(trial, common), key=lambda packed: len(packed.data))
    if trial is plane:
        return best
    if best.method == STORED:
        return PackedPlane(STORED, plane.copy().data)
    return _pack_simple(plane) if common is None or best.method != SPARSE else _pack_sparse(plane, common)


def unpack_plane(packed: PackedPlane, count: int) -> Plane:
    """Expand one plane to `count` bytes, read-only.

    Raises:
        FrameError: the data are not `count` bytes by their method.
    """
    return _unpack_sparse(memoryview(packed.data), count) if packed.method == SPARSE else _unpack_simple(packed, count)


def _pack_simple(plane: Plane) -> PackedPlane:
    if not plane.size:
        return PackedPlane(STORED, b"")
    packed = WORKSPACE.entropy.compress(plane.data)
    if len(packed) < _CONSTANT_SUSPECT and bool((plane == plane[0]).all()):
        return PackedPlane(CONSTANT, plane[:1].tobytes())
    if len(packed) <= WORTH * plane.size:
        return PackedPlane(ZSTD, packed)
    return PackedPlane(STORED, plane.copy().data)


def _unpack_simple(packed: PackedPlane, count: int) -> Plane:
    import numpy as np

    if packed.method == CONSTANT:
        if len(packed.data) != 1:
            raise FrameError(f"a constant plane has one byte, this one {len(packed.data)}")
        return np.broadcast_to(np.frombuffer(packed.data, np.uint8), count)
    data = inflate(packed.data, count) if packed.method == ZSTD else packed.data
    if len(data) != count:
        raise FrameError(f"a stored plane has {len(data)} bytes where {count} belong")
    return np.frombuffer(data, np.uint8)


def _pack_sparse(plane: Plane, common: int) -> PackedPlane:
    bitmap, rest = map(_pack_simple, gather(plane, common))
    return PackedPlane(SPARSE, b"".join((bytes((common,)), build_table((bitmap, rest)), bitmap.data, rest.data)))


def _unpack_sparse(data: memoryview, count: int) -> Plane:
    if not data:
        raise FrameError("a sparse plane has no common byte")
    bitmap, rest = parse_payload(data[1:], 2)
    if SPARSE in (bitmap.method, rest.method):
        raise FrameError("a sparse plane inside a sparse plane")
    bits = _unpack_simple(bitmap, -(-count // 8))
    return spread(bits, lambda others: _unpack_simple(rest, others), data[0], count)


def _sample(plane: Plane) -> Plane:
    stride = plane.size // _TRIAL_PIECES
    if stride <= 2 * _TRIAL_PIECE:
        return plane
    return plane[: stride * _TRIAL_PIECES].reshape(_TRIAL_PIECES, stride)[:, :_TRIAL_PIECE].ravel()


def _commonest(plane: Plane) -> int | None:
    """The byte that fills so much of `plane` that sparse may pay, or None."""
    import numpy as np

    counts = np.bincount(plane, minlength=1)
    byte = int(counts.argmax())
    return byte if _SPARSE_LEAST * plane.size < counts[byte] < _SPARSE_MOST * plane.size else None


def inflate(data: Buffer, length: int) -> bytes:
    """Decompress one zstd frame that must declare, and have, exactly `length` bytes.

    Raises:
        FrameError: another length, damaged, or followed by anything.
    """
    try:
        declared = zstandard.frame_content_size(data)
        if declared != length:
            raise FrameError(f"zstd data declare {declared} bytes where {length} belong")
        raw: bytes = WORKSPACE.decompressor.decompress(data, max_output_size=length, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FrameError(f"zstd data are damaged: {error}") from error
    if len(raw) != length:
        raise FrameError(f"zstd data have {len(raw)} bytes where {length} belong")
    return raw


def build_table(planes: Sequence[PackedPlane]) -> bytes:
    """Write the table that stands before the planes."""
    return _COUNT.pack(len(planes)) + b"".join(_ENTRY.pack(plane.method, len(plane.data)) for plane in planes)


def parse_payload(payload: memoryview, width: int) -> tuple[PackedPlane, ...]:
    """Read the table of a payload with `width` planes and find the planes, without expanding them.

    Raises:
        FrameError: another number of planes, an unknown method, or lengths that do not add up to the payload.
    """
    start = _COUNT.size + width * _ENTRY.size
    if len(payload) < start:
        raise FrameError("planes payload ends inside its table")
    if payload[0] != width:
        raise FrameError(f"planes payload with {payload[0]} planes where {width} belong")
    planes = []
    for method, length in _ENTRY.iter_unpack(payload[_COUNT.size : start]):
        if method > SPARSE:
            raise FrameError(f"planes payload with unknown method {method}")
        if length > len(payload) - start:
            raise FrameError("planes payload ends inside a plane")
        planes.append(PackedPlane(method, payload[start : start + length]))
        start += length
    if start != len(payload):
        raise FrameError(f"planes payload with {len(payload) - start} bytes left over")
    return tuple(planes)
