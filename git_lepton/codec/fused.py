"""A chunk's payload in one call, where kernels are compiled: split, Huffman coded and tabled, or all of that undone.

The kernels write and read what nearly every chunk of weights becomes: planes that are stored, constant, sparse, or zstd
frames of literals only (native/literals.c). Everything else is refused, and goes plane by plane through `payload` and
`transform` instead: repeats, which zstd finds; predictions from another dtype; whatever is damaged, so that one place
says what is wrong.

A frame made here differs from the one that `payload` makes of the same chunk; both readers read both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from git_lepton.codec.planes import is_float
from git_lepton.codec.transform import Base, whole_prediction
from git_lepton.codec.workspace import WORKSPACE
from git_lepton.native.payload import PayloadKernels, kernels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from git_lepton.codec.planes import Elements


def pack(elements: Elements, dtype: str, base: Base | None) -> bytes | None:
    """The payload of elements, or of their differences from `base`; None where `payload` has to make it."""
    native = _for(dtype, base)
    if native is None or not elements.size:
        return None
    predicted = whole_prediction(elements.size, dtype, base)
    room = WORKSPACE.array("payload", "<u1", native.room(elements.size, elements.itemsize))
    size = native.pack(elements, predicted, _scratch(native, elements), room, floats=is_float(dtype))
    return room[:size].tobytes() if size else None


def unpack(payload: memoryview, out: Elements, dtype: str, base: Base | None) -> bool:
    """Fill `out` from a payload; False where `payload` has to look at it, and `out` may have anything then."""
    native = _for(dtype, base)
    if native is None:
        return False
    predicted = whole_prediction(out.size, dtype, base)
    return native.unpack(_bytes(payload), predicted, _scratch(native, out), out, floats=is_float(dtype))


def unpacks_to(payload: bytes | memoryview, elements: Elements, dtype: str, base: Base | None) -> bool:
    """Whether what `pack` made gives these elements again."""
    native = _for(dtype, base)
    if native is None:
        return False
    predicted = whole_prediction(elements.size, dtype, base)
    scratch = _scratch(native, elements)
    return native.unpacks_to(_bytes(payload), predicted, scratch, elements, floats=is_float(dtype))


def _for(dtype: str, base: Base | None) -> PayloadKernels | None:
    return kernels() if base is None or base.dtype == dtype else None


def _scratch(native: PayloadKernels, elements: Elements) -> NDArray[np.uint8]:
    return WORKSPACE.array("fused", "<u1", native.scratch(elements.size, elements.itemsize))


def _bytes(payload: bytes | memoryview) -> NDArray[np.uint8]:
    import numpy as np

    return np.frombuffer(payload, np.uint8)
