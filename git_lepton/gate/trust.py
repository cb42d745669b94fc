"""What `lepton.toml` would run, and whether somebody in this clone has allowed it.

A gate may name a shell command or a function of the repository, and whoever can push can change both. So they run only
after `git lepton trust`, which shows them and notes a hash of each in `lepton/trusted` of the common git folder: never
committed, never cloned, shared by all work trees. The hash covers the text of a command, the files of the repository
that it names as words, the modules that a function lives in, and every Python file of the repository that these
import. When one byte of that changes, it is asked again.

It cannot see more: what a program starts or imports at run time, installed packages, and files that a command finds by
itself (`make eval`) are trusted with it. A function is looked for in the repository, from its top, and otherwise is
one of an installed package. Symbolic links are refused: what they lead to can change without a commit.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from blake3 import blake3

from git_lepton import atomic
from git_lepton.config.checks import is_function
from git_lepton.config.names import path_problem, plain_path
from git_lepton.config.values import Config, GateRule
from git_lepton.errors import UntrustedError
from git_lepton.git.repo import Repo
from git_lepton.values import Hash

FILE_NAME: Final = "trusted"
MAX_FILES: Final = 2000
"""Files that one command or function may reach."""

_MAX_SOURCE: Final = 1 << 20
_MAX_LIST: Final = 4 << 20
_BLOCK: Final = 1 << 20
_LINE: Final = re.compile(r"([0-9a-f]{64}) \d{4}-\d\d-\d\d [^\n]*")
_LOCK_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Source:
    """One file: the hash of its content, and the content itself when it is small enough to be a program."""

    blake3: Hash
    text: bytes | None


Reader = Callable[[str], Source | None]
"""Reads a path from the top of the repository; None when it is no file. Raises UntrustedError for a symbolic link."""


@dataclass(frozen=True, slots=True)
class Runnable:
    """One thing that would run.

    Attributes:
        kind: a shell command, or `pkg.module:function`.
        text: the command or the function.
        where: the gates that name it, such as "model.digits.gate.accuracy".
        files: path and hash of each file of the repository that it is known to run, sorted.
    """

    kind: Literal["command", "function"]
    text: str
    where: tuple[str, ...]
    files: tuple[tuple[str, Hash], ...]

    @property
    def hash(self) -> Hash:
        """What trust is given to. Where it is named does not matter, what would run does."""
        parts = [self.kind, self.text, *(part for file in self.files for part in file)]
        return Hash(blake3(b"".join(b"%d:%b," % (len(p), p) for p in map(os.fsencode, parts))).hexdigest())


def runnables(config: Config, read: Reader) -> tuple[Runnable, ...]:
    """What the gates of all models would run, in the order of the file, each once.

    Args:
        config: of `lepton.toml`.
        read: where the files come from: those that would run.

    Raises:
        UntrustedError: a symbolic link is on the way, or too many files are.
    """
    named: dict[tuple[Literal["command", "function"], str], list[str]] = {}
    for model in config.models.values():
        for gate in model.gates:
            where = f"model.{model.name}.gate.{gate.name}"
            if gate.command is not None:
                named.setdefault(("command", gate.command), []).append(where)
            elif is_function(gate.metric):
                named.setdefault(("function", gate.metric), []).append(where)
    return tuple(
        Runnable(kind, text, tuple(where), _files(_beginnings(kind, text), read))
        for (kind, text), where in named.items()
    )


def begins_at(gate: GateRule) -> list[str]:
    """Paths at which the command or function of a gate may begin; most are no files, and other gates have none."""
    if gate.command is not None:
        return _beginnings("command", gate.command)
    return _beginnings("function", gate.metric) if is_function(gate.metric) else []


def fingerprint(found: Iterable[Runnable]) -> Hash:
    """One hash of all of them, for caches of what they answered."""
    return Hash(blake3("".join(sorted(runnable.hash for runnable in found)).encode()).hexdigest())


def work_tree_reader(repo: Repo) -> Reader:
    """Files as they are in the work tree, where gates run them.

    Raises:
        UntrustedError: the repository is bare.
    """
    if repo.work_tree is None:
        raise UntrustedError("a bare repository has no work tree to run commands in")
    top = os.path.realpath(repo.work_tree)

    def read(path: str) -> Source | None:
        place = os.path.join(top, path)  # noqa: PTH118 - asked for thousands of names that are no files
        try:
            if not os.path.lexists(place):
                return None
            if os.path.realpath(place) != str(Path(place)):
                raise UntrustedError(f"{path} is, or lies behind, a symbolic link", hint="commands need plain files")
            fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):  # not there, not readable, or no possible name of a file
            return None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            return None
        with os.fdopen(fd, "rb") as stream:
            hasher = blake3()
            first = stream.read(_MAX_SOURCE + 1)
            block = first
            while block:
                hasher.update(block)
                block = stream.read(_BLOCK)
        return Source(Hash(hasher.hexdigest()), first if len(first) <= _MAX_SOURCE else None)

    return read


def untrusted(repo: Repo, found: Iterable[Runnable]) -> tuple[Runnable, ...]:
    """Those that nobody has allowed."""
    wanted = tuple(found)
    allowed = _allowed(repo) if wanted else {}
    return tuple(runnable for runnable in wanted if runnable.hash not in allowed)


def require(repo: Repo, found: Iterable[Runnable]) -> None:
    """Go on only when all of them may run.

    Raises:
        UntrustedError: with the first that may not.
    """
    refused = untrusted(repo, found)
    if refused:
        first = refused[0]
        more = f", and {len(refused) - 1} more" if len(refused) > 1 else ""
        raise UntrustedError(
            f"lepton.toml would run the {first.kind} {first.text!r}{more}, which nobody in this clone has allowed",
            hint="look at it, then: git lepton trust",
        )


def allow(repo: Repo, found: Iterable[Runnable]) -> None:
    """Note that these may run in this clone, with today's date."""
    today = time.strftime("%Y-%m-%d", time.gmtime())
    _change(repo, {runnable.hash: f"{runnable.hash} {today} {runnable.text!a}" for runnable in found}, ())


