"""Frames to chunks. `decode` is total: any bytes give the chunk, a `FrameError` or a `CorruptError`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from blake3 import blake3

from git_lepton.codec.delta import predictable
from git_lepton.codec.frame import DELTA, PLANES, STORED, Buffer, FrameHeader, read_header
from git_lepton.codec.payload import PackedPlane, inflate, parse_payload, unpack_plane
from git_lepton.codec.planes import UNSIGNED, has_planes, width_of
from git_lepton.codec.transform import Base, holds, join
from git_lepton.errors import CorruptError, FrameError
from git_lepton.values import Hash

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
        planes = _parse_planes(header, body)
        raw = join_planes(planes, header.dtype, header.raw_length, _find_base(header, base), out)
    else:
        raw = body if header.codec == STORED else memoryview(inflate(body, header.raw_length))
        if len(raw) != header.raw_length:
            raise FrameError(f"stored chunk of {len(raw)} bytes where {header.raw_length} belong")
        if out is not None:
            raw = _copy(raw, out)
    if check and blake3(raw).hexdigest() != header.raw_hash:
        raise CorruptError(f"chunk {header.raw_hash} decodes to other bytes")
    return raw


def join_planes(
    packed: tuple[PackedPlane, ...], dtype: str, raw_length: int, base: Base | None, out: memoryview | None
) -> memoryview:
    """Expand and merge the planes of a chunk, and add them to the prediction if there is a base.

    Args:
        packed: as many planes as an element has bytes.
        dtype: the chunk's; not opaque.
        raw_length: bytes of the chunk; whole elements.
        base: what the planes are differences from, or None if they are the elements themselves.
        out: `raw_length` writable bytes to fill, or None for fresh ones.

    Raises:
        FrameError: a plane does not expand to one byte an element.
    """
    import numpy as np

    target: NDArray[np.uint8] = np.empty(raw_length, np.uint8) if out is None else np.frombuffer(out, np.uint8)
    elements: Elements = target.view(UNSIGNED[width_of(dtype)])
    join([unpack_plane(plane, elements.size) for plane in packed], elements, dtype, base)
    return target.data if out is None else out


def planes_hold(packed: tuple[PackedPlane, ...], dtype: str, raw: memoryview, base: Base | None) -> bool:
    """Whether `join_planes` would give these bytes."""
    import numpy as np

    elements: Elements = np.frombuffer(raw, UNSIGNED[width_of(dtype)])
    return holds([unpack_plane(plane, elements.size) for plane in packed], elements, dtype, base)


def _parse_planes(header: FrameHeader, body: memoryview) -> tuple[PackedPlane, ...]:
    width = width_of(header.dtype)
    if not (has_planes(header.dtype) if header.codec == PLANES else width):
        raise FrameError(f"codec {header.codec} is not for dtype {header.dtype}")
    if header.raw_length % width:
        raise FrameError(f"{header.raw_length} bytes are no whole elements of {header.dtype}")
    return parse_payload(body, width)


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
