"""What may be a name, and what a path, wherever somebody else wrote it.

Names of models and channels become parts of refs, which are files on some systems; paths are opened below the top of a
repository. Both are judged here and nowhere else.
"""

from __future__ import annotations

import re
from typing import Final

NAME_PATTERN: Final = r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?"
MAX_PATH: Final = 1024
"""Bytes of a path."""

_NAME: Final = re.compile(NAME_PATTERN)
_VERSION: Final = re.compile(r"v[0-9]")
# What could end a line, move a cursor or turn the reading direction; lone surrogates are no text.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def name_problem(name: str) -> str | None:
    """Why `name` cannot be that of a model, a channel or a gate; None when it can."""
    if not _NAME.fullmatch(name):
        return "must be 1 to 64 of a-z 0-9 . _ - and begin and end with a letter or digit"
    if ".." in name or name.endswith(".lock"):
        return "must not hold .. or end in .lock: git refuses such refs"
    return None


def channel_problem(name: str) -> str | None:
    """Why `name` cannot be that of a channel; None when it can."""
    if _VERSION.match(name):
        return "reads like a version: v and a digit cannot begin a channel's name"
    return name_problem(name)


def unsafe(text: str) -> bool:
    """Whether `text` holds a control character, or one that reverses the reading direction."""
    return _UNSAFE.search(text) is not None


def path_problem(path: str) -> str | None:
    """Why `path` cannot be a path, or a glob, below a folder; None when it can. Parts are separated by `/`."""
    if not path:
        return "must not be empty"
    if unsafe(path):
        return "must not hold control characters"
    if len(path.encode()) > MAX_PATH:
        return f"must not be longer than {MAX_PATH} bytes"
    if "\\" in path:
        return "must be written with / and without \\"
    if path.startswith("/") or re.match("[A-Za-z]:", path):
        return "must be relative"
    parts = path.split("/")
    if ".." in parts:
        return "must not lead upwards (..)"
    if any(part.rstrip(" .").casefold() == ".git" for part in parts):
        return "must not lead into .git"
    return None


def plain_path(path: str) -> str:
    """`path` without `.` and doubled slashes, so that one file has one spelling; "" for the folder itself."""
    return "/".join(part for part in path.split("/") if part not in {"", "."})
