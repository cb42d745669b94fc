"""ONNX: tensors located in the wire format of the protobuf, wherever a graph may hold them.

Many real models have no initializer at all: their weights are attributes of Constant nodes, often inside the branches
of If nodes, and as often in typed lists (`float_data`) as in `raw_data`. So every graph is walked: the model's own,
those in attributes, functions and training information; and every TensorProto in them, sparse ones too.

- A tensor is listed when its payload is one run of at least `MIN_PAYLOAD` bytes: `raw_data`, or one packed list.
  Smaller ones (the shapes and scalars that exporters write by the hundred) stay other bytes, and so do strings,
  unpacked lists, and payloads in several pieces. Packed integers are varints: opaque dtypes such as `I64_VARINT`.
- A name is the path of the tensor: the initializer's name, or a Constant's first output; inside a branch it is
  prefixed, as in `If_3.then_branch/weight`. Names that come again get `#2`, `#3` … in file order.
- Bytes of external tensors lie in another file; `external_references` tells where.

Message and field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from git_lepton.errors import FormatError
from git_lepton.formats import protobuf
from git_lepton.formats.base import MAX_NAME, MAX_RANK, MAX_TENSORS, MAX_TEXT, Names, build, typed
from git_lepton.formats.protobuf import Field, Reader
from git_lepton.values import Layout

FORMAT: Final = "onnx"
MIN_PAYLOAD: Final = 64  # bytes
MAX_GRAPH_DEPTH: Final = 32

DTYPES: Final[dict[int, str]] = {
    1: "F32",
    2: "U8",
    3: "I8",
    4: "U16",
    5: "I16",
    6: "I32",
    7: "I64",
    9: "BOOL",
    10: "F16",
    11: "F64",
    12: "U32",
    13: "U64",
    14: "C64",
    15: "C128",
    16: "BF16",
    17: "F8_E4M3",
    18: "F8_E4M3FNUZ",
    19: "F8_E5M2",
    20: "F8_E5M2FNUZ",
    21: "U4",
    22: "I4",
    23: "F4",
    24: "F8_E8M0",
    25: "U2",
    26: "I2",
    27: "F6_E2M3",
    28: "F6_E3M2",
}
"""TensorProto.DataType, without strings."""

# Fields of TensorProto that hold elements. Lists of float and double have the bytes of raw_data; others are varints.
_RAW_DATA: Final = 9
_FIXED_LISTS: Final = {4: frozenset({"F32", "C64"}), 10: frozenset({"F64", "C128"})}
_VARINT_LISTS: Final = frozenset({5, 7, 11})

# Fields of ModelProto, and their wire types.
_MODEL_FIELDS: Final = {
    **dict.fromkeys((1, 5), protobuf.VARINT),
    **dict.fromkeys((2, 3, 4, 6, 7, 8, 14, 20, 25, 26), protobuf.BYTES),
}
_GRAPH: Final = 7
_MAX_MODEL_FIELDS: Final = 100_000  # for detection only
_MAX_IR_VERSION: Final = 255


@dataclass(frozen=True, slots=True)
class External:
    """A tensor whose bytes lie in another file.

    Attributes:
        name, dtype, shape: as in `values.Tensor`.
        location: the other file as the model spells it; not checked, never open it as it is.
        offset: of the first byte in that file.
        length: bytes, or None when the model does not tell (then up to the end of the file).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    location: str
    offset: int
    length: int | None


@dataclass(slots=True)
class _Proto:
    """A TensorProto: `payloads` are the runs that hold elements; `scattered` when an element lies on its own."""

    path: str = ""
    name: str = ""
    dtype: str | None = None
    dims: list[int] = field(default_factory=list)
    payloads: list[Field] = field(default_factory=list)
    scattered: bool = False
    external: dict[str, str] = field(default_factory=dict)


def looks_like(data: memoryview) -> bool:
    """Whether the file is, to its last byte, a list of ModelProto's fields that begins with a version and has a graph.

    ONNX has no magic; every known writer puts the version first.
    """
    if len(data) < 4 or data[0] != 1 << 3 | protobuf.VARINT:
        return False
    reader = Reader(data, FORMAT)
    has_graph = False
    try:
        for count, item in enumerate(reader.fields(0, len(data))):
            if _MODEL_FIELDS.get(item.number) != item.wire or count > _MAX_MODEL_FIELDS:
                return False
            if count == 0 and not 1 <= reader.int64(item) <= _MAX_IR_VERSION:
                return False
            has_graph = has_graph or item.number == _GRAPH
    except FormatError:
        return False
    return has_graph


