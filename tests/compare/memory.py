"""A weight file in memory, which counts what is read of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from blake3 import blake3

from git_lepton.codec import chunk_lengths
from git_lepton.compare.sides import Piece
from git_lepton.store.manifest import Manifest, TensorLine
from git_lepton.values import DTYPES, Hash


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
