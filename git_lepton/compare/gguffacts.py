"""The keys of a GGUF file and their values: architecture, hyperparameters, tokenizer, quantization."""

from __future__ import annotations

import struct
from typing import Final

from git_lepton.compare.facttext import Facts, brief, digest, listed, quantity
from git_lepton.formats.gguf import ARRAY, STRING, VALUE_TYPES, key_values

_ARRAY_HEAD: Final = struct.Struct("<IQ")
_LENGTH: Final = struct.Struct("<Q")
_SPELLED: Final = 8  # elements of an array that are spelled


def read(data: memoryview) -> Facts:
    """Every key with its value as text.

    Args:
        data: the file at least up to its tensors.

    Raises:
        FormatError: the keys are malformed.
    """
    return {("metadata", brief(name)): _value(kind, value) for name, kind, value in key_values(data)}


def _value(kind: int, data: memoryview) -> str:
    if kind in VALUE_TYPES:
        return _number(kind, data)
    if kind == STRING:
        return brief(_text(data[_LENGTH.size :]))
    # `key_values` has stepped over the value, so that its type is known and nothing is cut short.
    inner, count = _ARRAY_HEAD.unpack_from(data)
    body = data[_ARRAY_HEAD.size :]
    if count > _SPELLED or inner == ARRAY:
        noun = "string" if inner == STRING else "array" if inner == ARRAY else "element"
        return f"[{quantity(count, noun)}, {digest(body)}]"
    if inner == STRING:
        return brief(listed(_strings(body, count), bytes(body)))
    width = len(body) // count if count else 0
    return listed([_number(inner, body[n * width : (n + 1) * width]) for n in range(count)], bytes(body))


def _number(kind: int, data: memoryview) -> str:
    value = struct.unpack(f"<{VALUE_TYPES[kind]}", data)[0]
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.7g}" if isinstance(value, float) and VALUE_TYPES[kind] == "f" else str(value)


def _strings(data: memoryview, count: int) -> list[str]:
    found = []
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(data)
        found.append(brief(_text(data[_LENGTH.size : _LENGTH.size + length])))
        data = data[_LENGTH.size + length :]
    return found


def _text(data: memoryview) -> str:
    return bytes(data).decode("utf-8", "surrogateescape")
