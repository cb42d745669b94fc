"""A weight file in memory, which counts what is read of it; and the numbers of two such files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from blake3 import blake3

from git_lepton.codec import chunk_lengths
from git_lepton.compare.numbers import NumberOptions, measure
from git_lepton.compare.sides import FileSide, Piece, Side
from git_lepton.compare.values import Comparison, FileChange, Numbers, TensorChange, TensorRef
from git_lepton.progress import Silent
from git_lepton.store.manifest import Manifest, TensorLine
from git_lepton.values import DTYPES, Hash

PLAIN: Final = NumberOptions(rank=False)


def digest(raw: bytes) -> Hash:
    return Hash(blake3(raw).hexdigest())


@dataclass
class MemoryFile:
    """A `FileSide`. `cut` is the length of every piece, 0 for the store's cuts; `hashed`: pieces have hashes."""

    tensors: dict[str, tuple[str, tuple[int, ...], bytes]]
    path: str = "model.safetensors"
    cut: int = 0
    hashed: bool = True
    reads: list[tuple[str, int]] = field(default_factory=list)

    @property
    def manifest(self) -> Manifest:
        size = sum(len(raw) for _, _, raw in self.tensors.values())
        whole = digest(b"".join(raw for _, _, raw in self.tensors.values()))
        return Manifest("safetensors", size, whole, digest(b""), 0, tuple(map(self.line, self.tensors)))

    def line(self, name: str) -> TensorLine:
        dtype, shape, raw = self.tensors[name]
        return TensorLine(dtype, shape, digest(raw), name)

    def other(self) -> bytes:
        return b""

    def extents(self) -> Sequence[tuple[int, int]]:
        return ()

    def pieces(self, line: TensorLine) -> Sequence[Piece]:
        raw = self.tensors[line.name][2]
        whole, rest = divmod(len(raw), self.cut) if self.cut else (0, 0)
        lengths = (self.cut,) * whole + (rest,) * bool(rest) if self.cut else chunk_lengths(line.dtype, len(raw))
        found, at = [], 0
        for number, length in enumerate(lengths):
            known = digest(raw[at : at + length]) if self.hashed else None
            found.append(Piece(at, at + length, known, number))
            at += length
        return found

    def read(self, line: TensorLine, piece: Piece) -> bytes:
        self.reads.append((line.name, piece.number))
        return self.tensors[line.name][2][piece.start : piece.stop]


def one(
    dtype: str, raw: bytes, shape: tuple[int, ...] | None = None, *, cut: int = 0, hashed: bool = True
) -> MemoryFile:
    """A file of one tensor "t"; its shape is flat unless told."""
    if shape is None:
        shape = (len(raw) * 8 // DTYPES[dtype].bits,)
    assert dtype not in DTYPES or (math.prod(shape) * DTYPES[dtype].bits + 7) // 8 == len(raw)
    return MemoryFile({"t": (dtype, shape, raw)}, cut=cut, hashed=hashed)


def ref(file: FileSide, name: str) -> TensorRef:
    """A tensor as a comparison names it."""
    line = next(line for line in file.manifest.tensors if line.name == name)
    return TensorRef(file.path, name, line.dtype, line.shape, line.hash)


def compared(*changes: TensorChange) -> Comparison:
    """What a comparison of two files says of their tensors, without numbers."""
    file = FileChange("changed", "model", "model", "safetensors", "safetensors", 0, 0, changes)
    return Comparison("a", "b", (file,), 0, numbers=False, sampled=False, summary="")


def numbers(before: FileSide, after: FileSide, options: NumberOptions = PLAIN) -> tuple[Numbers | None, str]:
    """The numbers of the tensor "t" of two files, and what is said of them."""
    change = TensorChange("changed", ref(before, "t"), ref(after, "t"))
    found = measure(compared(change), Side("a", {"": before}), Side("b", {"": after}), options, Silent())
    tensor = found.files[0].tensors[0]
    return tensor.numbers, tensor.note
