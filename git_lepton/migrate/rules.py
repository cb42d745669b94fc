"""Which filter `.gitattributes` files give to a path: gitattributes(5), for trees that are in no work tree.

`git check-attr --source` could answer only since git 2.40, and one process a commit. So the rules are read here: one
pattern a line, the last matching line of the deepest file wins, attribute by attribute; macros (`[attr]name …`) count
when they are defined at the top and *set* by a line. Only lines that bear on `filter` are kept, so that two trees
whose other attributes differ have equal rules, and work on their subtrees is shared. Files outside the tree
(`info/attributes`, the user's own) are no property of history and are not looked at.

Patterns are those of wildmatch.c with WM_PATHNAME, translated to regular expressions. Paths and patterns are bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from git_lepton.git.quoting import unquote

Value = bytes | bool | None
"""Of an attribute: a text, set (True), unset with "-" (False), or unspecified: never named, or named with "!"."""

FILTER: Final = b"filter"
_BLANKS: Final = b" \t\r\n"
_TOKEN = re.compile(rb"[^ \t\r\n]+")
_MACRO: Final = b"[attr]"
_WILD: Final = frozenset(b"*?[\\")
_CLASSES: Final = {
    b"alnum": rb"0-9A-Za-z",
    b"alpha": rb"A-Za-z",
    b"blank": rb" \t",
    b"cntrl": rb"\x00-\x1f\x7f",
    b"digit": rb"0-9",
    b"graph": rb"\x21-\x7e",
    b"lower": rb"a-z",
    b"print": rb"\x20-\x7e",
    b"punct": rb"!-/:-@\[-`{-~",
    b"space": rb"\t-\r ",
    b"upper": rb"A-Z",
    b"xdigit": rb"0-9A-Fa-f",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line that says something: `pattern` (unquoted) or, for a macro, the name in `macro`; then attributes."""

    pattern: bytes
    macro: bytes
    attributes: tuple[tuple[bytes, Value], ...]


def parse_line(text: bytes) -> Line | None:
    """Read a line; None for blank lines, comments and negative patterns, which git ignores too."""
    text = text.strip(_BLANKS)
    if not text or text.startswith(b"#"):
        return None
    head, rest = split_pattern(text)
    attributes = tuple(_attribute(token) for token in _TOKEN.findall(rest))
    if head.startswith(_MACRO):
        return Line(b"", head.removeprefix(_MACRO), attributes)
    pattern = unquote(head)
    return None if pattern.startswith(b"!") else Line(pattern, b"", attributes)


def split_pattern(text: bytes) -> tuple[bytes, bytes]:
    """A line without blanks around it, divided into the pattern as it is spelled and all that follows."""
    match = re.match(rb'"(?:[^"\\]|\\.)*"', text) if text.startswith(b'"') else None
    match = match or _TOKEN.match(text)
    end = match.end() if match else 0
    return text[:end], text[end:]


def _attribute(token: bytes) -> tuple[bytes, Value]:
    if token.startswith(b"-"):
        return token[1:], False
    if token.startswith(b"!"):
        return token[1:], None
    name, equals, value = token.partition(b"=")
    return name, value if equals else True


@dataclass(frozen=True, slots=True)
class AttributeFile:
    """The lines of one `.gitattributes` that bear on the filter; `base` is its folder with "/" at the end, or b""."""

    base: bytes
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """All attribute files from the top down to some folder. Equal rules give equal filters below that folder."""

    files: tuple[AttributeFile, ...] = ()
    macros: tuple[Line, ...] = ()
    ignore_case: bool = False
    _patterns: list[_Patterns] = field(default_factory=list, compare=False, repr=False)

    def below(self, base: bytes, content: bytes) -> Rules:
        """These rules and those of the attribute file in folder `base`."""
        lines = [line for line in map(parse_line, content.split(b"\n")) if line is not None]
        macros = self.macros if base else tuple(line for line in lines if line.macro)
        relevant = _relevant_names(macros)
        kept = tuple(line for line in lines if not line.macro and any(name in relevant for name, _ in line.attributes))
        if not kept:
            return Rules(self.files, macros, self.ignore_case) if macros != self.macros else self
        return Rules((*self.files, AttributeFile(base, kept)), macros, self.ignore_case)

    def filter_of(self, path: bytes) -> Value:
        """The filter of the file `path`, counted from the top."""
        if not self._patterns:
            self._patterns.extend(_Patterns(file, self.ignore_case) for file in reversed(self.files))
        decided: dict[bytes, Value] = {}
        for patterns in self._patterns:
            for line in patterns.matching(path):
                self._decide(line.attributes, decided)
                if FILTER in decided:
                    return decided[FILTER]
        return None

    def _decide(self, attributes: Iterable[tuple[bytes, Value]], decided: dict[bytes, Value]) -> None:
        for name, value in reversed(tuple(attributes)):
            if name in decided:
                continue
            decided[name] = value
            if value is True:
                for macro in reversed(self.macros):
                    if macro.macro == name:
                        self._decide(macro.attributes, decided)
                        break