def revoke(repo: Repo, found: Iterable[Runnable] | None = None) -> int:
    """Take the permission back from these, or from everything ever allowed in this clone; returns how many had it."""
    return _change(repo, {}, None if found is None else [runnable.hash for runnable in found])


def _list_path(repo: Repo) -> Path:
    return repo.lepton_dir / FILE_NAME


def _allowed(repo: Repo) -> dict[str, str]:
    """Hash to line. A line that is not ours allows nothing."""
    try:
        with _list_path(repo).open("rb") as file:
            data = file.read(_MAX_LIST)
    except FileNotFoundError:
        return {}
    lines = data.decode("ascii", "replace").splitlines()
    return {match[1]: line for line in lines if (match := _LINE.fullmatch(line))}


def _change(repo: Repo, added: dict[Hash, str], removed: Sequence[str] | None) -> int:
    path = _list_path(repo)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.Lock(path.with_suffix(".lock"), timeout=_LOCK_SECONDS):
        before = _allowed(repo)
        gone = set(before) if removed is None else set(before) & set(removed)
        after = {name: line for name, line in before.items() if name not in gone} | added
        if after != before:
            atomic.write_file(path, "".join(f"{line}\n" for line in after.values()).encode(), mode=0o600)
    return len(gone)


def _beginnings(kind: str, text: str) -> list[str]:
    """Paths at which a command or function may begin; most are no files."""
    if kind == "function":
        return _module_paths(text.partition(":")[0], ("",))
    try:
        words = shlex.split(text, comments=False)
    except ValueError:  # an open quote: the shell will say so
        words = text.split()
    words = [part for word in words for part in re.split(r"[;&|<>()=]+", word) if part]
    found = [plain_path(word) for word in words if path_problem(word) is None]
    for option, module in pairwise(words):
        if option == "-m" and re.fullmatch(r"[\w.]+", module):
            found += [*_module_paths(module, ("",)), *_module_paths(f"{module}.__main__", ("",))]
    return found


def _files(beginnings: Sequence[str], read: Reader) -> tuple[tuple[str, Hash], ...]:
    """Files that are there, and all Python files of the repository that they import."""
    found: dict[str, Hash] = {}
    seen = set(beginnings)
    waiting = list(dict.fromkeys(beginnings))
    roots = dict.fromkeys(["", *(_folder(path) for path in beginnings)])  # a script's folder is where imports begin
    while waiting:
        path = waiting.pop()
        source = read(path) if path else None
        if source is None:
            continue
        found[path] = source.blake3
        if len(found) > MAX_FILES:
            raise UntrustedError(f"a command of lepton.toml reaches more than {MAX_FILES} files: {path}")
        new = [other for other in _imports(path, source.text, tuple(roots)) if other not in seen]
        seen.update(new)
        waiting += new
    return tuple(sorted(found.items()))


def _imports(path: str, text: bytes | None, roots: tuple[str, ...]) -> Iterator[str]:
    """Paths that the modules which a Python file imports would have in the repository."""
    if text is None or not path.endswith(".py"):
        return
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # it will not run either
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _module_paths(alias.name, roots)
        elif isinstance(node, ast.ImportFrom):
            base, parents = roots, PurePosixPath(path).parents
            if node.level:
                if node.level > len(parents):
                    continue
                base = (_text(parents[node.level - 1]),)
            for alias in node.names:
                yield from _module_paths(".".join(filter(None, (node.module, alias.name))), base)


def _module_paths(module: str, roots: Iterable[str]) -> list[str]:
    """Every file that importing `module` may run: the packages on its way, and the module or package itself."""
    parts = module.split(".")
    found = []
    for root in roots:
        for depth in range(len(parts) + 1):
            stem = "/".join(filter(None, (root, *parts[:depth])))
            if depth:
                found.append(f"{stem}.py")
            found.append(f"{stem}/__init__.py" if stem else "")
    return found


def _folder(path: str) -> str:
    return _text(PurePosixPath(path).parent)


def _text(folder: PurePosixPath) -> str:
    return "" if str(folder) == "." else str(folder)
