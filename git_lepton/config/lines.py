"""On which line of a TOML text something is set; the standard library's reader does not tell.

This reads just enough of TOML to follow keys: the four kinds of strings, comments, headers, dotted keys, arrays and
inline tables. It is asked after `tomllib` accepted the text, and only to say where a mistake is, so a wrong guess may
cost a reader a moment and nothing else: on any text it ends, in one pass, without raising, and answers with a line of
the text. It keeps one path, not all of them, and so needs no more memory than the text nests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

Path = tuple[str | int, ...]
"""Keys and, within arrays, indices from 0."""

# Strings that never end match to the end of the line or of the text: the reader refuses them, the locator goes on.
_TOKEN: Final = re.compile(
    r'(?P<string>"""(?:[^\\]|\\.)*?(?:"{3,5}|\Z)|\'\'\'.*?(?:\'{3,5}|\Z)|"(?:[^"\\\n]|\\[^\n])*"?|\'[^\'\n]*\'?)'
    r"|(?P<comment>#[^\n]*)|(?P<line>\n)|(?P<mark>[\[\]{},=.])|(?P<word>[^\s\"'#\[\]{},=.]+)|[ \t\r]+|(?P<other>.)",
    re.DOTALL,
)
_ESCAPES: Final = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)

Token = tuple[str, str, int]
"""Kind ("string", "mark", "word" or "line"), text, and the line that it begins on."""


def line_of(text: str, path: Path) -> int:
    """The line, from 1, on which `path` is first set; of its nearest parent when it is not found.

    A path that ends in a key which several tables extend is at the first of them.
    """
    scan = _Scan(path)
    for token, following in pairwise((*_tokens(text), ("line", "\n", 0))):
        scan.feed(token, following)
    return scan.line


def longest_key(text: str) -> tuple[int, int]:
    """How many parts the longest dotted key has, and its line: some readers take the square of that as time."""
    longest, where, parts = 0, 1, 0
    for kind, word, line in _tokens(text):
        if kind == "mark" and word == ".":
            parts += 1
            longest, where = max((longest, where), (parts + 1, line), key=lambda found: found[0])
        elif kind not in {"word", "string"}:
            parts = 0
    return longest, where


def _tokens(text: str) -> Iterator[Token]:
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        found = match.group()
        if kind is not None and kind != "comment":
            yield kind, found, line
        line += found.count("\n")


def _plain(kind: str, text: str) -> str:
    """What a bare or quoted key says."""
    if kind == "word":
        return text
    if text.startswith('"'):
        return _ESCAPE.sub(_unescape, text[1:-1])
    return text[1:-1]


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    if code is None:
        return _ESCAPES.get(match[3], match[3])
    return chr(int(code, 16)) if int(code, 16) <= 0x10FFFF else "\ufffd"


class _Scan:
    """Follows the keys of a text and remembers the first line of the longest beginning of `target` that was set.

    `_state` is what comes next: a "key" (with its parts so far in `_key`), the key of a "header", a "value", or the
    "rest" of a value that cannot hold keys. `_open` has, for every bracket or brace that is open, its kind and the
    length of the path that it belongs to.
    """

    def __init__(self, target: Path) -> None:
        self.line = 1
        self._target = target
        self._found = 0
        self._path: list[str | int] = []
        self._prefix: list[str | int] = []
        self._tables: dict[Path, int] = {}
        self._open: list[tuple[str, int]] = []
        self._key: list[str] = []
        self._key_line = 1
        self._array_header = False
        self._state = "key"

    def feed(self, token: Token, following: Token) -> None:
        """Take one token; `following` tells `[[` from `[`."""
        kind, text, line = token
        if self._state in {"key", "header"}:
            self._in_key(kind, text, line, following)
        elif kind == "mark" and text in "[{" and self._state == "value":
            self._enter(text, line)
        elif kind == "mark" and text in ",]}" and self._open:
            self._leave_value(text)
        elif kind == "line" and not self._open:
            self._start_line()
        elif kind in {"string", "word"} and self._state == "value":
            self._start_value(line)

    def _in_key(self, kind: str, text: str, line: int, following: Token) -> None:
        if kind in {"string", "word"}:
            self._key_line = line if not self._key else self._key_line
            self._key.append(_plain(kind, text))
        elif kind == "line" and not self._open:
            self._start_line()
        elif kind != "mark":
            return
        elif self._state == "header":
            if text == "]" and self._key:
                self._header()
        elif text == "[" and not self._open and not self._key:
            self._state = "header"
            self._array_header = following[:2] == ("mark", "[")
        elif text == "=":
            self._set_key()
        elif text == "}" and self._open:
            self._leave_value(text)

    def _start_line(self) -> None:
        self._path = list(self._prefix)
        self._key = []
        self._state = "key"

    def _header(self) -> None:
        """A header is complete: find which element of each array of tables on its way is meant, the last one."""
        path: list[str | int] = []
        for depth, part in enumerate(self._key, 1):
            path.append(part)
            self._note(path, self._key_line)
            last = depth == len(self._key)
            if last and self._array_header:
                self._tables[tuple(path)] = self._tables.get(tuple(path), 0) + 1
            if (count := self._tables.get(tuple(path), 0)) and (self._array_header or not last):
                path.append(count - 1)
        self._note(path, self._key_line)
        self._prefix, self._path = path, list(path)
        self._key = []
        self._state = "rest"

    def _set_key(self) -> None:
        for part in self._key:
            self._path.append(part)
            self._note(self._path, self._key_line)
        self._key = []
        self._state = "value"

    def _start_value(self, line: int) -> None:
        self._note(self._path, line)
        self._state = "rest"

    def _enter(self, bracket: str, line: int) -> None:
        self._note(self._path, line)
        self._open.append((bracket, len(self._path)))
        if bracket == "[":
            self._path.append(0)
        else:
            self._state = "key"

    def _leave_value(self, mark: str) -> None:
        """A comma, or the end of an array or inline table."""
        bracket, length = self._open[-1]
        if mark == ",":
            index = self._path[length] if bracket == "[" and len(self._path) > length else None
            del self._path[length:]
            if isinstance(index, int):
                self._path.append(index + 1)
            self._state = "value" if bracket == "[" else "key"
        else:
            self._open.pop()
            del self._path[length:]
            self._state = "rest"
        self._key = []

    def _note(self, path: list[str | int], line: int) -> None:
        """Remember `line` if `path` leads further towards the target than anything before."""
        depth = len(path)
        if depth > self._found and path == list(self._target[:depth]):
            self._found, self.line = depth, line