def parse(data: memoryview) -> Layout:
    """Find the tensors of an ONNX model; see `base.Parser` and the rules above.

    Raises:
        FormatError: the wire format is malformed, there is no graph, or graphs nest too deeply.
    """
    names = Names()
    tensors = []
    for proto in _Walk(data).model():
        payload = _single_payload(proto)
        if payload is not None:
            dtype = _payload_dtype(proto, payload)
            name = names.unique(proto.path)
            tensors.append(typed(name, dtype, tuple(proto.dims), payload.start, payload.stop))
    return build(FORMAT, len(data), tensors)


def external_references(data: memoryview) -> tuple[External, ...]:
    """Every tensor of a model whose bytes lie in another file, in the order of the model.

    Raises:
        FormatError: `data` is not a model that `parse` accepts, or an offset or length is not a number.
    """
    names = Names()
    return tuple(
        External(
            name=names.unique(proto.path),
            dtype=proto.dtype or "BYTES",
            shape=tuple(proto.dims),
            location=proto.external["location"],
            offset=_number(proto.external.get("offset", "0")),
            length=_number(proto.external["length"]) if "length" in proto.external else None,
        )
        for proto in _Walk(data).model()
        if "location" in proto.external
    )


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise FormatError(FORMAT, f"the external offset or length {text[:40]!r} is not a number")
    return int(text)


def _single_payload(proto: _Proto) -> Field | None:
    """The one run of bytes that holds all elements, if there is one and it is worth a line."""
    runs = [run for run in proto.payloads if run.stop > run.start]
    if len(runs) != 1 or proto.scattered or proto.dtype is None or runs[0].stop - runs[0].start < MIN_PAYLOAD:
        return None
    return runs[0]


def _payload_dtype(proto: _Proto, payload: Field) -> str:
    assert proto.dtype is not None
    if payload.number == _RAW_DATA or proto.dtype in _FIXED_LISTS.get(payload.number, ()):
        return proto.dtype
    return f"{proto.dtype}_VARINT" if payload.number in _VARINT_LISTS else f"{proto.dtype}_LIST"


