"""Kinds of values of `lepton.toml`: each reads one strictly, tells what it wants, and describes itself as JSON schema.

`tables` puts them together into one table of keys; parsing, the schema for editors and the tables of the reference all
come from it. Every refusal is a `UsageError` that begins with file, line and key.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from git_lepton.config import lines
from git_lepton.config.names import path_problem, plain_path, unsafe
from git_lepton.config.values import Tolerance
from git_lepton.errors import UsageError

Schema = dict[str, Any]
"""A JSON schema, draft 2020-12."""

MAX_TEXT: Final = 10_000
MAX_ITEMS: Final = 1000
_BARE: Final = re.compile("[A-Za-z0-9_-]{1,80}")
_DURATION: Final = r"(\d{1,9}(?:\.\d{1,9})?)\s*(s|m|h|d|w)"
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_MAX_SECONDS: Final = 10 * 366 * 86400
_SIZE: Final = r"(\d{1,15}(?:\.\d{1,9})?)\s*(B|[kMGT]B|[KMGT]iB)"
_BYTES: Final = {"B": 1, **{f"{p}B": 1000**n for n, p in enumerate("kMGT", 1)}} | {
    f"{p}iB": 1024**n for n, p in enumerate("KMGT", 1)
}
_PERCENT: Final = r"(\d{1,3}(?:\.\d{1,9})?)\s*%"


@dataclass(frozen=True, eq=False, repr=False)
class Place:
    """Somewhere in a file, for messages: its name, its text, and the keys that lead there."""

    file: str
    text: str
    path: lines.Path = ()

    def at(self, *parts: str | int) -> Place:
        """A place below this one."""
        return Place(self.file, self.text, (*self.path, *parts))

    def key(self) -> str:
        """The keys as a reader would write them; indices are left out, the line tells which."""
        return ".".join(shown(part) for part in self.path if isinstance(part, str))

    def error(self, problem: str, *, hint: str | None = None) -> UsageError:
        """The error for what is wrong here; `problem` follows the key."""
        line = lines.line_of(self.text, self.path)
        space = "" if problem.startswith(":") else " "
        return UsageError(f"{self.file}:{line}: {self.key()}{space}{problem}", hint=hint)

    def unknown(self, name: str, known: Iterable[str], *, hint: str | None = None) -> UsageError:
        """The error for a key that nobody knows."""
        names = list(known)
        inner = self.at(name)
        problem = f"{self.file}:{lines.line_of(self.text, inner.path)}: unknown key {inner.key()}"
        return UsageError(problem + meant(name, names), hint=hint or f"known here: {', '.join(names)}")


def meant(word: str, known: Iterable[str]) -> str:
    """` (did you mean …?)`, or nothing when no known word is close."""
    close = difflib.get_close_matches(word[:100], list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def shown(part: str) -> str:
    """A key as it may be printed: bare, or quoted and escaped, and not too long."""
    if _BARE.fullmatch(part):
        return part
    text = part.encode("unicode_escape").decode() if unsafe(part) else part
    return f'"{text[:80]}…"' if len(text) > 80 else f'"{text}"'


def kind_of(value: object) -> str:
    """What a value of TOML is, in words."""
    names: dict[type, str] = {
        **{bool: "true or false", int: "a number", float: "a number"},
        **{str: "a string", list: "an array", dict: "a table"},
    }
    return names.get(type(value), "a date or time")


class Kind(Protocol):
    """What may be the value of a key."""

    @property
    def what(self) -> str:
        """The kind in a few words, for messages and the reference."""

    def read(self, value: object, place: Place) -> Any:
        """The value that stands in `lepton.toml` as one of `values`. Raises UsageError."""

    def schema(self) -> Schema:
        """What an editor is told."""


@dataclass(frozen=True, eq=False, repr=False)
class Text:
    """A string. `check` returns what is wrong with it, as "must …"; `tidy` gives it its one spelling."""

    what: str
    check: Callable[[str], str | None] = lambda _: None
    pattern: str | None = None
    tidy: Callable[[str], str] = str
    lines: bool = False

    def read(self, value: object, place: Place) -> str:
        """See `Kind`."""
        if not isinstance(value, str):
            raise place.error(f"must be a string, not {kind_of(value)}")
        if len(value) > MAX_TEXT:
            raise place.error(f"must not be longer than {MAX_TEXT} characters")
        if not value.strip():
            raise place.error("must not be empty")
        if unsafe(re.sub("[\n\t]", "", value) if self.lines else value):
            raise place.error("must not hold control characters")
        if self.pattern is not None and not re.fullmatch(self.pattern, value):
            raise place.error(f"must be {self.what}: {value[:100]!r}")
        if problem := self.check(value):
            raise place.error(f"{problem}: {value[:100]!r}")
        return self.tidy(value)

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "string", "minLength": 1} | ({"pattern": f"^(?:{self.pattern})$"} if self.pattern else {})


PATH: Final = Text("a path from the top", path_problem, tidy=plain_path)
GLOB: Final = Text("a glob", path_problem)
ANY_TEXT: Final = Text("a string")


@dataclass(frozen=True, eq=False, repr=False)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def what(self) -> str:
        """See `Kind`."""
        return " or ".join(f'"{word}"' for word in self.words)

    def read(self, value: object, place: Place) -> str:
        """See `Kind`."""
        if not isinstance(value, str) or value not in self.words:
            guess = meant(value, self.words) if isinstance(value, str) else ""
            raise place.error(f"must be {self.what}{guess}")
        return value

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"enum": list(self.words)}


@dataclass(frozen=True, eq=False, repr=False)
class Truth:
    """`true` or `false`."""

    what: str = "true or false"

    def read(self, value: object, place: Place) -> bool:
        """See `Kind`."""
        if not isinstance(value, bool):
            raise place.error(f"must be true or false, not {kind_of(value)}")
        return value

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "boolean"}


@dataclass(frozen=True, eq=False, repr=False)
class Number:
    """A finite number from `low` (with `open_low`: above it) to `high`; a whole one with `whole`."""

    low: float | None = None
    high: float | None = None
    open_low: bool = False
    whole: bool = False

    @property
    def what(self) -> str:
        """See `Kind`."""
        name = "a whole number" if self.whole else "a number"
        if self.low is not None and self.high is not None:
            return f"{name} from {self.low:g} to {_digits(self.high)}"
        if self.low is not None:
            return f"{name} above {self.low:g}" if self.open_low else f"{name}, {self.low:g} or more"
        return name

    def read(self, value: object, place: Place) -> float | int:
        """See `Kind`."""
        number = finite(value)
        if number is None or (self.whole and not isinstance(number, int)) or not self._within(number):
            raise place.error(f"must be {self.what}, not {short(value)}")
        return number if self.whole else float(number)

    def _within(self, number: float) -> bool:
        if self.low is not None and (number < self.low or (self.open_low and number == self.low)):
            return False
        return self.high is None or number <= self.high

    def schema(self) -> Schema:
        """See `Kind`."""
        low = {} if self.low is None else {"exclusiveMinimum" if self.open_low else "minimum": self.low}
        high = {} if self.high is None else {"maximum": self.high}
        return {"type": "integer" if self.whole else "number", **low, **high}


def finite(value: object) -> float | int | None:
    """A number that a float can hold, or None: truth values, other types, nan, infinity and giants are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else None
    return value if math.isfinite(value) else None


