r"""git's C-style quoting of paths: `"with \"quotes\" and \303\251"`. Paths are bytes here."""

from __future__ import annotations

import re
from typing import Final

_ESCAPES: Final = {
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
    b'"': b'"',
    b"\\": b"\\",
}
_NAMES: Final = {value: key for key, value in _ESCAPES.items()}
_QUOTED = re.compile(rb'"((?:[^"\\]|\\(?:[abfnrtv"\\]|[0-3][0-7]{2}))*)"')
_ESCAPE = re.compile(rb'\\([abfnrtv"\\]|[0-3][0-7]{2})')
_CONTROL = re.compile(rb'[\x00-\x1f\x7f"\\]')
_SPECIAL = re.compile(rb'[\x00-\x1f\x7f-\xff"\\]')


def unquote(text: bytes) -> bytes:
    """The path that git wrote as `text`; text that is not quoted, or not well, stands for itself."""
    match = _QUOTED.fullmatch(text)
    if match is None:
        return text
    return _ESCAPE.sub(lambda m: _ESCAPES.get(m[1]) or bytes((int(m[1], 8),)), match[1])


def quote(path: bytes, *, ascii_only: bool = True) -> bytes:
    """`path` in quotes, control characters escaped, and bytes above ASCII with `ascii_only`."""
    special = _SPECIAL if ascii_only else _CONTROL
    body = special.sub(lambda m: b"\\" + (_NAMES.get(m[0]) or b"%03o" % m[0][0]), path)
    return b'"' + body + b'"'
