"""A model's bundle: which files it is made of, and the one hash that names it everywhere (docs/formats.md, "Bundle").

The text of a bundle has a line for each file, sorted by the bytes of its path:

    <mode> <size> <blake3> <path relative to the model's root>

and the BLAKE3 of that text is the model's identity. Size and hash are those of the file's content, whether git holds
it itself or a manifest stands in for it: a manifest names both, so no weight is restored to learn a model's identity.

Globs. `*` and `?` stay within one folder, `**` as a whole part of a pattern means any folders; a pattern without a
slash matches directly below the root. What git-lepton keeps under `.lepton/` never belongs to a model.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final

from blake3 import blake3

from git_lepton.config.values import ModelSettings
from git_lepton.errors import FrameError, ManifestError, UsageError
from git_lepton.git.indexfile import ls_files
from git_lepton.git.lstree import ls_tree
from git_lepton.git.objects import ObjectReader
from git_lepton.git.repo import Repo
from git_lepton.store import manifest
from git_lepton.store.manifest import Manifest
from git_lepton.store.tracked import STAGED, manifest_text
from git_lepton.values import Hash, Oid

MAX_FILES: Final = 10_000
MAX_TEXT: Final = 8 << 20
"""Bytes of the text of a bundle."""
MAX_PATH: Final = 1024
OUR_FOLDER: Final = ".lepton/"

_MODES: Final = (0o100644, 0o100755)
_LINE: Final = re.compile(r"(100644|100755) (0|[1-9][0-9]{0,18}) ([0-9a-f]{64}) (.+)")
# What could end a line, or show a reviewer another name than the one that is there.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_BLOCK: Final = 1 << 20


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


@dataclass(frozen=True, slots=True)
class Part:
    """Where git has a file of a bundle: the blob at its path, and the manifest that the blob is, if it is one."""

    file: BundleFile
    blob: Oid
    manifest: Manifest | None


@dataclass(frozen=True)
class LocatedBundle:
    """A bundle of a revision or of the index, and where each of its files is; `parts` are in the bundle's order."""

    parts: tuple[Part, ...]

    @cached_property
    def bundle(self) -> Bundle:
        """The bundle itself."""
        return Bundle(tuple(part.file for part in self.parts))

    @property
    def versions(self) -> dict[Hash, str]:
        """The stored versions that it needs, each with a path."""
        return {part.manifest.blake3: part.file.path for part in self.parts if part.manifest is not None}


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


def parse(text: bytes) -> Bundle:
    """Read the text of a bundle strictly: there is one valid text for a bundle.

    Raises:
        FrameError: naming the line; nothing else for any input.
    """
    if len(text) > MAX_TEXT:
        raise FrameError(f"a bundle of {len(text)} bytes is larger than {MAX_TEXT} allows")
    if text and not text.endswith(b"\n"):
        raise FrameError("the last line of a bundle has no line end")
    try:
        lines = text.decode("utf-8").split("\n")[:-1]
    except UnicodeDecodeError as error:
        raise FrameError(f"a bundle is not UTF-8 at byte {error.start}") from error
    found = make(parse_line(line) for line in lines)
    if found.text != text:
        raise FrameError("the lines of a bundle are not sorted by path")
    return found


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


def at(repo: Repo, objects: ObjectReader, settings: ModelSettings, rev: str = STAGED) -> LocatedBundle:
    """The bundle of a model in `rev`, or in the index in force; empty when no file matches.

    Raises:
        UsageError: `rev` leads to no tree; a file is a link or in conflict.
        FrameError: a path is not allowed.
        ManifestError: a file begins like a manifest and is none.
    """
    matches = matcher(settings.files)
    prefix = f"{settings.root}/" if settings.root else ""
    parts = []
    for path, mode, blob in entries(repo, rev, settings.root):
        below = path.removeprefix(prefix)
        if path.startswith(prefix) and not path.startswith(OUR_FOLDER) and matches(below):
            parts.append(locate(repo, objects, path, below, mode, blob))
    parts.sort(key=lambda part: part.file.path.encode())
    make(part.file for part in parts)
    return LocatedBundle(tuple(parts))


def part_at(repo: Repo, objects: ObjectReader, path: str, rev: str = STAGED) -> Part | None:
    """One file of `rev` or the index, by its path from the top (also its `file.path`), or None. Raises as `at`."""
    for found, mode, blob in entries(repo, rev, path):
        if found == path:
            return locate(repo, objects, path, path, mode, blob)
    return None


