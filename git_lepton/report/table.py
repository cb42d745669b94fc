"""Columns of text, and names that cannot disturb a terminal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

# What could move the cursor, end the line or reverse the reading direction when a hostile name is printed.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def safe(name: str) -> str:
    """A path or a tensor name with control characters and lone surrogates written as escapes."""
    return _UNSAFE.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), name)


def printable(text: str) -> str:
    """The same for text of several lines: line ends stay."""
    return "\n".join(map(safe, text.split("\n")))


def width(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def table(rows: Sequence[Sequence[str]], *, right: str = "", header: Sequence[str] = (), indent: int = 0) -> str:
    """Lay `rows` out in columns, two spaces apart, without trailing spaces; "" when there are none.

    Args:
        rows: cells; all rows have the same length.
        right: one letter a column, "r" for a column that is aligned right; missing letters are "l".
        header: titles above the columns.
        indent: spaces before each line.
    """
    if not rows:
        return ""
    lines = [list(header), *map(list, rows)] if header else list(map(list, rows))
    widths = [max(width(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = []
    for line in lines:
        cells = []
        for column, cell in enumerate(line):
            gap = " " * (widths[column] - width(cell))
            cells.append(gap + cell if right[column : column + 1] == "r" else cell + gap)
        text.append((" " * indent + "  ".join(cells)).rstrip())
    return "\n".join(text)
