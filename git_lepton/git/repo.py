"""Where a repository is, and the one way to run git in it.

`discover` asks git once. Two cases differ in what they do with the environment:

* With a path, the repository is somebody else's: variables that point git at a repository (`GIT_DIR`,
  `GIT_INDEX_FILE`, … the list of `git rev-parse --local-env-vars`, settings passed by `git -c` excepted) are removed.
* Without one, we were called by a person or by git itself (filter, hook), and those variables are the truth: the index
  may be a temporary one, the object folder a quarantine. They may be relative, so they are made absolute here; then
  every command can run at the top of the work tree, wherever we were started.

All commands run with messages in English, without fetching objects of a partial clone behind our back (each would be
one connection), and without taking optional locks. Paths cross this border as bytes.

git's configuration is read in one call and kept for the life of a `Repo`. Values are text; bytes that are not UTF-8
become lone surrogates (`os.fsdecode`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final, Literal

from git_lepton import proc
from git_lepton.errors import CommandError, GitError, UsageError
from git_lepton.values import Oid

ObjectFormat = Literal["sha1", "sha256"]
"""How git names objects."""

Scope = Literal["local", "global", "worktree"]
"""Which configuration file a setting is written to."""

GIT_FLOOR: Final = (2, 34)
"""Oldest git that is supported: the one of the oldest Ubuntu LTS still maintained; `fetch --stdin` is from 2.29,
`rev-parse --path-format` from 2.31."""

_LOCAL_VARIABLES: Final = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)

_ALWAYS: Final[dict[str, str | None]] = {
    "LC_ALL": "C",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
}

_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0", ""})
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_UNSET_NOTHING: Final = 5  # git config --unset of a key that is not there

# `git rev-parse` prints an option that it does not know as it is. That separates paths which may hold line ends, and
# tells a git older than `--show-ref-format` (2.45).
_NO_REPOSITORY: Final = "not a git repository"  # git refuses for other reasons too, such as its owner
_SEPARATOR: Final = b"--lepton/\n"  # no path ends in a slash


@dataclass(frozen=True, slots=True)
class Repo:
    """One repository as git sees it.

    Attributes:
        git_dir: of this work tree (`.git`, or `.git/worktrees/x`), absolute.
        common_dir: shared by all work trees (`.git`), absolute.
        work_tree: top of the work tree, absolute; None in a bare repository.
        object_format: the hash that names objects.
        ref_format: "files" or "reftable".
        object_dir: where git writes objects: `common_dir/objects`, or `GIT_OBJECT_DIRECTORY`.
        index_file: the index in force, which may be a temporary one.
        alternates: object folders added by `GIT_ALTERNATE_OBJECT_DIRECTORIES`.
        environment: what is laid over our environment for every command.
        timeout: seconds after which a command that ends by itself is killed, as one that failed; None waits for ever.
    """

    git_dir: Path
    common_dir: Path
    work_tree: Path | None
    object_format: ObjectFormat
    ref_format: str
    object_dir: Path
    index_file: Path
    alternates: tuple[Path, ...] = ()
    environment: tuple[tuple[str, str | None], ...] = field(default=(), repr=False)
    timeout: float | None = None
    _config: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def lepton_dir(self) -> Path:
        """Our own folder, shared by all work trees; it may not exist yet."""
        return self.common_dir / "lepton"

    @property
    def cwd(self) -> Path:
        """Where git commands run: the top of the work tree, or the git folder when there is none."""
        return self.git_dir if self.work_tree is None else self.work_tree

    @property
    def oid_size(self) -> int:
        """Bytes of a binary object id."""
        return 20 if self.object_format == "sha1" else 32

    @property
    def null_oid(self) -> Oid:
        """The id that means "no object": all zeros."""
        return Oid("0" * (2 * self.oid_size))

    def git(
        self,
        *args: proc.Argument,
        input: bytes | None = None,  # noqa: A002 - the word that subprocess.run uses
        check: bool = True,
        env: proc.Environment | None = None,
    ) -> proc.Completed:
        """Run `git args…` at the top of the work tree.

        Args:
            args: after `git`; global options come first.
            input: bytes for standard input.
            check: raise when the status is not 0.
            env: laid over the environment of this repository.

        Raises:
            GitError: with `check`, git's status was not 0.
            UsageError: git is not installed.
        """
        try:
            done = proc.run(
                ("git", *args),
                input=input,
                cwd=self.cwd,
                env=self._environment(env),
                check=False,
                timeout=self.timeout,
            )
        except CommandError as error:
            if error.status >= 0:
                raise git_not_started(error) from error
            done = proc.Completed(error.status, b"", f"fatal: {error.stderr}".encode())
        if check and done.status != 0:
            raise git_error(args, done)
        return done

    def git_spawn(self, *args: proc.Argument, env: proc.Environment | None = None) -> proc.Process:
        """Start a long-lived `git args…` at the top of the work tree. Raises UsageError without git."""
        try:
            return proc.spawn(("git", *args), cwd=self.cwd, env=self._environment(env))
        except CommandError as error:
            raise git_not_started(error) from error

    def _environment(self, env: proc.Environment | None) -> dict[str, str | None]:
        return {**_ALWAYS, **dict(self.environment), **(env or {})}


def git_error(args: Sequence[proc.Argument], done: proc.Completed, *, hint: str | None = None) -> GitError:
    """The error for a git command that ended as `done`."""
    return GitError([os.fsdecode(a) for a in args], done.status, done.stderr.decode(errors="replace"), hint=hint)


def git_not_started(error: CommandError) -> UsageError:
    """The error for a git that could not be started."""
    return UsageError(f"git cannot be run: {error.stderr}", hint="install git, or add it to PATH")


def discover(path: Path | None = None) -> Repo:
    """Find the repository that `path` lies in, or the one that we were called in.

    Args:
        path: a folder (or a file's folder) inside the repository; None takes the current folder and obeys the
            environment, see the module's text.

    Raises:
        UsageError: there is no repository, or git refuses it.
    """
    given = path is not None
    asked = Path.cwd() if path is None else path.absolute()
    start = asked.parent if given and not asked.is_dir() else asked
    scrub: dict[str, str | None] = dict.fromkeys(_LOCAL_VARIABLES) if given else {}
    command = ("git", "rev-parse", "--path-format=absolute", "--show-object-format", "--show-ref-format")
    paths = ("--absolute-git-dir", "--git-common-dir", "--show-toplevel")
    try:
        done = proc.run(
            (*command, *(a for p in paths for a in (_SEPARATOR.strip().decode(), p))),
            cwd=start,
            env={**_ALWAYS, **scrub},
            check=False,
        )
    except CommandError as error:
        if not start.is_dir():
            raise UsageError(f"no such folder: {start}") from error
        raise git_not_started(error) from error
    # Without a work tree, git fails at --show-toplevel after it has printed the rest.
    fields = done.stdout.split(_SEPARATOR)
    if len(fields) != len(paths) + 1:
        reason = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ")
        hint = "go to your repository, or make one: git init" if _NO_REPOSITORY in reason else f"git says: {reason}"
        raise UsageError(f"not in a git repository: {asked}", hint=hint)
    git_dir, common_dir, top = (Path(os.fsdecode(f.removesuffix(b"\n"))) if f else None for f in fields[1:])
    formats = fields[0].decode().split()
    if git_dir is None or common_dir is None or len(formats) != 2 or formats[0] not in {"sha1", "sha256"}:
        raise UsageError(f"git gave no usable answer about {start}", hint=_floor_text())
    return _build(given, git_dir, common_dir, top, formats)


def _build(given: bool, git_dir: Path, common_dir: Path, top: Path | None, formats: list[str]) -> Repo:
    """Fill a `Repo`, with the environment's relative paths made absolute as git understands them."""
    if top == git_dir:  # in a server's hook: git takes the current folder for a work tree when only GIT_DIR is set
        top = None
    base = top or git_dir
    environment: dict[str, str | None] = {}
    if given:
        environment.update(dict.fromkeys(_LOCAL_VARIABLES))
    elif "GIT_DIR" in os.environ or "GIT_WORK_TREE" in os.environ:
        environment["GIT_DIR"] = str(git_dir)
        if top is not None:
            environment["GIT_WORK_TREE"] = str(top)
        if "GIT_COMMON_DIR" in os.environ:
            environment["GIT_COMMON_DIR"] = str(common_dir)
    object_dir, index_file = common_dir / "objects", git_dir / "index"
    alternates: tuple[Path, ...] = ()
    if not given:
        if value := os.environ.get("GIT_OBJECT_DIRECTORY"):
            object_dir = base / value
            environment["GIT_OBJECT_DIRECTORY"] = str(object_dir)
        if value := os.environ.get("GIT_INDEX_FILE"):
            index_file = base / value
            environment["GIT_INDEX_FILE"] = str(index_file)
        if value := os.environ.get("GIT_ALTERNATE_OBJECT_DIRECTORIES"):
            alternates = tuple(base / item for item in value.split(os.pathsep) if item)
            environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = os.pathsep.join(map(str, alternates))
    return Repo(
        git_dir=git_dir,
        common_dir=common_dir,
        work_tree=top,
        object_format="sha1" if formats[0] == "sha1" else "sha256",
        ref_format=formats[1] if formats[1] in {"files", "reftable"} else "files",
        object_dir=object_dir,
        index_file=index_file,
        alternates=alternates,
        environment=tuple(environment.items()),
    )


@cache
def git_version() -> tuple[int, ...]:
    """Version of the git on PATH, such as (2, 39, 5). Raises UsageError when there is none."""
    try:
        text = proc.run(("git", "version")).stdout.decode(errors="replace")
    except CommandError as error:
        raise git_not_started(error) from error
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if match is None:
        raise UsageError(f"cannot read git's version: {text.strip()}")
    return tuple(int(part) for part in match.groups() if part is not None)


def require_git() -> None:
    """Raise UsageError when git is missing or older than `GIT_FLOOR`."""
    version = git_version()
    if version < GIT_FLOOR:
        raise UsageError(f"git {'.'.join(map(str, version))} is too old", hint=_floor_text())


def work_tree(repo: Repo) -> Path:
    """The top of the work tree.

    Raises:
        UsageError: the repository is bare.
    """
    if repo.work_tree is None:
        raise UsageError(
            "this needs a work tree, and the repository is bare",
            hint="run it in a clone, or use git lepton export to write a file elsewhere",
        )
    return repo.work_tree


def _floor_text() -> str:
    return f"git-lepton needs git {'.'.join(map(str, GIT_FLOOR))} or newer"


def config_get_all(repo: Repo, key: str) -> tuple[str, ...]:
    """Every value of `key`, lowest precedence first; a key without "=" has the value "true"."""
    cache = repo._config
    if not cache:
        cache[""] = ()  # marks an empty configuration as read
        for entry in repo.git("config", "--null", "--list").stdout.split(b"\0"):
            name, equals, value = entry.partition(b"\n")
            if name:
                text = os.fsdecode(name)
                cache[text] = (*cache.get(text, ()), os.fsdecode(value) if equals else "true")
    return cache.get(_canonical(key), ())


def config_get(repo: Repo, key: str) -> str | None:
    """The value of `key` that is in force, or None."""
    values = config_get_all(repo, key)
    return values[-1] if values else None


def config_bool(repo: Repo, key: str, *, default: bool) -> bool:
    """The truth value of `key`.

    Raises:
        UsageError: it is set to something else.
    """
    value = config_get(repo, key)
    if value is None:
        return default
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise UsageError(f"git config {key} is not a truth value: {value!r}")


def config_int(repo: Repo, key: str, *, default: int) -> int:
    """The whole number of `key`, with git's suffixes k, m and g.

    Raises:
        UsageError: it is set to something else.
    """
    value = config_get(repo, key)
    if value is None:
        return default
    text = value.strip().lower()
    unit = text[-1:] if text[-1:] in _UNITS else ""
    digits = text.removesuffix(unit)
    if not digits.removeprefix("-").isascii() or not digits.removeprefix("-").isdigit():
        raise UsageError(f"git config {key} is not a number: {value!r}")
    return int(digits) * _UNITS[unit]


def config_set(repo: Repo, key: str, value: str, *, scope: Scope = "local") -> None:
    """Set `key` to the one `value`, replacing all values that it has in `scope`."""
    repo.git("config", f"--{scope}", "--replace-all", key, value)
    repo._config.clear()


def config_unset(repo: Repo, key: str, *, scope: Scope = "local") -> bool:
    """Remove all values of `key` in `scope`; returns whether there were any."""
    args = ("config", f"--{scope}", "--unset-all", key)
    done = repo.git(*args, check=False)
    repo._config.clear()
    if done.status not in {0, _UNSET_NOTHING}:
        raise git_error(args, done)
    return done.status == 0


def _canonical(key: str) -> str:
    """`key` as `git config --list` prints it."""
    section, _, rest = key.partition(".")
    middle, dot, variable = rest.rpartition(".")
    return f"{section.lower()}.{middle}{dot}{variable.lower()}"