def entries(repo: Repo, rev: str, below: str = "") -> Iterator[tuple[str, int, Oid]]:
    """Path from the top, mode and blob of every file of `rev` or the index, at or below a path.

    Raises:
        UsageError: `rev` leads to no tree, or the index has a conflict there.
    """
    if rev != STAGED:
        for item in ls_tree(repo, rev, [os.fsencode(below)] if below else ()):
            yield os.fsdecode(item.path), item.mode, item.oid
        return
    for entry in ls_files(repo, [b":(top,literal)" + os.fsencode(below)] if below else ()):
        if entry.stage:
            raise UsageError(f"{os.fsdecode(entry.path)} is in conflict", hint="settle it, then git add it")
        yield os.fsdecode(entry.path), entry.mode, entry.oid


def of_folder(folder: Path, files: Sequence[str] = ("**",)) -> Bundle:
    """The bundle that the files in `folder` make, links not followed.

    Raises:
        UsageError: a file that matches is a link or something stranger.
        FrameError: a path is not allowed.
    """
    matches = matcher(files)
    found = []
    for top, names, leaves in os.walk(folder):
        names.sort()
        for name in leaves:
            path = Path(top, name)
            below = path.relative_to(folder).as_posix()
            if matches(below):
                found.append(of_file(path, below))
    return make(found)


def of_file(path: Path, name: str) -> BundleFile:
    """The line of the file at `path` as `name`.

    Raises:
        UsageError: it is no ordinary file.
    """
    held = path.lstat()
    if not stat.S_ISREG(held.st_mode):
        raise UsageError(f"{path} is no ordinary file, and cannot be part of a model")
    hasher, size = blake3(), 0
    with path.open("rb", buffering=0) as stream:
        buffer = memoryview(bytearray(_BLOCK))
        while count := stream.readinto(buffer):
            hasher.update(buffer[:count])
            size += count
    return BundleFile(name, _MODES[bool(held.st_mode & 0o100)], size, Hash(hasher.hexdigest()))


def locate(repo: Repo, objects: ObjectReader, path: str, name: str, mode: int, blob: Oid) -> Part:
    """One file of git as part of a bundle in which it is called `name`. Raises as `at`."""
    if mode not in _MODES:
        raise UsageError(f"{path} is no ordinary file in git (mode {mode:o}), and cannot be part of a model")
    check_path(name)
    text = manifest_text(repo, objects, blob, objects.size(blob))
    if text is None:
        data = objects.read(blob)[1]
        return Part(BundleFile(name, mode, len(data), Hash(blake3(data).hexdigest())), blob, None)
    try:
        found = manifest.parse(text)
    except ManifestError as error:
        raise ManifestError(f"{path}: {error.message}", hint=error.hint) from error
    return Part(BundleFile(name, mode, found.size, found.blake3), blob, found)


def matcher(globs: Iterable[str]) -> Callable[[str], bool]:
    """A test of paths against globs, see the module's text.

    Raises:
        UsageError: one of them is none.
    """
    wanted = list(globs)
    try:
        pattern = re.compile("|".join(f"(?:{_translate(glob)})" for glob in wanted) or r"(?!)")
    except re.error as error:
        raise UsageError(f"not a glob: {' '.join(wanted)!r}: {error}") from error
    return lambda path: pattern.fullmatch(path) is not None


def _translate(glob: str) -> str:
    """One glob as a regular expression. `**` as a whole part spans folders; at the end it means everything below."""
    parts = glob.removeprefix("./").split("/")
    text = ""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            text += ".+" if last else "(?:[^/]+/)*"
        else:
            text += _translate_part(part) + ("" if last else "/")
    return text


def _translate_part(part: str) -> str:
    text, at = "", 0
    while at < len(part):
        char = part[at]
        at += 1
        if char == "*":
            text += "" if text.endswith("[^/]*") else "[^/]*"
        elif char == "?":
            text += "[^/]"
        elif char == "[" and (close := part.find("]", at + 1 + (part[at : at + 1] == "!"))) > 0:
            body = re.sub(r"([\\\[\]^&~|])", r"\\\1", part[at:close].removeprefix("!")).replace("--", r"-\-")
            text += f"[{'^/' if part[at] == '!' else ''}{body}]"
            at = close + 1
        else:
            text += re.escape(char)
    return text
