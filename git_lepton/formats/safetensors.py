"""Safetensors: a JSON header of names, dtypes, shapes and offsets, then the tensors without a gap.

The checks are those of the reference reader (`SafeTensors::read_metadata` and `Metadata::validate` in
safetensors/src/tensor.rs, 0.8): a file that it refuses is refused here. A few files that it accepts, against the
specification or beyond any use, are refused too, so that what a header means depends on nothing but its bytes:

- a header that does not begin with `{`, and duplicate keys (the specification forbids both; the reference takes the
  last of the duplicates);
- a tensor spelled as a list, or a dtype spelled as a map: accidents of the reference's JSON library;
- nesting deeper than a list in a tensor's entry (only unknown fields could need it);
- more tensors, longer names, higher ranks or larger dimensions than `base` allows, and headers of more than
  `MAX_PUNCTUATION` values, which would fill memory.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from git_lepton.errors import FormatError
from git_lepton.formats.base import MAX_TENSORS, build, quoted
from git_lepton.values import DTYPES, Layout, Tensor

FORMAT: Final = "safetensors"
MAX_HEADER: Final = 100_000_000  # bytes; as in the reference
MAX_PUNCTUATION: Final = 12_000_000  # commas and opening brackets of the header, which bound the JSON values in it

METADATA: Final = "__metadata__"
"""No tensor: the key of the header under which metadata stands."""

_LENGTH: Final = 8  # bytes of the header's length, little-endian
MAX_HEAD: Final = _LENGTH + MAX_HEADER
"""Bytes before the tensors."""
_OVERFLOW: Final = 1 << 64  # the reference multiplies in 64 bits
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_DTYPES: Final = {
    name: DTYPES[name].bits
    for name in (
        *("BOOL", "F4", "F6_E2M3", "F6_E3M2", "U8", "I8"),
        *("F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"),
        *("I16", "U16", "F16", "BF16", "I32", "U32", "F32", "C64", "F64", "I64", "U64"),
    )
}


def looks_like(data: memoryview) -> bool:
    """Whether the first bytes could be the length of a header, and its opening brace."""
    if len(data) < _LENGTH + 2:
        return False
    length = int.from_bytes(data[:_LENGTH], "little")
    return length <= min(MAX_HEADER, len(data) - _LENGTH) and data[_LENGTH] == ord("{")


def parse(data: memoryview) -> Layout:
    """Find the tensors of a safetensors file; see `base.Parser`.

    Raises:
        FormatError: for every file that the reference refuses, and those of the module's list.
    """
    if len(data) < _LENGTH:
        raise FormatError(FORMAT, f"{len(data)} bytes are too few for the header's length", offset=0)
    length = int.from_bytes(data[:_LENGTH], "little")
    if length > MAX_HEADER:
        raise FormatError(FORMAT, f"a header of {length} bytes is larger than {MAX_HEADER}", offset=0)
    if length > len(data) - _LENGTH:
        raise FormatError(FORMAT, f"a header of {length} bytes ends after the file", offset=0)
    base = _LENGTH + length
    tensors = [_tensor(name, info, base) for name, info in _header(bytes(data[_LENGTH:base])).items()]
    tensors.sort(key=lambda t: (t.start, t.stop))
    end = base
    for tensor in tensors:
        if tensor.start != end:
            raise FormatError(
                FORMAT, f"tensor {quoted(tensor.name)} does not begin where the one before it ends", offset=end
            )
        end = tensor.stop
    if end != len(data):
        raise FormatError(FORMAT, f"the tensors end here, and the file has {len(data)} bytes", offset=end)
    return build(FORMAT, len(data), tensors)


def read_metadata(head: bytes) -> dict[str, str]:
    """The metadata in the bytes before the tensors of a file that `parse` accepts.

    Raises:
        FormatError: it does not accept them.
    """
    return _read(head[_LENGTH:])[0]


def write_header(metadata: Mapping[str, str], tensors: Iterable[tuple[str, str, tuple[int, ...], int]]) -> bytes:
    """The bytes before the tensors of a file: `tensors` are name, dtype, shape and bytes of each, in file order.

    Raises:
        FormatError: the header is larger than readers accept, or a name is no text.
    """
    header: dict[str, object] = {METADATA: dict(metadata)} if metadata else {}
    at = 0
    for name, dtype, shape, size in tensors:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    try:
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise FormatError(FORMAT, "the header is not UTF-8", offset=_LENGTH) from error
    text += b" " * (-len(text) % _LENGTH)  # so that tensors are aligned
    if len(text) > MAX_HEADER:
        raise FormatError(FORMAT, f"a header of {len(text)} bytes is larger than {MAX_HEADER}", offset=0)
    return len(text).to_bytes(_LENGTH, "little") + text


def _header(raw: bytes) -> dict[str, Any]:
    """The header's tensors by name, in the order of the header. The values are of any JSON type."""
    return _read(raw)[1]


