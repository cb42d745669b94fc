"""An ONNX model without its large weights, cut in the wire format, so that none of them passes through protobuf.

The skeleton of a file is that file with the payloads of its large initializers left out. A tensor that was cut tells in
its `external_data` where its payload lies: as a reference that runtimes follow, to the very file that was cut, or as a
*mark* of ours, with a `data_location` that says nothing, so that libraries carry it along and look for no file.

Only initializers of the main graph whose payload is one run of `raw_data` of `MIN_CUT` bytes or more are cut, of types
whose values nobody reads while shapes are inferred. Anything else stays as it is: it is small, or rare.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from git_lepton.formats import protobuf
from git_lepton.formats.base import MAX_RANK
from git_lepton.formats.onnx import FORMAT
from git_lepton.formats.protobuf import Field, Reader

MIN_CUT: Final = 1 << 16
"""Bytes. onnx moves initializers of 1 KiB to other files by itself where a tool asks for that; cut ones are larger."""

MARK: Final = "lepton-offset"
"""The key of a mark; its value is the offset of the payload in the file, in decimal digits."""

_GRAPH: Final = 7  # of ModelProto
_INITIALIZER: Final = 5  # of GraphProto
_DIMS, _TYPE, _NAME, _RAW, _DOC, _EXTERNAL, _LOCATION = 1, 2, 8, 9, 12, 13, 14  # of TensorProto
_KNOWN: Final = frozenset({_DIMS, _TYPE, _NAME, _RAW, _DOC})
_SIZES: Final = {1: 4, 2: 1, 3: 1, 10: 2, 11: 8}
"""Bytes of an element, by TensorProto.DataType: floats but bfloat16, and integers of 8 bits."""

_IS_EXTERNAL: Final = bytes((_LOCATION << 3 | protobuf.VARINT, 1))

Piece = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What is left of a model.

    Attributes:
        encoded: a serialized ModelProto.
        payloads: how many bytes were left out, by their offset in the file.
    """

    encoded: bytes
    payloads: Mapping[int, int]


def cut(data: memoryview, location: str | None = None) -> Skeleton:
    """The skeleton of a model.

    Args:
        data: the file.
        location: its name, to which the tensors that were cut refer; None marks them.

    Raises:
        FormatError: the wire format is malformed.
    """
    cutter = _Cutter(data, location)
    encoded = b"".join(cutter.model())
    return Skeleton(encoded, cutter.payloads)


class _Cutter:
    """Yields the pieces of a skeleton, in the order of the file."""

    def __init__(self, data: memoryview, location: str | None) -> None:
        self._data = data
        self._location = location
        self._read = Reader(data, FORMAT)
        self.payloads: dict[int, int] = {}

    def model(self) -> Iterator[Piece]:
        at = 0
        for item in self._read.fields(0, len(self._data)):
            if item.number == _GRAPH and item.wire == protobuf.BYTES:
                yield from _message(_GRAPH, list(self._graph(item)))
            else:
                yield self._data[at : item.stop]
            at = item.stop

    def _graph(self, graph: Field) -> Iterator[Piece]:
        at = graph.start
        for item in self._read.fields(graph.start, graph.stop):
            large = item.number == _INITIALIZER and item.wire == protobuf.BYTES and item.stop - item.start >= MIN_CUT
            pieces = self._tensor(item) if large else None
            if pieces is None:
                yield self._data[at : item.stop]
            else:
                yield from _message(_INITIALIZER, pieces)
            at = item.stop

    def _tensor(self, tensor: Field) -> list[Piece] | None:
        """The fields of a tensor that is cut; None for one that is left whole."""
        dims: list[int] = []
        dtype = 0
        payloads: list[Field] = []
        kept: list[Piece] = []
        at = tensor.start
        for item in self._read.fields(tensor.start, tensor.stop):
            if item.number not in _KNOWN:
                return None
            if item.number == _DIMS:
                dims += self._read.int64s(item)
            elif item.number == _TYPE:
                dtype = self._read.int64(item)
            if item.number == _RAW:
                payloads.append(item)
            else:
                kept.append(self._data[at : item.stop])
            at = item.stop
        if dtype not in _SIZES or len(payloads) != 1 or len(dims) > MAX_RANK or min(dims, default=1) < 0:
            return None
        (payload,) = payloads
        size = payload.stop - payload.start
        if size < MIN_CUT or size != math.prod(dims) * _SIZES[dtype]:
            return None
        self.payloads[payload.start] = size
        return [*kept, *self._reference(payload.start, size)]

    def _reference(self, offset: int, size: int) -> Iterator[Piece]:
        if self._location is None:
            yield from _entry(MARK, str(offset))
            return
        for key, value in (("location", self._location), ("offset", str(offset)), ("length", str(size))):
            yield from _entry(key, value)
        yield _IS_EXTERNAL


def _entry(key: str, value: str) -> list[Piece]:
    """A StringStringEntryProto among `external_data`."""
    texts = (key.encode(), value.encode("utf-8", "surrogateescape"))
    return _message(_EXTERNAL, [piece for number, text in enumerate(texts, 1) for piece in _message(number, [text])])


def _message(number: int, pieces: list[Piece]) -> list[Piece]:
    """A field that holds a message or a text."""
    return [_varint(number << 3 | protobuf.BYTES) + _varint(sum(map(len, pieces))), *pieces]


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