def _relevant_names(macros: Iterable[Line]) -> set[bytes]:
    """`filter` and every macro that can lead to it."""
    names = {FILTER}
    grown = True
    while grown:
        found = {m.macro for m in macros if any(name in names for name, _ in m.attributes)}
        grown = not found <= names
        names |= found
    return names


class _Patterns:
    """The lines of one file, ready to match: whole paths by look-up, the rest by regular expressions."""

    def __init__(self, file: AttributeFile, ignore_case: bool) -> None:
        self._file = file
        self._globs: list[tuple[int, bytes]] = []
        self._paths: dict[bytes, list[int]] = {}
        self._ignore_case = ignore_case
        for number, line in enumerate(file.lines):
            literal = None if ignore_case else literal_path(line.pattern)
            if literal is None:
                self._globs.append((number, line.pattern))
            else:
                self._paths.setdefault(literal, []).append(number)

    def matching(self, path: bytes) -> Iterator[Line]:
        """Lines that match, the last first."""
        if not path.startswith(self._file.base):
            return
        rest = path[len(self._file.base) :]
        numbers = list(self._paths.get(rest, ()))
        numbers += [n for n, p in self._globs if matches(p, rest, ignore_case=self._ignore_case)]
        for number in sorted(numbers, reverse=True):
            yield self._file.lines[number]


def literal_path(pattern: bytes) -> bytes | None:
    """The one path that an anchored pattern without wildcards matches."""
    plain = re.sub(rb"\\([*?\[\\])", b"", pattern)
    if b"/" not in pattern or pattern.endswith(b"/") or _WILD & set(plain):
        return None
    return re.sub(rb"\\(.)", rb"\1", pattern, flags=re.DOTALL).removeprefix(b"/")


def matches(pattern: bytes, path: bytes, *, ignore_case: bool = False) -> bool:
    """Whether a gitattributes pattern matches a file's path, both counted from the same folder."""
    expression = _compile(pattern, ignore_case)
    if expression is None:
        return False
    return expression.fullmatch(path if b"/" in pattern else path.rpartition(b"/")[2]) is not None


@lru_cache(maxsize=4096)
def _compile(pattern: bytes, ignore_case: bool) -> re.Pattern[bytes] | None:
    """None for what matches no file: a folder's pattern ("x/"), or brackets that do not close."""
    if not pattern or pattern.endswith(b"/"):
        return None
    body = pattern.removeprefix(b"/") if b"/" in pattern else pattern
    parts: list[bytes] = []
    at = 0
    while at < len(body):
        piece, at = _translate(body, at)
        if piece is None:
            return None
        parts.append(piece)
    return re.compile(b"".join(parts), re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def _translate(body: bytes, at: int) -> tuple[bytes | None, int]:
    """The expression for what stands at `at`, and where the next begins."""
    char = body[at : at + 1]
    if char == b"*":
        end = at
        while body[end : end + 1] == b"*":
            end += 1
        opens = at == 0 or body[at - 1 : at] == b"/"
        if end - at >= 2 and opens and body[end : end + 1] == b"/":
            return rb"(?:.*/)?", end + 1
        if end - at >= 2 and opens and end == len(body):
            return rb".*", end
        return rb"[^/]*", end
    if char == b"?":
        return rb"[^/]", at + 1
    if char == b"[":
        return _translate_class(body, at + 1)
    if char == b"\\":
        return (re.escape(body[at + 1 : at + 2]), at + 2) if at + 1 < len(body) else (None, at + 1)
    return re.escape(char), at + 1


def _translate_class(body: bytes, at: int) -> tuple[bytes | None, int]:
    negated = body[at : at + 1] in {b"!", b"^"}
    at += negated
    items: list[bytes] = []
    first = True
    while first or body[at : at + 1] != b"]":
        first = False
        named = re.compile(rb"\[:([a-z]+):\]").match(body, at)
        if named:
            if named[1] not in _CLASSES:
                return None, at
            items.append(_CLASSES[named[1]])
            at = named.end()
            continue
        low, at = _class_char(body, at)
        if low is None:
            return None, at
        if body[at : at + 1] == b"-" and body[at + 1 : at + 2] not in {b"]", b""}:
            high, at = _class_char(body, at + 1)
            if high is None:
                return None, at
            if low <= high:
                items.append(re.escape(low) + b"-" + re.escape(high))
        else:
            items.append(re.escape(low))
    inside = b"".join(items)
    if negated:
        return b"[^/" + inside + b"]", at + 1
    return (b"(?!/)[" + inside + b"]" if inside else b"(?!)"), at + 1


def _class_char(body: bytes, at: int) -> tuple[bytes | None, int]:
    if body[at : at + 1] == b"\\":
        at += 1
    return body[at : at + 1] or None, at + 1
