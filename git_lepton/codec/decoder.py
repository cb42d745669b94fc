"""Frames to chunks. `decode` is total: any bytes give the chunk, a `FrameError` or a `CorruptError`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from blake3 import blake3

from git_lepton.codec.delta import predictable
from git_lepton.codec.frame import DELTA, PLANES, STORED, Buffer, FrameHeader, read_header
from git_lepton.codec.fused import unpack
from git_lepton.codec.payload import PackedPlane, inflate, parse_payload, unpack_plane
from git_lepton.codec.planes import UNSIGNED, has_planes, width_of
from git_lepton.codec.transform import Base, holds, join
from git_lepton.errors import CorruptError, FrameError
from git_lepton.native.memory import blank
from git_lepton.values import Hash

if TYPE_CHECKING:
    from git_lepton.codec.planes import Elements


def decode(
    frame: Buffer,
    base: Callable[[Hash], Buffer] | None = None,
    *,
    out: memoryview | None = None,
    check: bool = True,
) -> memoryview:
    """Decode one frame.

    Args:
        frame: the frame, neither more nor less.
        base: gives the raw bytes of a base by their hash; what it raises passes through.
        out: writable memory of exactly the chunk's length to decode into.
        check: compare the result's BLAKE3 with the frame's; without it only the form of the frame is checked.

    Returns:
        The chunk: `out` if given, else memory that may belong to `frame`.

    Raises:
        FrameError: malformed, a base is needed and none given, or `out` has another length.
        CorruptError: the result does not have the hash that the frame declares.
    """
    view = memoryview(frame).cast("B")
    header = read_header(view)
    if out is not None and len(out) != header.raw_length:
        raise FrameError(f"frame of a chunk of {header.raw_length} bytes where one of {len(out)} belongs")
    body = view[header.size :]
    if header.codec in (PLANES, DELTA):
        _check_planes(header)
        raw = memoryview(blank(header.raw_length)) if out is None else out
        join_payload(body, header.dtype, _find_base(header, base), raw)
    else:
        raw = body if header.codec == STORED else memoryview(inflate(body, header.raw_length))
        if len(raw) != header.raw_length:
            raise FrameError(f"stored chunk of {len(raw)} bytes where {header.raw_length} belong")
        if out is not None:
            raw = _copy(raw, out)
    if check and blake3(raw).hexdigest() != header.raw_hash:
        raise CorruptError(f"chunk {header.raw_hash} decodes to other bytes")
    return raw


def join_payload(payload: memoryview, dtype: str, base: Base | None, out: memoryview) -> None:
    """Expand and merge the planes of a chunk, and add them to the prediction if there is a base.

    Args:
        payload: of the planes or delta codec.
        dtype: the chunk's; not opaque.
        base: what the planes are differences from, or None if they are the elements themselves.
        out: memory of the chunk's length, whole elements, to fill.

    Raises:
        FrameError: malformed.
    """
    if not unpack(payload, out, dtype, base):
        join_planes(parse_payload(payload, width_of(dtype)), dtype, base, out)


def join_planes(packed: tuple[PackedPlane, ...], dtype: str, base: Base | None, out: memoryview) -> None:
    """As `join_payload`, from as many planes as an element has bytes."""
    elements = elements_of(out, dtype)
    join([unpack_plane(plane, elements.size) for plane in packed], elements, dtype, base)


def planes_hold(packed: tuple[PackedPlane, ...], dtype: str, raw: memoryview, base: Base | None) -> bool:
    """Whether `join_planes` would give these bytes."""
    elements = elements_of(raw, dtype)
    return holds([unpack_plane(plane, elements.size) for plane in packed], elements, dtype, base)


def elements_of(raw: memoryview, dtype: str) -> Elements:
    """The bits of whole elements, writable if `raw` is."""
    import numpy as np

    return np.frombuffer(raw, UNSIGNED[width_of(dtype)])


def _check_planes(header: FrameHeader) -> None:
    width = width_of(header.dtype)
    if not (has_planes(header.dtype) if header.codec == PLANES else width):
        raise FrameError(f"codec {header.codec} is not for dtype {header.dtype}")
    if header.raw_length % width:
        raise FrameError(f"{header.raw_length} bytes are no whole elements of {header.dtype}")


def _find_base(header: FrameHeader, find: Callable[[Hash], Buffer] | None) -> Base | None:
    if header.base_dtype is None or header.base_hash is None:
        return None
    if not predictable(header.dtype, header.base_dtype):
        raise FrameError(f"delta of dtype {header.dtype} from {header.base_dtype}")
    if find is None:
        raise FrameError(f"delta from chunk {header.base_hash}, and no base is given")
    return Base(header.base_hash, header.base_dtype, find(header.base_hash))


def _copy(raw: memoryview, out: memoryview) -> memoryview:
    """Fill `out` without holding the interpreter lock, as slice assignment would."""
    import numpy as np

    np.copyto(np.frombuffer(out, np.uint8), np.frombuffer(raw, np.uint8))
    return out
