"""Plain values that every layer shares: what a weight file is made of, and the element types.

Nothing here does I/O or imports anything outside the standard library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NewType

Hash = NewType("Hash", str)
"""A BLAKE3-256 digest as 64 lowercase hexadecimal digits."""

Oid = NewType("Oid", str)
"""A git object id as 40 (SHA-1) or 64 (SHA-256) lowercase hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class DType:
    """An element type: its width in bits and how the codec may read it.

    `kind` is "float" (sign, exponent, mantissa, in this order from the top bit), "int", "uint", "bool" or "opaque".
    """

    name: str
    bits: int
    kind: str


DTYPES: Final[dict[str, DType]] = {
    d.name: d
    for d in (
        # Names are those of the safetensors format; other formats map onto them where the bits are the same.
        DType("BOOL", 8, "bool"),
        DType("U8", 8, "uint"),
        DType("I8", 8, "int"),
        DType("U16", 16, "uint"),
        DType("I16", 16, "int"),
        DType("U32", 32, "uint"),
        DType("I32", 32, "int"),
        DType("U64", 64, "uint"),
        DType("I64", 64, "int"),
        DType("F16", 16, "float"),
        DType("BF16", 16, "float"),
        DType("F32", 32, "float"),
        DType("F64", 64, "float"),
        DType("C64", 64, "opaque"),
        DType("C128", 128, "opaque"),
        DType("F8_E4M3", 8, "float"),
        DType("F8_E5M2", 8, "float"),
        DType("F8_E8M0", 8, "opaque"),
        DType("F8_E4M3FNUZ", 8, "float"),
        DType("F8_E5M2FNUZ", 8, "float"),
        DType("F6_E2M3", 6, "opaque"),
        DType("F6_E3M2", 6, "opaque"),
        DType("F4", 4, "opaque"),
        DType("I4", 4, "opaque"),
        DType("U4", 4, "opaque"),
        DType("I2", 2, "opaque"),
        DType("U2", 2, "opaque"),
    )
}
"""Element types whose width is known. Any other dtype name (GGUF block types, packed varints) is opaque bytes."""


NUMPY: Final[Mapping[str, str]] = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "C64": "<c8",
    "C128": "<c16",
}
"""Element types that numpy has, as numpy spells them, in the byte order of weight files."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a weight file: where its bytes lie.

    Attributes:
        name: as the file spells it; bytes that are not UTF-8 are kept as lone surrogates (`surrogateescape`).
        dtype: a key of `DTYPES`, or another name of `[A-Z0-9_]+` for opaque bytes.
        shape: dimensions, outermost first; `()` for a scalar.
        start: offset of the first byte in the file.
        stop: offset after the last byte; equal to `start` for a tensor of no elements.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file of `size` bytes divides into tensors; every byte outside them is *other*.

    Attributes:
        format: the name that the manifest carries.
        size: bytes in the file.
        tensors: in file order (by `start`, then `stop`), never overlapping.
        cuts: offsets at which chunks of the other bytes had better end; hints for dedupe, never meaning.
    """

    format: str
    size: int
    tensors: tuple[Tensor, ...] = ()
    cuts: tuple[int, ...] = ()
