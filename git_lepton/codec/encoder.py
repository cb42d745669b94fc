"""Chunks to frames: pick the codec, split, compress, and prove that the result can be read back.

    dtype                     without a base        with a base that can predict it
    floats of 16 bits up      planes                delta, if it saves a tenth of the left column's size
    other known elements      zstd                  delta, likewise
    opaque                    zstd                  zstd
    any that saves < 3 %      stored
    less than 128 bytes       stored

What was encoded is decoded and compared, or hashed, before `encode` returns. Both run on any number of threads; the
heavy calls release the interpreter lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from git_lepton.codec.decoder import elements_of, join_payload, join_planes, planes_hold
from git_lepton.codec.delta import predictable
from git_lepton.codec.frame import DELTA, MAX_RAW, PLANES, STORED, ZSTD, Buffer, build_header
from git_lepton.codec.fused import pack, unpacks_to
from git_lepton.codec.payload import WORTH, PackedPlane, build_table, inflate, pack_plane
from git_lepton.codec.planes import has_planes, width_of
from git_lepton.codec.transform import Base, split
from git_lepton.codec.workspace import WORKSPACE
from git_lepton.errors import CorruptError, FrameError
from git_lepton.values import Hash

if TYPE_CHECKING:
    from git_lepton.codec.planes import Plane

DELTA_WORTH: Final = 0.9
"""Greatest share of the size without a base for which a delta is taken: it ties the chunk to its base for ever."""

_SAMPLE_PIECES: Final = 4
_SAMPLE_ELEMENTS: Final = 4096
"""A delta is tried on this many pieces, of this many elements each, spread evenly over the chunk."""

_TRIAL_BYTES: Final = 128 << 10
"""Bytes from a chunk's middle on which the two ways to use zstd compete: one zstd block."""


_LEAST: Final = 128
"""Chunks of fewer bytes are stored as they are: the frame's header and git's object cost more than they could save."""


@dataclass(frozen=True, slots=True)
class Frame:
    """An encoded chunk, in pieces that need no joining.

    Attributes:
        codec: how the payload is coded, `STORED`, `ZSTD`, `PLANES` or `DELTA`.
        raw_hash: BLAKE3 of the chunk.
        raw_length: bytes of the chunk.
        parts: the frame is their concatenation. The last may be the chunk given to `encode` itself, not a copy.
    """

    codec: int
    raw_hash: Hash
    raw_length: int
    parts: tuple[bytes | memoryview, ...]

    @property
    def length(self) -> int:
        """Bytes of the frame."""
        return sum(map(len, self.parts))


@dataclass(frozen=True, slots=True)
class _Body:
    """A chunk by one codec: `planes` of planes and delta if they were made one by one, else `data`."""

    codec: int
    data: bytes | memoryview = b""
    planes: tuple[PackedPlane, ...] = ()
    base: Base | None = None

    def parts(self) -> tuple[bytes | memoryview, ...]:
        return (build_table(self.planes), *(plane.data for plane in self.planes)) if self.planes else (self.data,)

    def length(self) -> int:
        return sum(map(len, self.parts()))

    def hash(self, dtype: str, raw_length: int) -> bytes:
        """BLAKE3 digest of the chunk that this decodes to."""
        if self.codec in (PLANES, DELTA):
            scratch = WORKSPACE.memory("restored", raw_length)
            if self.planes:
                join_planes(self.planes, dtype, self.base, scratch)
            else:
                join_payload(memoryview(self.data), dtype, self.base, scratch)
            return blake3(scratch).digest()
        return blake3(self.data if self.codec == STORED else inflate(self.data, raw_length)).digest()

    def holds(self, raw: memoryview, dtype: str) -> bool:
        """Whether this decodes to `raw`."""
        if self.planes:
            return planes_hold(self.planes, dtype, raw, self.base)
        if self.codec in (PLANES, DELTA):
            return unpacks_to(memoryview(self.data), raw, dtype, self.base)
        # startswith compares with memcmp; == between two memoryviews goes item by item.
        return self.data is raw or inflate(self.data, len(raw)).startswith(raw)


