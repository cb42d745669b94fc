"""Stored versions that no manifest names, but the record of a model does: its variants and its golden examples.

Whoever pushes, or lets versions go, must find these too. The record itself is read in `git_lepton.record`; here only
the few lines that name versions are looked at, leniently: a record that is not valid names nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any, Final

from git_lepton.values import Hash

RECORDS: Final = b".lepton/records/"
"""Where records lie, from the top of the work tree."""
MAX_RECORD: Final = 16 << 20

_FILE: Final = re.compile(r"[0-7]{6} ([0-9]{1,19}) ([0-9a-f]{64}) (.+)")


def is_record(path: bytes) -> bool:
    """Whether a file at this path is a record."""
    return path.startswith(RECORDS) and path.endswith(b".toml")


def versions_in(text: bytes) -> tuple[tuple[Hash, int], ...]:
    """Hash and size of the versions that a record names; none for text that is no record."""
    try:
        table = tomllib.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return ()
    matches = (_FILE.fullmatch(line) for line in _lines(table) if isinstance(line, str))
    return tuple(dict.fromkeys((Hash(match[2]), int(match[1])) for match in matches if match is not None))


def _lines(table: dict[str, Any]) -> Iterator[object]:
    yield table.get("golden")
    variants = table.get("variant")
    for variant in variants if isinstance(variants, list) else ():
        files = variant.get("files") if isinstance(variant, dict) else None
        yield from files if isinstance(files, list) else ()
