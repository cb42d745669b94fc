"""What an ONNX graph tells beside its weights: operators, named nodes, inputs, outputs, versions, small constants.

The protobuf is read field by field, as the parser of tensors does; a weight cut out of it is never looked at. Nodes of
graphs inside nodes (the branches of an If) and of functions count with the others and carry the path to them.

Exporters number tensors anew at every turn, so the names that connect nodes are no facts. How nodes are connected is
told by one hash over the graph with a label for each tensor: weights are called by their type and shape, and which of
those they are; all others by the order of their use. It is the same for two graphs that differ in names only.

Message and field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterator
from typing import Final

from blake3 import blake3

from git_lepton.compare.facttext import Facts, brief, digest, listed, quantity
from git_lepton.errors import FormatError
from git_lepton.formats import protobuf
from git_lepton.formats.base import MAX_NAME
from git_lepton.formats.onnx import DTYPES, FORMAT, MAX_GRAPH_DEPTH, MIN_PAYLOAD
from git_lepton.formats.protobuf import Field, Reader

WIRING: Final = "connections"
"""The topic of the hash over all connections."""

_MAX_TEXT: Final = 1 << 20  # bytes of a documentation or metadata text
_PRODUCER: Final = {1: ("ir", "version"), 5: ("producer", "model version")}
_PRODUCER_TEXTS: Final = {2: "name", 3: "version", 4: "domain"}
_STRUCTS: Final = {"F32": "f", "F64": "d", "I32": "i", "I64": "q", "U8": "B", "I8": "b", "BOOL": "?"}
_LISTS: Final = {4: "f", 10: "d"}
_VARINT_LISTS: Final = frozenset({5, 7, 11})
_UNKNOWN: Final = re.compile(r"unk__[0-9]+")  # what tf2onnx calls a dimension without a name; it numbers them anew
_CONTAINERS: Final = {4: "sequence", 5: "map", 8: "sparse", 9: "optional", 7: "opaque"}


def read(data: memoryview) -> Facts:
    """All facts of a model.

    Args:
        data: the whole file; the bytes of its tensors may be anything.

    Raises:
        FormatError: it is malformed.
    """
    return _Model(data).facts()


class _Model:
    """Walks one model and gathers its facts."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._read = Reader(data, FORMAT)
        self._operators: Counter[str] = Counter()
        self._nodes: Facts = {}
        self._constants: Facts = {}
        self._external: dict[str, list[str]] = {}
        self._wiring = blake3()

    def facts(self) -> Facts:
        head: Facts = {}
        ports: Facts = {}
        for item in self._read.fields(0, len(self._data)):
            if item.wire == protobuf.VARINT and item.number in _PRODUCER:
                head[_PRODUCER[item.number]] = str(self._read.int64(item))
            elif item.wire != protobuf.BYTES:
                continue
            elif item.number in _PRODUCER_TEXTS:
                head["producer", _PRODUCER_TEXTS[item.number]] = self._text(item)
            elif item.number == 7:
                ports.update(self._ports(item))
                self._graph(item, "", 0)
            elif item.number == 8:
                domain, version = self._opset(item)
                head["opset", domain] = version
            elif item.number == 14:
                key, value = self._entry(item)
                head["metadata", key] = value
            elif item.number == 25:
                self._function(item)
        counts: Facts = {("nodes", name): str(count) for name, count in sorted(self._operators.items())}
        wiring: Facts = {(WIRING, ""): f"#{self._wiring.hexdigest()[:8]}"}
        external: Facts = {
            ("external", place): f"{quantity(len(kinds), 'tensor')} {digest('; '.join(sorted(kinds)).encode())}"
            for place, kinds in self._external.items()
        }
        return head | ports | counts | self._nodes | self._constants | external | wiring

    def _opset(self, message: Field) -> tuple[str, str]:
        domain, version = "", "0"
        for item in self._fields(message):
            if item.number == 1 and item.wire == protobuf.BYTES:
                domain = self._text(item)
            elif item.number == 2 and item.wire == protobuf.VARINT:
                version = str(self._read.int64(item))
        return domain or "ai.onnx", version

    def _ports(self, graph: Field) -> Facts:
        """Inputs and outputs of the model; a weight that old versions list as an input too is none."""
        found: Facts = {}
        weights = set()
        for item in self._messages(graph):
            if item.number in (11, 12):
                name, kind = self._value_info(item)
                found["inputs" if item.number == 11 else "outputs", name] = kind
            elif item.number == 5:
                weights.add(next((self._text(i) for i in self._messages(item) if i.number == 8), ""))
        return {key: kind for key, kind in found.items() if key[0] == "outputs" or key[1] not in weights}

    def _value_info(self, message: Field) -> tuple[str, str]:
        name, kind = "", "?"
        for item in self._messages(message):
            if item.number == 1:
                name = self._text(item)
            elif item.number == 2:
                kind = next((self._type(i) for i in self._messages(item)), "?")
        return name, kind

    def _type(self, message: Field) -> str:
        """One alternative of a TypeProto; `F32[1, n, 64]` for a dense tensor."""
        if message.number != 1:
            return _CONTAINERS.get(message.number, "?")
        element, shape = "?", ""
        for item in self._fields(message):
            if item.number == 1 and item.wire == protobuf.VARINT:
                number = self._read.int64(item)
                element = "STRING" if number == 8 else DTYPES.get(number, f"type {number}")
            elif item.number == 2 and item.wire == protobuf.BYTES:
                shape = f"[{', '.join(self._dimension(d) for d in self._messages(item) if d.number == 1)}]"
        return brief(element + shape)

    def _dimension(self, message: Field) -> str:
        for item in self._fields(message):
            if item.number == 1 and item.wire == protobuf.VARINT:
                return str(self._read.int64(item))
            if item.number == 2 and item.wire == protobuf.BYTES:
                return _UNKNOWN.sub("?", self._text(item))
        return "?"

    def _function(self, message: Field) -> None:
        items = list(self._messages(message))
        name = next((self._text(item) for item in items if item.number == 1), "function")
        labels: dict[str, str] = {}
        for item in items:
            if item.number == 7:
                self._node(item, f"{name}/", labels, 0)

    def _graph(self, message: Field, prefix: str, depth: int, outer: dict[str, str] | None = None) -> None:
        """Nodes and small initializers; `outer` has the labels of the graph around this one."""
        if depth > MAX_GRAPH_DEPTH or len(prefix) > MAX_NAME:
            raise FormatError(FORMAT, f"graphs nest deeper than {MAX_GRAPH_DEPTH}", offset=message.start)
        items = list(self._messages(message))
        labels = dict(outer or {})
        outputs = []
        seen: Counter[str] = Counter()
        for item in items:
            if item.number == 5:
                name, text, topic = self._tensor(item)
                if topic == "constants":
                    self._constants[topic, brief(prefix + name)] = text
                else:
                    seen[text] += 1
                    labels[name] = f"{text} {seen[text]}"
        for item in items:
            if item.number == 1:
                self._node(item, prefix, labels, depth)
            elif item.number == 12:
                outputs.append(self._value_info(item)[0])
        self._connect("outputs", [], outputs, labels)

    def _node(self, message: Field, prefix: str, labels: dict[str, str], depth: int) -> None:
        texts: dict[int, str] = {}
        inputs, outputs, attributes = [], [], []
        for item in self._messages(message):
            if item.number == 1:
                inputs.append(self._text(item))
            elif item.number == 2:
                outputs.append(self._text(item))
            elif item.number == 5:
                attributes.append(item)
            elif item.number in (3, 4, 7):
                texts[item.number] = self._text(item)
        domain = texts.get(7, "")
        operator = texts.get(4, "?") if domain in ("", "ai.onnx") else f"{domain}.{texts.get(4, '?')}"
        self._operators[operator] += 1
        self._connect(operator, inputs, outputs, labels)
        path = prefix + (texts.get(3) or f"{operator}_{self._operators[operator]}")
        place = prefix + outputs[0] if outputs else path  # as names of tensors in the manifest begin
        told = [self._attribute(item, place, labels, depth) for item in attributes]
        settings = [(name, value) for name, value in sorted(told) if value]
        if operator != "Constant":
            text = ", ".join(f"{name}={value}" for name, value in settings)
            self._nodes["node", brief(path)] = brief(f"{operator} {text}".rstrip())
        elif settings:
            self._constants["constants", brief(place)] = brief(", ".join(value for _, value in settings))

    def _connect(self, operator: str, inputs: list[str], outputs: list[str], labels: dict[str, str]) -> None:
        """Note in the hash what a node takes and gives."""
        used = [labels.setdefault(name, f"#{len(labels)}") for name in inputs]
        made = [labels.setdefault(name, f"#{len(labels)}") for name in outputs]
        self._wiring.update(f"{operator} {used} {made}\n".encode("utf-8", "surrogateescape"))

    def _attribute(self, message: Field, path: str, labels: dict[str, str], depth: int) -> tuple[str, str]:
        """Name and value of an attribute; graphs in it are walked, and have no value."""
        name, value = "", ""
        lists: dict[int, list[Field]] = {}
        for item in self._fields(message):
            if item.number == 1 and item.wire == protobuf.BYTES:
                name = self._text(item)
            else:
                lists.setdefault(item.number, []).append(item)
        for number, items in sorted(lists.items()):
            if number in (6, 11):
                for position, item in enumerate(i for i in items if i.wire == protobuf.BYTES):
                    suffix = f".{position}" if number == 11 else ""
                    self._graph(item, f"{path}.{name}{suffix}/", depth + 1, labels)
            elif number not in (13, 20):  # documentation, and the type, which the field tells as well
                value = self._value(number, items)
        return name, value

    def _value(self, number: int, items: list[Field]) -> str:
        raw = b"".join(self._bytes(item) for item in items if number not in (5, 10, 22, 23))
        if number in (2, 7):
            return self._numbers(raw, "f", number == 2)
        if number in (3, 8):
            values = [value for item in items for value in self._read.int64s(item)]
            return str(values[-1]) if number == 3 and values else listed(values, raw)
        if number in (4, 9):
            texts = [brief(self._bytes(item).decode("utf-8", "surrogateescape")) for item in items]
            return texts[-1] if number == 4 else listed(texts, raw)
        if number in (5, 10):
            tensors = [self._tensor(item) for item in items if item.wire == protobuf.BYTES]
            return ", ".join(text for _, text, topic in tensors if topic)
        return digest(raw)

    def _tensor(self, message: Field) -> tuple[str, str, str]:
        """Name and text of a TensorProto, and the topic that tells it: "" for weights, here or in another file."""
        name, dtype = "", "?"
        dims: list[int] = []
        payloads: list[Field] = []
        for item in self._fields(message):
            if item.number == 1:
                dims += self._read.int64s(item)
            elif item.number == 2 and item.wire == protobuf.VARINT:
                dtype = DTYPES.get(self._read.int64(item), "STRING")
            elif item.number == 8 and item.wire == protobuf.BYTES:
                name = self._text(item)
            elif item.number in (4, 5, 6, 7, 9, 10, 11, 13):
                payloads.append(item)
        kind = f"{dtype}[{', '.join(map(str, dims[:8]))}]"
        outside = [self._entry(item) for item in payloads if item.number == 13 and item.wire == protobuf.BYTES]
        if outside:
            self._external.setdefault(dict(outside).get("location", "?"), []).append(kind)
            return name, kind, ""
        if len(payloads) == 1 and payloads[0].stop - payloads[0].start >= MIN_PAYLOAD and payloads[0].number != 6:
            return name, kind, ""
        raw = b"".join(self._bytes(item) for item in payloads)
        return name, f"{kind} {self._elements(dtype, payloads, raw)}".rstrip(), "constants"

    def _elements(self, dtype: str, payloads: list[Field], raw: bytes) -> str:
        number = payloads[0].number if payloads else 0
        if number in _VARINT_LISTS:
            return listed([value for item in payloads for value in self._read.int64s(item)], raw)
        letter = _LISTS.get(number) or (_STRUCTS.get(dtype) if number == 9 else None)
        return self._numbers(raw, letter, False) if letter else digest(raw) if raw else ""

    def _numbers(self, raw: bytes, letter: str, single: bool) -> str:
        if len(raw) % struct.calcsize(f"<{letter}"):
            return digest(raw)
        values = [value for (value,) in struct.iter_unpack(f"<{letter}", raw)]
        texts = [f"{v:.7g}" if isinstance(v, float) else str(v).lower() for v in values]
        return texts[-1] if single and texts else listed(texts, raw)

    def _entry(self, message: Field) -> tuple[str, str]:
        texts = {item.number: self._text(item) for item in self._messages(message) if item.number in (1, 2)}
        return texts.get(1, ""), texts.get(2, "")

    def _text(self, item: Field) -> str:
        return brief(self._read.text(item, _MAX_TEXT))

    def _bytes(self, item: Field) -> bytes:
        return bytes(self._data[item.start : item.stop])

    def _fields(self, message: Field) -> Iterator[Field]:
        return self._read.fields(message.start, message.stop)

    def _messages(self, message: Field) -> Iterator[Field]:
        """The fields of a message that may be messages or texts themselves."""
        return (item for item in self._fields(message) if item.wire == protobuf.BYTES)
