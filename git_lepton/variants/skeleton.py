"""An ONNX model without its large weights: what tools copy, infer and save is small; weights are read where they lie.

The skeleton of a file is that file with the bytes of its large initializers left out, cut in the wire format, so that
no weight passes through protobuf, which would hold each of them two or three times. A tensor that was cut (a *hollow*
one) has no payload; where that lies in the original file stands in its `external_data`, while its `data_location` says
nothing, so that libraries carry it along and neither look for a file nor write one. `Skeleton.array` maps a weight
into memory, `Skeleton.fill` puts payloads back.

Only float initializers of the main graph with one run of `raw_data` of `MIN_BYTES` or more are cut. Anything else
stays as it is: it is small, read for its values while shapes are inferred, or rare.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from git_lepton.errors import FormatError
from git_lepton.formats import protobuf
from git_lepton.formats.base import MAX_RANK
from git_lepton.formats.protobuf import Field, Reader
from git_lepton.variants import folder
from git_lepton.variants.values import Unsuitable

if TYPE_CHECKING:
    from git_lepton.variants.numerics import Array

MIN_BYTES: Final = 1 << 16
"""onnx keeps initializers of 1 KiB in other files by itself where a tool asks for that; cut ones must be larger."""

_FORMAT: Final = "onnx"
_GRAPH: Final = 7  # of ModelProto
_INITIALIZER: Final = 5  # of GraphProto
_DIMS, _TYPE, _SEGMENT, _NAME, _RAW, _DOC, _EXTERNAL = 1, 2, 3, 8, 9, 12, 13  # of TensorProto
_KEPT: Final = frozenset({_DIMS, _TYPE, _NAME, _RAW, _DOC})
_DTYPES: Final = {1: "<f4", 10: "<f2"}  # by TensorProto.DataType
_OFFSET: Final = "lepton-offset"


class Skeleton:
    """The skeleton of one file, which stays mapped into memory.

    Raises:
        Unsuitable: the file is empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._data = folder.whole(path)
        self._offsets: set[str] = set()

    def encoded(self) -> bytes:
        """The skeleton as a serialized ModelProto. Raises Unsuitable when the file is malformed."""
        try:
            return b"".join(self._model())
        except FormatError as error:
            raise Unsuitable(f"{self._path.name}: {error.message}") from error

    def model(self) -> Any:
        """The skeleton as a ModelProto; weights in other files stay there. Raises as `encoded`."""
        import onnx

        return onnx.ModelProto.FromString(self.encoded())

    def array(self, proto: Any) -> Array:
        """The numbers of a TensorProto of the skeleton: a view of the file where it is hollow."""
        import numpy as np
        from onnx import numpy_helper

        if not self.is_hollow(proto):
            whole: Array = numpy_helper.to_array(proto, str(self._path.parent))
            return whole
        offset = int(proto.external_data[0].value)
        return np.frombuffer(self._data, _DTYPES[proto.data_type], _count(proto.dims), offset).reshape(proto.dims)

    def is_hollow(self, proto: Any) -> bool:
        """Whether the payload of a TensorProto was left out here."""
        entries = proto.external_data
        return len(entries) == 1 and entries[0].key == _OFFSET and entries[0].value in self._offsets

    def fill(self, model: Any) -> None:
        """Put the payloads back into what a tool made of the skeleton, as onnx does that reads them from other files.

        Raises:
            ValueError: the tool lost where a payload lies.
        """
        from onnx import TensorProto

        for proto in model.graph.initializer:
            if self.is_hollow(proto):
                proto.raw_data = self.array(proto).tobytes()
                proto.data_location = TensorProto.DEFAULT
                del proto.external_data[:]
            elif proto.data_type in _DTYPES and _count(proto.dims) and _is_empty(proto):
                raise ValueError(f"{proto.name} lost its numbers")

    def _model(self) -> Iterator[bytes | memoryview]:
        reader = Reader(self._data, _FORMAT)
        at = 0
        for item in reader.fields(0, len(self._data)):
            if item.number == _GRAPH and item.wire == protobuf.BYTES:
                yield from _message(_GRAPH, list(self._graph(reader, item)))
            else:
                yield self._data[at : item.stop]
            at = item.stop

    def _graph(self, reader: Reader, graph: Field) -> Iterator[bytes | memoryview]:
        at = graph.start
        for item in reader.fields(graph.start, graph.stop):
            large = item.number == _INITIALIZER and item.wire == protobuf.BYTES and item.stop - item.start >= MIN_BYTES
            cut = self._cut(reader, item) if large else None
            if cut is None:
                yield self._data[at : item.stop]
            else:
                yield from _message(_INITIALIZER, cut)
            at = item.stop

    def _cut(self, reader: Reader, tensor: Field) -> list[bytes | memoryview] | None:
        """The fields of a hollow tensor; None for one that is left whole."""
        dims: list[int] = []
        dtype = 0
        payloads: list[Field] = []
        kept: list[bytes | memoryview] = []
        at = tensor.start
        for item in reader.fields(tensor.start, tensor.stop):
            if item.number not in _KEPT:
                return None
            if item.number == _DIMS:
                dims += reader.int64s(item)
            elif item.number == _TYPE:
                dtype = reader.int64(item)
            if item.number == _RAW:
                payloads.append(item)
            else:
                kept.append(self._data[at : item.stop])
            at = item.stop
        if dtype not in _DTYPES or len(payloads) != 1 or len(dims) > MAX_RANK or min(dims, default=1) < 0:
            return None
        (payload,) = payloads
        size = payload.stop - payload.start
        if size < MIN_BYTES or size != _count(dims) * int(_DTYPES[dtype][-1]):
            return None
        offset = str(payload.start)
        self._offsets.add(offset)
        entry = [*_message(1, [_OFFSET.encode()]), *_message(2, [offset.encode()])]
        return [*kept, *_message(_EXTERNAL, entry)]


def _is_empty(proto: Any) -> bool:
    return not (proto.raw_data or proto.float_data or proto.int32_data or proto.data_location)


def _count(dims: Any) -> int:
    count = 1
    for dim in dims:
        count *= dim
    return count


def _message(number: int, pieces: list[bytes | memoryview]) -> list[bytes | memoryview]:
    """A field that holds a message or a text."""
    return [_varint(number << 3 | protobuf.BYTES) + _varint(sum(map(len, pieces))), *pieces]


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
