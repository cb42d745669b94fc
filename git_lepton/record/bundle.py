"""A model's bundle: which files it is made of, and the one hash that names it everywhere (docs/formats.md, "Bundle").

The text of a bundle has a line for each file, sorted by the bytes of its path:

    <mode> <size> <blake3> <path relative to the model's root>

and the BLAKE3 of that text is the model's identity. Size and hash are those of the file's content, whether git holds
it itself or a manifest stands in for it: a manifest names both, so no weight is restored to learn a model's identity.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final

from blake3 import blake3

from git_lepton.errors import FrameError
from git_lepton.values import Hash

MAX_FILES: Final = 10_000
MAX_PATH: Final = 1024

_LINE: Final = re.compile(r"(100644|100755) (0|[1-9][0-9]{0,18}) ([0-9a-f]{64}) (.+)")
# What could end a line, or show a reviewer another name than the one that is there.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class BundleFile:
    """One file of a model: `path` is relative to the model's root, `mode` git's (0o100644 or 0o100755)."""

    path: str
    mode: int
    size: int
    blake3: Hash

    def line(self) -> str:
        """The file's line in the bundle's text, without the line end."""
        return f"{self.mode:o} {self.size} {self.blake3} {self.path}"


@dataclass(frozen=True)
class Bundle:
    """The files of a model, sorted by the bytes of their paths, each path once."""

    files: tuple[BundleFile, ...]

    @cached_property
    def text(self) -> bytes:
        """The text whose hash names the model."""
        return "".join(f"{file.line()}\n" for file in self.files).encode()

    @cached_property
    def hash(self) -> Hash:
        """The model's identity."""
        return Hash(blake3(self.text).hexdigest())

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def file(self, path: str) -> BundleFile | None:
        """The file at `path`, or None."""
        return next((file for file in self.files if file.path == path), None)


def make(files: Iterable[BundleFile]) -> Bundle:
    """A bundle of these files.

    Raises:
        FrameError: a path is not allowed, or is there twice.
    """
    given = list(files)
    if len(given) > MAX_FILES:
        raise FrameError(f"a bundle of {len(given)} files has more than {MAX_FILES}")
    for file in given:
        check_path(file.path)
    ordered = tuple(sorted(given, key=lambda file: file.path.encode()))
    for one, two in pairwise(ordered):
        if one.path == two.path:
            raise FrameError(f"a bundle has {one.path} twice")
    return Bundle(ordered)


def parse_line(line: str) -> BundleFile:
    """Read one line, without its line end.

    Raises:
        FrameError: it is none.
    """
    match = _LINE.fullmatch(line)
    if match is None:
        raise FrameError(f"not a line of a bundle, `<mode> <size> <blake3> <path>`: {line[:200]!r}")
    check_path(match[4])
    return BundleFile(match[4], int(match[1], 8), int(match[2]), Hash(match[3]))


def check_path(path: str) -> None:
    """Refuse a path that could lead out of a model's folder, into git's, or that a terminal would not show as it is.

    Raises:
        FrameError: saying which.
    """
    parts = path.split("/")
    if not path or path.startswith("/") or "\\" in path or any(part in {"", ".", ".."} for part in parts):
        raise FrameError(f"not a path inside a model's folder: {path!r}")
    if any(part.lower().rstrip(". ") in {".git", "git~1"} for part in parts):
        raise FrameError(f"a path of a model leads into git's own folder: {path!r}")
    if _UNSAFE.search(path):
        raise FrameError(f"a path of a model is not UTF-8, or has characters that cannot be shown: {path!r}")
    if len(path.encode()) > MAX_PATH:
        raise FrameError(f"a path of a model is longer than {MAX_PATH} bytes: {path[:80]!r}…")
