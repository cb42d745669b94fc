"""Frozen dataclasses to JSON values and back, by their annotations: how the gate and its child process talk.

The child runs code of the repository, so nothing is unpickled: what comes back is checked against the types as it is
rebuilt.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from git_lepton.errors import FormatError

T = TypeVar("T")


def dump(value: object) -> Any:
    """Return `value` (a dataclass, or a plain value) as what `json.dumps` takes."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: dump(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: dump(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [dump(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def load(kind: type[T], value: object) -> T:
    """Rebuild what `dump` gave.

    Raises:
        FormatError: a part has another type than its annotation.
    """
    return cast("T", _load(kind, value, kind.__name__))


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _load(kind: Any, value: object, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return _checked(value in arguments, value, where)
    if origin in {typing.Union, types.UnionType}:
        return _load_union(arguments, value, where)
    if origin is tuple:
        _checked(isinstance(value, list), value, where)
        return tuple(_load(arguments[0], item, where) for item in cast("list[object]", value))
    if origin is not None and issubclass(origin, Mapping):
        _checked(isinstance(value, dict), value, where)
        return {key: _load(arguments[1], item, where) for key, item in cast("dict[str, object]", value).items()}
    kind = getattr(kind, "__supertype__", kind)
    if is_dataclass(kind):
        _checked(isinstance(value, dict), value, where)
        given, hints = cast("dict[str, object]", value), _hints(cast("type", kind))
        _checked(set(given) == set(hints), sorted(given), where)
        return cast("Any", kind)(**{name: _load(hint, given[name], f"{where}.{name}") for name, hint in hints.items()})
    if kind is Path:
        return Path(cast("str", _checked(isinstance(value, str), value, where)))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _checked(type(value) is kind, value, where)


def _load_union(kinds: tuple[Any, ...], value: object, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    for kind in kinds:
        try:
            return _load(kind, value, where)
        except FormatError:
            continue
    return _checked(False, value, where)


def _checked(holds: bool, value: object, where: str) -> object:
    if not holds:
        raise FormatError("gate message", f"{where} cannot be {value!r:.80}")
    return value
