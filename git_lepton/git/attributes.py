"""`.gitattributes`: asking git what applies, and editing lines without touching anything else.

Files are bytes. An edit keeps comments, order and line ends; a pattern that is there already is changed in its last
line, which is the one that counts. A pattern with white space is written in C-style quotes; `[[:space:]]`, as git-lfs
writes, is understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from git_lepton.errors import UsageError
from git_lepton.git.quoting import quote, unquote
from git_lepton.git.repo import Repo

OURS: Final = (b"filter=lepton", b"diff=lepton", b"merge=lepton", b"-text")
"""Attributes of a path that git-lepton keeps."""

_LINE = re.compile(rb'[ \t]*("(?:[^"\\]|\\.)*"|[^\s"#][^\s]*)([ \t]+[^\r\n]*)?(\r?\n?)')
_MACRO: Final = b"[attr]"


@dataclass(frozen=True, slots=True)
class AttributeLine:
    """One line that gives attributes to a pattern: `pattern` unquoted, `attributes` as written, its line end."""

    pattern: bytes
    attributes: tuple[bytes, ...]
    end: bytes

    def encode(self) -> bytes:
        """The line as text."""
        return b" ".join((_quote_pattern(self.pattern), *self.attributes)) + self.end


def parse_line(line: bytes) -> AttributeLine | None:
    """One line with its line end; None for comments, empty lines and macros."""
    match = _LINE.fullmatch(line)
    if match is None or match[1].startswith(_MACRO):
        return None
    return AttributeLine(unquote(match[1]), tuple((match[2] or b"").split()), match[3])


def tracked_patterns(content: bytes, attribute: bytes = b"filter=lepton") -> list[bytes]:
    """The patterns of a file whose last line of that pattern has `attribute`, in order."""
    last = {_canonical(line.pattern): line for line in _parsed(content) if line is not None}
    return [line.pattern for line in last.values() if attribute in line.attributes]


def track(content: bytes, pattern: bytes, attributes: Sequence[bytes] = OURS) -> bytes:
    """The file's content with `attributes` given to `pattern`; unchanged if it had them.

    Attributes of the same names (`filter=lfs`) are replaced, others of that line are kept.

    Raises:
        UsageError: git would not take such a pattern.
    """
    check_pattern(pattern)
    lines = content.splitlines(keepends=True)
    places = _places(lines, pattern)
    if not places:
        end = b"\r\n" if lines and all(line.endswith(b"\r\n") for line in lines) else b"\n"
        gap = end if lines and not lines[-1].endswith(b"\n") else b""
        return content + gap + AttributeLine(pattern, tuple(attributes), end).encode()
    place, line = places[-1]
    if set(attributes) <= set(line.attributes):
        return content
    names = {_name(a) for a in attributes}
    kept = tuple(a for a in line.attributes if _name(a) not in names)
    lines[place] = AttributeLine(line.pattern, (*attributes, *kept), line.end).encode()
    return b"".join(lines)


def untrack(content: bytes, pattern: bytes, attributes: Sequence[bytes] = OURS) -> bytes:
    """The file's content with `attributes` taken from every line of `pattern`; a line with none left goes."""
    lines = content.splitlines(keepends=True)
    for place, line in _places(lines, pattern):
        kept = tuple(a for a in line.attributes if a not in attributes)
        if kept != line.attributes:
            lines[place] = AttributeLine(line.pattern, kept, line.end).encode() if kept else b""
    return b"".join(lines)


def literal_pattern(path: bytes) -> bytes:
    """The pattern that matches exactly `path`, relative to the folder of the `.gitattributes` file."""
    return b"/" + re.sub(rb"([*?\[\\])", rb"\\\1", path)


def check_pattern(pattern: bytes) -> None:
    """Refuse what git ignores in `.gitattributes`.

    Raises:
        UsageError: empty, negative, a folder (`weights/`), or with line ends.
    """
    if not pattern or pattern.startswith((b"!", _MACRO)) or re.search(rb"[\0\r\n]|^\s|\s$", pattern):
        raise UsageError(f"git takes no such pattern in .gitattributes: {pattern.decode(errors='replace')!r}")
    if pattern.endswith(b"/"):
        folder = pattern.decode(errors="replace")
        raise UsageError(f"git gives attributes to files, not to folders: {folder!r}", hint=f"try {folder}**")


def check_attr(
    repo: Repo, paths: Iterable[bytes], attributes: Sequence[str], *, source: str | None = None
) -> dict[bytes, dict[str, str]]:
    """What git says about `attributes` of each path, relative to the top of the work tree.

    Args:
        repo: where.
        paths: they need not exist.
        attributes: names, such as "filter".
        source: None reads `.gitattributes` files of the work tree, "index" those that are staged, anything else is a
            tree (git >= 2.40).

    Returns:
        For each path the value of each attribute: "set", "unset", "unspecified", or the text after "=".
    """
    wanted = list(paths)
    if not wanted:
        return {}
    chosen = ("--cached",) if source == "index" else (f"--source={source}",) if source is not None else ()
    stdin = b"".join(path + b"\0" for path in wanted)
    output = repo.git("check-attr", *chosen, "--stdin", "-z", *attributes, input=stdin).stdout
    fields = output.split(b"\0")
    result: dict[bytes, dict[str, str]] = {path: {} for path in wanted}
    for path, name, value in zip(fields[0::3], fields[1::3], fields[2::3], strict=False):
        result.setdefault(path, {})[name.decode()] = value.decode(errors="surrogateescape")
    return result


def _parsed(content: bytes) -> list[AttributeLine | None]:
    return [parse_line(line) for line in content.splitlines(keepends=True)]


def _places(lines: list[bytes], pattern: bytes) -> list[tuple[int, AttributeLine]]:
    """The lines of `pattern`, with their numbers."""
    parsed = ((place, parse_line(line)) for place, line in enumerate(lines))
    return [(p, line) for p, line in parsed if line is not None and _canonical(line.pattern) == _canonical(pattern)]


def _canonical(pattern: bytes) -> bytes:
    return pattern.replace(b"[[:space:]]", b" ")


def _name(attribute: bytes) -> bytes:
    return attribute.lstrip(b"-!").partition(b"=")[0]


def _quote_pattern(pattern: bytes) -> bytes:
    if re.search(rb'[\s"]|^#|[\x00-\x1f\x7f]', pattern):
        return quote(pattern, ascii_only=False)
    return pattern
