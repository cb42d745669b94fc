"""A chunk's payload in one call, where kernels are compiled: split, Huffman coded and tabled, or all of that undone.

The kernels write and read what nearly every chunk of weights becomes: planes that are stored, constant, sparse, or zstd
frames of literals only (native/literals.c). Everything else is refused, and goes plane by plane through `payload` and
`transform` instead: repeats, which zstd finds; predictions from another dtype; whatever is damaged, so that one place
says what is wrong.

A frame made here differs from the one that `payload` makes of the same chunk; both readers read both.
"""

from __future__ import annotations

from collections.abc import Callable

from git_lepton.codec.planes import is_float, width_of
from git_lepton.codec.transform import Base
from git_lepton.codec.workspace import WORKSPACE
from git_lepton.native.memory import blank
from git_lepton.native.payload import PayloadKernels, kernels


def pack(raw: memoryview, dtype: str, base: Base | None) -> memoryview | None:
    """The payload of a chunk, or of its difference from `base`; None where `payload` has to make it."""
    native, width = _for(dtype, base), width_of(dtype)
    if native is None or not raw:
        return None
    count = len(raw) // width
    scratch, room = _scratch(native, count, width), memoryview(blank(native.room(count, width)))
    size = native.pack(raw, _predicted(base, len(raw)), scratch, room, width=width, floats=is_float(dtype))
    if not size:
        return None
    return room[:size] if 2 * size > len(room) else memoryview(bytes(room[:size]))  # nobody is to keep much for little


def unpack(payload: memoryview, out: memoryview, dtype: str, base: Base | None) -> bool:
    """Fill `out` from a payload; False where `payload` has to look at it, and `out` may have anything then."""
    return _read(PayloadKernels.unpack, payload, out, dtype, base)


def unpacks_to(payload: memoryview, raw: memoryview, dtype: str, base: Base | None) -> bool:
    """Whether what `pack` made gives this chunk again."""
    return _read(PayloadKernels.unpacks_to, payload, raw, dtype, base)


def _read(kernel: Callable[..., bool], payload: memoryview, raw: memoryview, dtype: str, base: Base | None) -> bool:
    native, width = _for(dtype, base), width_of(dtype)
    if native is None:
        return False
    scratch = _scratch(native, len(raw) // width, width)
    return kernel(native, payload, _predicted(base, len(raw)), scratch, raw, width=width, floats=is_float(dtype))


def _for(dtype: str, base: Base | None) -> PayloadKernels | None:
    return kernels() if base is None or base.dtype == dtype else None


def _scratch(native: PayloadKernels, count: int, width: int) -> memoryview:
    return WORKSPACE.memory("fused", native.scratch(count, width))


def _predicted(base: Base | None, length: int) -> memoryview | None:
    """What a base of the same dtype leads one to expect: its bytes, with zeros behind its last whole element."""
    if base is None:
        return None
    known = memoryview(base.raw).cast("B")
    whole = len(known) - len(known) % width_of(base.dtype)
    if whole >= length:
        return known[:length]
    padded = WORKSPACE.memory("predicted", length)
    padded[:whole] = known[:whole]
    padded[whole:] = bytes(length - whole)
    return padded
