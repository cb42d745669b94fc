"""Values of frozen dataclasses as plain tables of strings, numbers, truth values and lists, and strictly back.

One rule for all our committed and cached texts (records in TOML, verdicts and caches in JSON), and for what the gate
and its child tell each other: a field that has its default is left out, a tuple becomes a list, a mapping with text
keys a table, a path its text. Where a field may be one of several dataclasses, their keys tell which. Reading is total:
an unknown key, a missing one, another type, or text that is no hash is an error that names the place.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
from collections.abc import Hashable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from git_lepton.errors import FrameError
from git_lepton.record import bundle
from git_lepton.record.bundle import BundleFile
from git_lepton.values import Hash, Oid

T = TypeVar("T")

_HEX64: Final = re.compile(r"[0-9a-f]{64}")
_OID: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
MAX_ITEMS: Final = 100_000
"""Items of one list or table."""


def to_plain(value: object) -> dict[str, Any]:
    """The fields of a dataclass as a table, in their order, without those that have their default."""
    assert dataclasses.is_dataclass(value)
    table = {}
    for field in dataclasses.fields(value):
        held = getattr(value, field.name)
        if not _is_default(field, held):
            table[field.name] = _plain(held)
    return table


def from_plain(cls: type[T], table: object, where: str = "") -> T:
    """Make a `cls` of a table.

    Args:
        cls: a dataclass of strings, numbers, hashes, literals, tuples, mappings and further dataclasses.
        table: what a TOML or JSON parser read.
        where: the table's name, for messages.

    Raises:
        FrameError: naming the key that is wrong; nothing else for any table.
    """
    if not isinstance(table, dict):
        raise FrameError(f"{where or 'the document'} is no table")
    hints = _hints(cast("Hashable", cls))
    fields = {field.name: field for field in dataclasses.fields(cast("Any", cls))}
    for key in table:
        if key not in fields:
            raise FrameError(f"unknown key {_name(where, str(key))}")
    values = {}
    for name, field in fields.items():
        if name in table:
            values[name] = _value(hints[name], table[name], _name(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise FrameError(f"{_name(where, name)} is missing")
    return cls(**values)


def from_json(cls: type[T], data: bytes, noun: str, *, schema: str, limit: int) -> T:
    """Read a JSON document of at most `limit` bytes whose table also says its `schema`.

    Raises:
        FrameError: calling the document by its noun ("a verdict"); nothing else for any input.
    """
    if len(data) > limit:
        raise FrameError(f"{noun} of {len(data)} bytes is larger than {limit} allows")
    try:
        table = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FrameError(f"{noun} is not JSON") from error
    if not isinstance(table, dict) or table.pop("schema", None) != schema:
        raise FrameError(f"not {noun} of the schema {schema}")
    return from_plain(cls, table)


@cache
def _hints(cls: Hashable) -> dict[str, Any]:
    return get_type_hints(cls)


def _is_default(field: dataclasses.Field[Any], held: object) -> bool:
    if field.default is not dataclasses.MISSING:
        return bool(held == field.default)
    return field.default_factory is not dataclasses.MISSING and bool(held == field.default_factory())


def _plain(value: object) -> object:
    if isinstance(value, BundleFile):
        return value.line()
    if dataclasses.is_dataclass(value):
        return to_plain(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in sorted(value)}
    return str(value) if isinstance(value, Path) else value


def _name(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _value(hint: Any, value: object, where: str) -> object:
    origin = get_origin(hint)
    if origin in {Union, types.UnionType}:
        return _one_of(get_args(hint), value, where)
    if hint is Hash:
        if not isinstance(value, str) or not _HEX64.fullmatch(value):
            raise FrameError(f"{where} is no BLAKE3 hash")
        return Hash(value)
    if hint is Oid:
        if not isinstance(value, str) or not _OID.fullmatch(value):
            raise FrameError(f"{where} is no object id")
        return Oid(value)
    if hint is Path:
        return Path(_of(str, value, where))
    if hint is BundleFile:
        return bundle.parse_line(_of(str, value, where))
    if origin is Literal:
        if value not in get_args(hint):
            raise FrameError(f"{where} is none of {', '.join(map(repr, get_args(hint)))}")
        return value
    if origin is tuple:
        items = _sized(_of(list, value, where), where)
        return tuple(_value(get_args(hint)[0], item, f"{where}[{n}]") for n, item in enumerate(items))
    if origin is not None and issubclass(origin, Mapping):
        table = _sized(_of(dict, value, where), where)
        return {key: _value(get_args(hint)[1], item, _name(where, key)) for key, item in table.items()}
    if dataclasses.is_dataclass(hint):
        return from_plain(cast("type[Any]", hint), value, where)
    return _of(hint, value, where)


def _one_of(hints: tuple[Any, ...], value: object, where: str) -> object:
    if value is None and type(None) in hints:
        return None
    *others, last = (hint for hint in hints if hint is not type(None))
    for hint in others:
        with suppress(FrameError):
            return _value(hint, value, where)
    return _value(last, value, where)


def _of(kind: type[T], value: object, where: str) -> T:
    # bool is an int to Python, and a float may have been written without a point.
    if kind is float and type(value) is int:
        value = float(value) if abs(value) < 1 << 53 else None
    if type(value) is not kind:
        raise FrameError(f"{where} is not {_KINDS.get(kind, kind.__name__)}")
    return value


def _sized(items: Any, where: str) -> Any:
    if len(items) > MAX_ITEMS:
        raise FrameError(f"{where} has more than {MAX_ITEMS} items")
    return items


_KINDS: Final[dict[type[Any], str]] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}