def short(value: object) -> str:
    """A value as it may be shown in a message."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value) if abs(value) < 1 << 63 else "one of more than 63 bits"
    if isinstance(value, float):
        return str(value)
    return shown(value) if isinstance(value, str) else kind_of(value)


def _digits(number: float) -> str:
    return f"{number:,.0f}".replace(",", "_") if number >= 10_000 else f"{number:g}"


@dataclass(frozen=True, eq=False, repr=False)
class Duration:
    """Seconds as a number, or text such as "90s", "5m", "1h 30m"."""

    zero: bool = False
    what: str = 'seconds, or text such as "90s", "5m", "2h", "7d"'

    def read(self, value: object, place: Place) -> float:
        """See `Kind`."""
        number = finite(value)
        if isinstance(value, str) and re.fullmatch(rf"\s*{_DURATION}(\s*{_DURATION}){{0,3}}\s*", value):
            number = sum(float(count) * _SECONDS[unit] for count, unit in re.findall(_DURATION, value))
        if number is None or not (0 if self.zero else 1e-9) <= number <= _MAX_SECONDS:
            raise place.error(f"must be {self.what}, not {short(value)}")
        return float(number)

    def schema(self) -> Schema:
        """See `Kind`."""
        low = {"minimum": 0} if self.zero else {"exclusiveMinimum": 0}
        text = {"type": "string", "pattern": rf"^\s*{_DURATION}(\s*{_DURATION}){{0,3}}\s*$"}
        return {"anyOf": [{"type": "number", **low, "maximum": _MAX_SECONDS}, text]}


@dataclass(frozen=True, eq=False, repr=False)
class Size:
    """Bytes as a whole number, or text such as "200 kB" (1000) or "64 MiB" (1024)."""

    what: str = 'bytes, or text such as "200 kB", "64 MiB"'

    def read(self, value: object, place: Place) -> int:
        """See `Kind`."""
        number = finite(value)
        if isinstance(value, str) and (match := re.fullmatch(_SIZE, value.strip())):
            number = int(float(match[1]) * _BYTES[match[2]])
        if not isinstance(number, int) or not 0 < number < 1 << 63:
            raise place.error(f"must be {self.what}, not {short(value)}")
        return number

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": rf"^\s*{_SIZE}\s*$"}]}


@dataclass(frozen=True, eq=False, repr=False)
class Drop:
    """A `Tolerance`: a number in the metric's unit, or a percentage of the baseline's value as text."""

    what: str = 'a number, 0 or more, or a percentage such as "2%"'

    def read(self, value: object, place: Place) -> Tolerance:
        """See `Kind`."""
        if isinstance(value, str) and (match := re.fullmatch(_PERCENT, value.strip())) and float(match[1]) <= 100:
            return Tolerance(float(match[1]) / 100, relative=True)
        number = finite(value)
        if number is None or number < 0:
            raise place.error(f"must be {self.what}, not {short(value)}")
        return Tolerance(float(number))

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": rf"^\s*{_PERCENT}\s*$"}]}


@dataclass(frozen=True, eq=False, repr=False)
class ListOf:
    """An array, in which nothing is twice; with `single`, one item may stand for an array of one."""

    item: Kind
    single: bool = False
    empty: bool = True

    @property
    def what(self) -> str:
        """See `Kind`."""
        return f"{self.item.what}, or an array of them" if self.single else f"an array: {self.item.what}"

    def read(self, value: object, place: Place) -> tuple[Any, ...]:
        """See `Kind`."""
        if self.single and isinstance(value, str):
            return (self.item.read(value, place),)
        if not isinstance(value, list):
            raise place.error(f"must be an array, not {kind_of(value)}", hint='such as ["a", "b"]')
        if len(value) > MAX_ITEMS or not (value or self.empty):
            raise place.error(f"must have 1 to {MAX_ITEMS} entries")
        found: list[Any] = []
        for index, entry in enumerate(value):
            item = self.item.read(entry, place.at(index))
            if item in found:
                raise place.at(index).error(f"has {short(entry)} twice")
            found.append(item)
        return tuple(found)

    def schema(self) -> Schema:
        """See `Kind`."""
        array: Schema = {"type": "array", "items": self.item.schema(), "uniqueItems": True, "maxItems": MAX_ITEMS}
        if not self.empty:
            array["minItems"] = 1
        return {"anyOf": [self.item.schema(), array]} if self.single else array


@dataclass(frozen=True, eq=False, repr=False)
class MapOf:
    """A table whose keys the writer chooses; `check` returns what is wrong with a key, as "must …".

    With `plain`, a value that is no table stands for the entry of this key; `alias` is how that key is written in a
    table, since it is "" for the original model.
    """

    key: str
    item: Kind
    check: Callable[[str], str | None] = lambda _: None
    plain: str | None = None
    alias: str | None = None

    @property
    def what(self) -> str:
        """See `Kind`."""
        table = f"a table: {self.key} = {self.item.what}"
        return table if self.plain is None else f"{self.item.what}; or {table}"

    def read(self, value: object, place: Place) -> Mapping[str, Any]:
        """See `Kind`."""
        if self.plain is not None and not isinstance(value, dict):
            return {self.plain: self.item.read(value, place)}
        if not isinstance(value, dict):
            raise place.error(f"must be a table, not {kind_of(value)}")
        if len(value) > MAX_ITEMS:
            raise place.error(f"must not have more than {MAX_ITEMS} entries")
        found = {}
        for name, entry in value.items():
            inner = place.at(name)
            if not name or unsafe(name):
                raise inner.error(f"is no {self.key}")
            if name == self.alias and self.plain is not None:
                found[self.plain] = self.item.read(entry, inner)
                continue
            if problem := self.check(name):
                raise inner.error(f": {self.key} {problem}")
            found[name] = self.item.read(entry, inner)
        return found

    def schema(self) -> Schema:
        """See `Kind`."""
        table = {"type": "object", "additionalProperties": self.item.schema(), "maxProperties": MAX_ITEMS}
        return table if self.plain is None else {"anyOf": [self.item.schema(), table]}


@dataclass(frozen=True, eq=False, repr=False)
class Key:
    """One key of a table: how it is written, what it may be, what it is for, and what holds without it."""

    name: str
    kind: Kind
    doc: str
    required: bool = False
    default: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """A table with known keys. `build` gets those that are there, and with `named` the table's own name as `name`.

    Attributes:
        title: how it is written, such as `[[model.NAME.gate]]`.
    """

    title: str
    build: Callable[..., Any]
    keys: tuple[Key, ...]
    named: bool = False

    @property
    def what(self) -> str:
        """See `Kind`."""
        return f"a table, see `{self.title}`"

    def read(self, value: object, place: Place) -> Any:
        """See `Kind`."""
        if not isinstance(value, dict):
            raise place.error(f"must be a table, not {kind_of(value)}", hint=f"write {self.title}")
        names = [key.name for key in self.keys]
        for name in value:
            if name not in names:
                raise place.unknown(name, names)
        found: dict[str, Any] = {"name": place.path[-1]} if self.named else {}
        for key in self.keys:
            if key.name in value:
                found[key.name] = key.kind.read(value[key.name], place.at(key.name))
            elif key.required:
                raise place.error(f"lacks {key.name}: {key.doc}")
        return self.build(**found)

    def schema(self) -> Schema:
        """See `Kind`."""
        known = {key.name: {"description": key.doc, **key.kind.schema()} for key in self.keys}
        required = [key.name for key in self.keys if key.required]
        table: Schema = {"type": "object", "properties": known, "additionalProperties": False}
        return table | ({"required": required} if required else {})


@dataclass(frozen=True, eq=False, repr=False)
class Tables:
    """An array of tables, `[[…]]`."""

    table: Table

    @property
    def what(self) -> str:
        """See `Kind`."""
        return f"tables `{self.table.title}`"

    def read(self, value: object, place: Place) -> tuple[Any, ...]:
        """See `Kind`."""
        if not isinstance(value, list):
            raise place.error(f"must be an array of tables, not {kind_of(value)}", hint=f"write {self.table.title}")
        if len(value) > MAX_ITEMS:
            raise place.error(f"must not have more than {MAX_ITEMS} entries")
        return tuple(self.table.read(entry, place.at(index)) for index, entry in enumerate(value))

    def schema(self) -> Schema:
        """See `Kind`."""
        return {"type": "array", "items": self.table.schema(), "maxItems": MAX_ITEMS}
