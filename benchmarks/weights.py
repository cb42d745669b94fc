"""Safetensors files as the benchmarks need them: a header read, and files written tensor by tensor.

Written here in a few lines, and not taken from the package, so that what is measured does not make its own input.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

COPY_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Tensor:
    """A line of the header: where a tensor lies, in bytes from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def size(self) -> int:
        """Bytes of the tensor."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Layout:
    """A header: tensors in file order, metadata, and the offset of the first tensor byte."""

    tensors: tuple[Tensor, ...]
    metadata: Mapping[str, str]
    body: int


def read_layout(path: Path) -> Layout:
    """Read the header of a file that is known to be sound."""
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    metadata = header.pop("__metadata__", {})
    tensors = [Tensor(k, v["dtype"], tuple(v["shape"]), *v["data_offsets"]) for k, v in header.items()]
    return Layout(tuple(sorted(tensors, key=lambda t: t.start)), metadata, 8 + length)


def pieces(path: Path, start: int, size: int) -> Iterator[bytes]:
    """Yield `size` bytes of a file from `start`, a few megabytes at a time."""
    with path.open("rb") as stream:
        stream.seek(start)
        while size:
            piece = stream.read(min(size, COPY_BYTES))
            size -= len(piece)
            yield piece


def write(
    stream: IO[bytes],
    tensors: Iterable[tuple[str, str, tuple[int, ...], int]],
    body: Iterable[bytes],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a file of `(name, dtype, shape, bytes)` rows whose contents are `body`, one after another."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, dtype, shape, size in tensors:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    stream.write(struct.pack("<Q", len(text)) + text)
    for piece in body:
        stream.write(piece)