class _Walk:
    """Yields every TensorProto of a model, in file order, with its path."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._read = Reader(data, FORMAT)
        self._tensors_left = MAX_TENSORS
        self._text_left = MAX_TEXT

    def model(self) -> Iterator[_Proto]:
        has_graph = False
        training = 0
        for item in self._read.fields(0, len(self._data)):
            if item.wire != protobuf.BYTES:
                continue
            if item.number == _GRAPH:
                has_graph = True
                yield from self._graph(item, "", 0)
            elif item.number == 20:
                yield from self._training(item, f"training_{training}.")
                training += 1
            elif item.number == 25:
                yield from self._function(item)
        if not has_graph:
            raise FormatError(FORMAT, "it has no graph", offset=0)

    def _training(self, message: Field, prefix: str) -> Iterator[_Proto]:
        for item in self._messages(message):
            if item.number == 1:
                yield from self._graph(item, f"{prefix}initialization/", 0)
            elif item.number == 2:
                yield from self._graph(item, f"{prefix}algorithm/", 0)

    def _function(self, message: Field) -> Iterator[_Proto]:
        items = list(self._messages(message))
        prefix = next((f"{self._read.text(i, MAX_NAME)}/" for i in items if i.number == 1), "function/")
        for index, item in enumerate(items):
            if item.number == 7:
                yield from self._node(item, prefix, index, 0)
            elif item.number == 11:
                yield from self._attribute(item, prefix, "", 0)

    def _graph(self, message: Field, prefix: str, depth: int) -> Iterator[_Proto]:
        if depth > MAX_GRAPH_DEPTH:
            raise FormatError(FORMAT, f"graphs nest deeper than {MAX_GRAPH_DEPTH}", offset=message.start)
        if len(prefix) > MAX_NAME:
            raise FormatError(FORMAT, f"the path of a graph is longer than {MAX_NAME}", offset=message.start)
        nodes = 0
        for item in self._messages(message):
            if item.number == 1:
                yield from self._node(item, prefix, nodes, depth)
                nodes += 1
            elif item.number == 5:
                proto = self._tensor(item)
                yield self._placed(proto, prefix + proto.name)
            elif item.number == 15:
                yield from self._sparse(item, prefix)

    def _node(self, message: Field, prefix: str, index: int, depth: int) -> Iterator[_Proto]:
        """Tensors in a node's attributes. The node is called by its first output, name, or operator and index."""
        texts: dict[int, str] = {}
        attributes = []
        for item in self._messages(message):
            if item.number == 5:
                attributes.append(item)
            elif item.number in (2, 3, 4) and not texts.get(item.number):
                texts[item.number] = self._read.text(item, MAX_NAME)
        label = texts.get(2) or texts.get(3) or f"{texts.get(4, '')}_{index}"
        constant = texts.get(4) == "Constant"
        for item in attributes:
            yield from self._attribute(item, prefix + label, "" if constant else ".", depth)

    def _attribute(self, message: Field, owner: str, separator: str, depth: int) -> Iterator[_Proto]:
        """Tensors and graphs of an attribute; an empty separator says that `owner` alone names the tensor."""
        items = list(self._messages(message))
        attribute = next((self._read.text(i, MAX_NAME) for i in items if i.number == 1), "")
        path = f"{owner}{separator}{attribute}" if separator or attribute not in ("value", "sparse_value") else owner
        counts: dict[int, int] = {}
        for item in items:
            position = counts[item.number] = counts.get(item.number, -1) + 1
            if item.number == 5:
                yield self._placed(self._tensor(item), path)
            elif item.number == 10:
                yield self._placed(self._tensor(item), f"{path}.{position}")
            elif item.number == 6:
                yield from self._graph(item, f"{path}/", depth + 1)
            elif item.number == 11:
                yield from self._graph(item, f"{path}.{position}/", depth + 1)
            elif item.number == 22:
                yield from self._sparse(item, path, named=False)
            elif item.number == 23:
                yield from self._sparse(item, f"{path}.{position}", named=False)

    def _sparse(self, message: Field, prefix: str, *, named: bool = True) -> Iterator[_Proto]:
        """Values and indices of a SparseTensorProto; the values carry the name of the whole."""
        protos = {item.number: self._tensor(item) for item in self._messages(message) if item.number in (1, 2)}
        name = prefix + protos[1].name if named and 1 in protos else prefix
        for number, proto in protos.items():
            yield self._placed(proto, name if number == 1 else f"{name}.indices")

    def _placed(self, proto: _Proto, path: str) -> _Proto:
        proto.path = path
        self._tensors_left -= 1
        self._text_left -= len(path)
        if self._tensors_left < 0 or self._text_left < 0:
            raise FormatError(FORMAT, f"more than {MAX_TENSORS} tensors, or too long names")
        return proto

    def _tensor(self, message: Field) -> _Proto:
        proto = _Proto()
        for item in self._read.fields(message.start, message.stop):
            number, run = item.number, item.wire == protobuf.BYTES
            if number == 1:
                for dim in self._read.int64s(item):
                    if len(proto.dims) <= MAX_RANK:  # one more than is allowed, so that `typed` sees that it is
                        proto.dims.append(dim)
            elif number == 2 and item.wire == protobuf.VARINT:
                proto.dtype = DTYPES.get(self._read.int64(item))
            elif number == 8 and run:
                proto.name = self._read.text(item, MAX_NAME)
            elif number == _RAW_DATA or number in _FIXED_LISTS or number in _VARINT_LISTS:
                proto.payloads.append(item)
                proto.scattered = proto.scattered or not run
            elif number == 13 and run:
                proto.external.update([self._entry(item)])
        return proto

    def _entry(self, message: Field) -> tuple[str, str]:
        """Key and value of a StringStringEntryProto."""
        texts = {i.number: self._read.text(i, MAX_NAME) for i in self._messages(message) if i.number in (1, 2)}
        return texts.get(1, ""), texts.get(2, "")

    def _messages(self, message: Field) -> Iterator[Field]:
        """The fields of a message that may be messages or texts themselves."""
        return (f for f in self._read.fields(message.start, message.stop) if f.wire == protobuf.BYTES)