def encode(
    raw: Buffer,
    dtype: str,
    *,
    raw_hash: bytes | None = None,
    hashed: bool = False,
    base: Base | None = None,
    limit: float | None = None,
) -> Frame:
    """Encode one chunk, as a delta from `base` where that pays.

    Args:
        raw: the chunk, at most `MAX_RAW` bytes.
        dtype: its element type; names that the codec does not know are opaque bytes.
        raw_hash: the BLAKE3 digest that the chunk should have, if it is known already.
        hashed: `raw_hash` was taken from this very memory, which nobody writes to: equal bytes need no second hash.
        base: what may predict the chunk; ignored if it cannot or does not save a tenth.
        limit: the share of its size that a delta may have, which `delta_limit` told of a chunk beside it; None to try.

    Raises:
        CorruptError: the frame would not decode to `raw_hash`: the chunk changed meanwhile, or this machine errs.
        FrameError: the chunk is longer than a frame may be.
    """
    view = memoryview(raw).cast("B")
    if len(view) > MAX_RAW:
        raise FrameError(f"a chunk of {len(view)} bytes; at most {MAX_RAW} fit in a frame")
    digest = blake3(view).digest() if raw_hash is None else raw_hash
    body = _best(view, dtype, base, limit)
    same = body.holds(view, dtype) if hashed or raw_hash is None else body.hash(dtype, len(view)) == digest
    if not same:
        raise CorruptError(f"chunk {digest.hex()} does not decode to what was encoded")
    used = None if body.base is None else (body.base.dtype, bytes.fromhex(body.base.hash))
    header = build_header(body.codec, dtype, len(view), digest, used)
    return Frame(body.codec, Hash(digest.hex()), len(view), (header, *body.parts()))


def delta_limit(raw: Buffer, dtype: str, base: Base) -> float | None:
    """The share of the raw size up to which a delta is worth it: it saves a tenth of what the chunk has without a base.

    None if a sample, of at most 16 Ki elements, says that it never is.
    """
    view = memoryview(raw).cast("B")
    width, base_width = width_of(dtype), width_of(base.dtype)
    if not view or not base.raw or not predictable(dtype, base.dtype) or len(view) % width:
        return None
    pieces = _sample(len(view) // width)
    sample = _gather(view, pieces, width)
    base_sample = _gather(memoryview(base.raw).cast("B"), pieces, base_width)
    limit = DELTA_WORTH * min(_without_base(sample, dtype).length() / len(sample), 1)
    body = _by_planes(sample, dtype, Base(base.hash, base.dtype, base_sample))
    return limit if body.length() <= limit * len(sample) else None


def _best(raw: memoryview, dtype: str, base: Base | None, limit: float | None) -> _Body:
    if len(raw) < _LEAST:
        return _Body(STORED, data=raw)
    if base is not None:
        limit = delta_limit(raw, dtype, base) if limit is None else limit
        if limit is not None:
            body = _by_planes(raw, dtype, base)
            if body.length() <= limit * len(raw):
                return body
    body = _without_base(raw, dtype)
    return body if body.length() <= WORTH * len(raw) else _Body(STORED, data=raw)


def _sample(count: int) -> list[slice]:
    """Evenly spread slices of `count` elements, or all of them if they are few."""
    if count <= _SAMPLE_PIECES * _SAMPLE_ELEMENTS:
        return [slice(0, count)]
    stride = (count - _SAMPLE_ELEMENTS) // (_SAMPLE_PIECES - 1)
    return [slice(k * stride, k * stride + _SAMPLE_ELEMENTS) for k in range(_SAMPLE_PIECES)]


def _gather(raw: memoryview, pieces: list[slice], width: int) -> memoryview:
    """Join pieces of elements of `width` bytes; zeros stand for what lies behind the end, as in a prediction."""
    return memoryview(
        b"".join(
            bytes(raw[piece.start * width : piece.stop * width]).ljust((piece.stop - piece.start) * width, b"\0")
            for piece in pieces
        )
    )


def _without_base(raw: memoryview, dtype: str) -> _Body:
    if has_planes(dtype) and len(raw) % width_of(dtype) == 0:
        return _by_planes(raw, dtype, None)
    return _Body(ZSTD, data=_deflate(raw))


def _deflate(raw: memoryview) -> bytes:
    """Compress bytes as noise with a skewed histogram or as repeats: whichever wins on a piece from the middle."""
    start = max(0, (len(raw) - _TRIAL_BYTES) // 2)
    trial = raw[start : start + _TRIAL_BYTES]
    tried = [(compressor.compress(trial), compressor) for compressor in (WORKSPACE.entropy, WORKSPACE.matching)]
    packed, compressor = min(tried, key=lambda pair: len(pair[0]))
    whole: bytes = packed if len(trial) == len(raw) else compressor.compress(raw)
    return whole


def _by_planes(raw: memoryview, dtype: str, base: Base | None) -> _Body:
    codec, payload = PLANES if base is None else DELTA, pack(raw, dtype, base)
    if payload is not None:
        return _Body(codec, data=payload, base=base)
    elements = elements_of(raw, dtype)
    planes: list[Plane] = [WORKSPACE.array(f"plane{k}", "<u1", elements.size) for k in range(elements.itemsize)]
    split(elements, planes, dtype, base)
    return _Body(codec, planes=tuple(map(pack_plane, planes)), base=base)
