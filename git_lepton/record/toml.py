"""Writing TOML so that it diffs well: one spelling for each value, one line for each item that may change by itself.

Tables of the top become `[sections]`, lists of tables `[[sections]]`; deeper down, lists have an item a line and tables
stand on one line. Reading is the standard library's.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPED: Final = re.compile('["\\\\\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]')
_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def dumps(table: dict[str, Any]) -> str:
    """The text of a document: plain values first, then its sections, each group in the table's order."""
    lines = [f"{_key(key)} = {_item(value)}" for key, value in table.items() if not _is_section(value)]
    for key, value in table.items():
        if isinstance(value, dict):
            lines += ["", f"[{_key(key)}]", *_fields(value)]
        elif _is_section(value):
            for part in value:
                lines += ["", f"[[{_key(key)}]]", *_fields(part)]
    return "\n".join(lines) + "\n"


def _is_section(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _fields(table: dict[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_item(value)}" for key, value in table.items()]


def _item(value: object) -> str:
    """A value of a section: a list has a line for each item."""
    if isinstance(value, list):
        return "[" + "".join(f"\n    {_inline(item)}," for item in value) + ("\n]" if value else "]")
    return _inline(value)


def _inline(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(key)} = {_inline(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return _text(str(value))


def _float(value: float) -> str:
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return repr(value)


def _text(value: str) -> str:
    return '"' + _ESCAPED.sub(lambda m: _SHORT.get(m.group(), f"\\u{ord(m.group()):04x}"), value) + '"'


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)