def _read(raw: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    """The metadata and the tensors of a header."""
    if not raw.startswith(b"{"):
        raise FormatError(FORMAT, "the header does not begin with a brace", offset=_LENGTH)
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_PUNCTUATION:
        raise FormatError(FORMAT, f"the header has more than {MAX_PUNCTUATION} values", offset=_LENGTH)
    try:
        text = raw.decode("utf-8")
        header: dict[str, Any] = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
        if _SURROGATE.search(text):
            json.dumps(header, ensure_ascii=False).encode("utf-8")  # half a pair is no character
    except UnicodeError as error:
        raise FormatError(FORMAT, "the header is not UTF-8", offset=_LENGTH) from error
    except json.JSONDecodeError as error:
        raise FormatError(FORMAT, f"the header is not JSON: {error.msg}", offset=_LENGTH + error.pos) from error
    except RecursionError as error:
        raise FormatError(FORMAT, "the header is nested too deeply", offset=_LENGTH) from error
    metadata = header.pop(METADATA, None)
    if metadata is not None and not (isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())):
        raise FormatError(FORMAT, "__metadata__ is not a map of strings to strings", offset=_LENGTH)
    if len(header) > MAX_TENSORS:
        raise FormatError(FORMAT, f"{len(header)} tensors are more than {MAX_TENSORS}", offset=_LENGTH)
    return metadata or {}, header


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise FormatError(FORMAT, f"the key {quoted(twice)} is in the header twice", offset=_LENGTH)
    return made


def _integer(text: str) -> int | float:
    """A number without point or exponent: one that is no unsigned 64-bit integer is a float, as in the reference."""
    if len(text) <= 20 and text[0] != "-":
        value = int(text)
        if value < _OVERFLOW:
            return value
    return _float(text)


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise FormatError(FORMAT, f"the number {text[:20]}… in the header is out of range", offset=_LENGTH)
    return value


def _constant(text: str) -> float:
    raise FormatError(FORMAT, f"the header holds {text}, which is not JSON", offset=_LENGTH)


def _tensor(name: str, info: object, base: int) -> Tensor:
    """Check one entry of the header; offsets in it count from `base`."""

    def refuse(reason: str) -> FormatError:
        return FormatError(FORMAT, f"tensor {quoted(name)} {reason}", offset=_LENGTH)

    if not isinstance(info, dict) or not info.keys() >= {"dtype", "shape", "data_offsets"}:
        raise refuse("lacks dtype, shape or data_offsets")
    if len(info) > 3 and any(_nested(value) for value in info.values()):
        raise refuse("has a field that is nested")
    dtype, shape, offsets = info["dtype"], info["shape"], info["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise refuse(f"has the unknown dtype {dtype!r:.40}")
    if not isinstance(shape, list) or not all(type(d) is int for d in shape):
        raise refuse("has a shape that is not a list of sizes")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(o) is int for o in offsets):
        raise refuse("has data_offsets that are not two offsets")
    if offsets[1] < offsets[0]:
        raise refuse("ends before it begins")
    bits = 1
    for factor in (*shape, _DTYPES[dtype]):
        bits *= factor
        if bits >= _OVERFLOW:
            raise refuse("has a shape whose product overflows")
    if bits % 8:
        raise refuse("does not end on a whole byte")
    if bits // 8 != offsets[1] - offsets[0]:
        raise refuse(f"has {offsets[1] - offsets[0]} bytes where its shape and dtype need {bits // 8}")
    return Tensor(name, dtype, tuple(shape), base + offsets[0], base + offsets[1])


def _nested(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict | list) for v in value))
