"""GGUF, versions 2 and 3, little-endian: keys and values, a table of tensors, then the aligned data.

The layout is that of ggml's docs/gguf.md; every number is little-endian. Block-quantised types are opaque dtypes named
as ggml names them (`Q4_K`), sized by the table below. Padding, keys and the table are other bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Final

from git_lepton.errors import FormatError
from git_lepton.formats.base import MAX_DIMENSION, MAX_NAME, MAX_TENSORS, build, quoted
from git_lepton.values import Layout, Tensor

FORMAT: Final = "gguf"
MAGIC: Final = b"GGUF"
MAX_KEYS: Final = 1 << 16
MAX_ELEMENTS: Final = 1 << 23  # strings and arrays inside arrays, over the whole file: each has to be walked
MAX_NESTING: Final = 8
MAX_DIMENSIONS: Final = 8  # ggml itself stops at 4

BLOCKS: Final[dict[int, tuple[str, int, int]]] = {
    # ggml type: name, elements in a block, bytes of a block
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}
"""The types of ggml.h; tests compare them with the `gguf` package."""

VALUE_TYPES: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Scalar types of values by number, as `struct` spells them; little-endian."""
STRING: Final = 8
ARRAY: Final = 9

_SCALAR_SIZES: Final = {kind: struct.calcsize(f"<{letter}") for kind, letter in VALUE_TYPES.items()}
_UINT32: Final = 4
_ALIGNMENT_KEY: Final = b"general.alignment"
_DEFAULT_ALIGNMENT: Final = 32


def looks_like(data: memoryview) -> bool:
    """Whether the file begins with GGUF's magic."""
    return bytes(data[:4]) == MAGIC


def parse(data: memoryview) -> Layout:
    """Find the tensors of a GGUF file; see `base.Parser`. Shapes are reversed: ggml tells the innermost size first.

    Raises:
        FormatError: the file is malformed, of another version, big-endian, or has a tensor of an unknown type.
    """
    reader, tensor_count, key_count = _read_head(data)
    alignment = _read_keys(reader, key_count)
    infos = [_read_info(reader) for _ in range(tensor_count)]
    base = (reader.at + alignment - 1) // alignment * alignment
    for name, _, _, offset, _ in infos:
        if offset % alignment:
            raise FormatError(
                FORMAT, f"tensor {quoted(name)} is not aligned to {alignment} bytes", offset=base + offset
            )
    tensors = (Tensor(name, dtype, shape, base + at, base + at + size) for name, dtype, shape, at, size in infos)
    return build(FORMAT, len(data), tensors)


def key_values(data: memoryview) -> Iterator[tuple[str, int, memoryview]]:
    """The keys before the tensors: name, type of the value (`VALUE_TYPES`), and its bytes.

    Raises:
        FormatError: the file is malformed there.
    """
    reader, _, key_count = _read_head(data)
    for _ in range(key_count):
        name = reader.name().decode("utf-8", "surrogateescape")
        kind, at = reader.uint32(), reader.at
        reader.skip_value(kind)
        yield name, kind, data[at : reader.at]


def _read_head(data: memoryview) -> tuple[_Reader, int, int]:
    """A reader behind the head of the file, and how many tensors and keys there are."""
    reader = _Reader(data)
    if bytes(reader.take(4)) != MAGIC:
        raise FormatError(FORMAT, "the magic is not GGUF", offset=0)
    version = reader.uint32()
    if version in (2 << 24, 3 << 24):
        raise FormatError(FORMAT, "it is big-endian", offset=4)
    if version not in (2, 3):
        raise FormatError(FORMAT, f"version {version} is not known", offset=4)
    tensor_count, key_count = reader.uint64(), reader.uint64()
    if tensor_count > MAX_TENSORS or key_count > MAX_KEYS:
        raise FormatError(FORMAT, f"{tensor_count} tensors and {key_count} keys are too many", offset=8)
    return reader, tensor_count, key_count


class _Reader:
    """A cursor over the header that never leaves the file."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0
        self._elements = MAX_ELEMENTS

    def take(self, size: int) -> memoryview:
        start = self.at
        if size > len(self.data) - start:
            raise FormatError(FORMAT, f"{size} bytes are needed and the file ends", offset=start)
        self.at += size
        return self.data[start : self.at]

    def uint32(self) -> int:
        return int(struct.unpack("<I", self.take(4))[0])

    def uint64(self) -> int:
        return int(struct.unpack("<Q", self.take(8))[0])

    def name(self) -> bytes:
        length = self.uint64()
        if length > MAX_NAME:
            raise FormatError(FORMAT, f"a name of {length} bytes is longer than {MAX_NAME}", offset=self.at - 8)
        return bytes(self.take(length))

    def skip_value(self, kind: int, depth: int = 0) -> None:
        """Step over a value of a key; arrays of scalars in one step."""
        if kind in _SCALAR_SIZES:
            self.take(_SCALAR_SIZES[kind])
        elif kind == STRING:
            self.take(self.uint64())
        elif kind == ARRAY:
            self._skip_array(depth + 1)
        else:
            raise FormatError(FORMAT, f"value type {kind} is not known", offset=self.at)

    def _skip_array(self, depth: int) -> None:
        kind, count = self.uint32(), self.uint64()
        if kind in _SCALAR_SIZES:
            self.take(count * _SCALAR_SIZES[kind])
            return
        self._elements -= count
        if self._elements < 0 or depth > MAX_NESTING:
            raise FormatError(FORMAT, f"an array of {count} elements is too large or too deep", offset=self.at - 12)
        for _ in range(count):
            self.skip_value(kind, depth)


def _read_keys(reader: _Reader, count: int) -> int:
    """Step over all keys and return the alignment of the data in bytes."""
    alignment = _DEFAULT_ALIGNMENT
    keys: set[bytes] = set()
    for _ in range(count):
        at = reader.at
        key = reader.name()
        if key in keys:
            raise FormatError(FORMAT, f"the key {key[:100]!r} is there twice", offset=at)
        keys.add(key)
        kind = reader.uint32()
        if key != _ALIGNMENT_KEY:
            reader.skip_value(kind)
            continue
        if kind != _UINT32:
            raise FormatError(FORMAT, "general.alignment is not a uint32", offset=at)
        alignment = reader.uint32()
        if alignment.bit_count() != 1:
            raise FormatError(FORMAT, f"general.alignment {alignment} is not a power of two", offset=at)
    return alignment


def _read_info(reader: _Reader) -> tuple[str, str, tuple[int, ...], int, int]:
    """One row of the table: name, dtype, shape, offset in the data, size in bytes."""
    at = reader.at
    name = reader.name().decode("utf-8", "surrogateescape")
    rank = reader.uint32()
    if rank > MAX_DIMENSIONS:
        raise FormatError(FORMAT, f"tensor {quoted(name)} has {rank} dimensions", offset=at)
    dims = [reader.uint64() for _ in range(rank)]
    kind, offset = reader.uint32(), reader.uint64()
    if kind not in BLOCKS:
        raise FormatError(FORMAT, f"tensor {quoted(name)} has the unknown type {kind}", offset=at)
    dtype, block, block_bytes = BLOCKS[kind]
    elements = math.prod(dims)
    if elements > MAX_DIMENSION or offset > MAX_DIMENSION:
        raise FormatError(FORMAT, f"tensor {quoted(name)} has an impossible size or offset", offset=at)
    if (dims[0] if dims else 1) % block:
        raise FormatError(FORMAT, f"tensor {quoted(name)} does not divide into blocks of {block} elements", offset=at)
    return name, dtype, tuple(reversed(dims)), offset, elements // block * block_bytes
