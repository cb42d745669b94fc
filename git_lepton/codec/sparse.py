"""Planes that are half full of one byte: where the other bytes are, and what they are.

The bitmap has a bit for each byte of the plane, lowest first; bits behind the end are 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from git_lepton.codec.workspace import WORKSPACE
from git_lepton.errors import FrameError
from git_lepton.native.planes import kernels

if TYPE_CHECKING:
    from git_lepton.codec.planes import Plane


def gather(plane: Plane, common: int) -> tuple[Plane, Plane]:
    """The bitmap of the bytes that are not `common`, and those bytes; both may be scratch."""
    import numpy as np

    native = kernels()
    if native is None:
        others = np.not_equal(plane, common, out=WORKSPACE.array("others", "?", plane.size))
        return np.packbits(others, bitorder="little"), plane[np.flatnonzero(others)]
    bitmap = WORKSPACE.array("bitmap", "<u1", -(-plane.size // 8))
    rest = WORKSPACE.array("rest", "<u1", plane.size)
    return bitmap, rest[: native.sparse_split(plane, common, bitmap, rest)]


def spread(bitmap: Plane, expand: Callable[[int], Plane], common: int, count: int) -> Plane:
    """A plane of `count` bytes from `bitmap`, of an eighth as many; `expand` gives the other bytes when told how many.

    Raises:
        FrameError: the bitmap goes on behind the end, or what `expand` raises.
    """
    import numpy as np

    native = kernels()
    if count % 8 and bitmap[-1] >> count % 8:
        raise FrameError("a sparse plane's bitmap goes on behind its end")
    if native is None:
        others = np.flatnonzero(np.unpackbits(bitmap, bitorder="little").view(np.bool_))
        plane = np.full(count, common, np.uint8)
        plane[others] = expand(others.size)
        return plane
    bitmap = np.ascontiguousarray(bitmap)
    rest = np.ascontiguousarray(expand(native.ones(bitmap)))
    plane = np.empty(count, np.uint8)
    native.sparse_join(bitmap, rest, common, plane)
    return plane
