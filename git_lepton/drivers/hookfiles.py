"""Hook files of a repository: ours put in, those of others chained, and both undone.

Ours are small shell scripts that share `git-lepton.sh` beside them. A hook of somebody else under the same name is
moved to `NAME.before-lepton`; ours runs it first, with the same arguments and input. Taking ours out moves it back, so
that its bytes are the same as before. Where `core.hooksPath` leads outside the repository, the folder belongs to
somebody else (husky, a company's dotfiles) and nothing is touched: we tell which line to add.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import git_lepton
from git_lepton import atomic
from git_lepton.errors import UsageError
from git_lepton.git.repo import Repo, config_get

NAMES: Final = ("pre-commit", "pre-merge-commit", "post-commit", "post-merge", "post-checkout", "pre-push")
SHARED: Final = "git-lepton.sh"
MARK: Final = b"# git-lepton hook:"
"""In the second line of each of our hooks."""
ASIDE: Final = ".before-lepton"
LEGACY: Final = ".legacy"
"""Where the pre-commit framework moves a hook that it finds, and from where it runs it."""
_HEAD: Final = 4096


def source_folder() -> Path:
    """Where our hooks come from: inside the installed package, or beside it in a source tree."""
    package = Path(git_lepton.__file__).parent
    for folder in (package / "_hooks", package.parent / "hooks"):
        if (folder / SHARED).is_file():
            return folder
    raise UsageError(
        "the hooks of git-lepton were not installed with it", hint="pip install --force-reinstall git-lepton"
    )


def folder(repo: Repo) -> Path:
    """Where git looks for hooks."""
    if config_get(repo, "core.hooksPath") is None:
        return repo.common_dir / "hooks"
    path = repo.git("rev-parse", "--path-format=absolute", "--git-path", "hooks").stdout
    return Path(path.decode(errors="surrogateescape").removesuffix("\n"))


def is_foreign(repo: Repo) -> bool:
    """Whether the hooks folder lies outside the repository's own folder."""
    return not folder(repo).resolve().is_relative_to(repo.common_dir.resolve())


def is_active(repo: Repo, name: str) -> bool:
    """Whether git runs our hook `name`: it is there, chained by the pre-commit framework, or called by name."""
    path = folder(repo) / name
    return is_ours(path) or (path.exists() and (is_ours(_with(path, LEGACY)) or _calls_us(path, name)))


def is_ours(path: Path) -> bool:
    """Whether the file at `path` is one of our hooks, of whatever version."""
    return MARK in _beginning(path)


def line_for(name: str) -> str:
    """What to write into a hook of somebody else."""
    return f'git-lepton hook {name} "$@" || exit 1'


def put_in(repo: Repo) -> list[str]:
    """Install or renew all hooks; returns what was done, in sentences. Nothing is said of what was there already."""
    target, source = folder(repo), source_folder()
    if is_foreign(repo):
        missing = [name for name in NAMES if not is_active(repo, name)]
        lines = "".join(f"\n    in {name}: {line_for(name)}" for name in missing)
        return [f"core.hooksPath is {target}, which is left alone; add these lines there:{lines}"] if missing else []
    target.mkdir(parents=True, exist_ok=True)
    repo.lepton_dir.mkdir(parents=True, exist_ok=True)
    done, added = [], []
    with atomic.Lock(repo.lepton_dir / "hooks.lock"):
        atomic.write_file(target / SHARED, (source / SHARED).read_bytes(), mode=0o644, durable=False)
        for name in NAMES:
            path, aside = target / name, _with(target / name, ASIDE)
            if path.exists() and not is_ours(path):
                if is_active(repo, name):
                    continue
                if aside.exists() or aside.is_symlink():
                    done.append(
                        f"hook {name} was left alone, since {aside.name} exists too; add to it: {line_for(name)}"
                    )
                    continue
                path.replace(aside)
                done.append(f"your hook {name} is now {aside.name}, and runs first")
            if not is_ours(path):
                added.append(name)
            atomic.write_file(path, (source / name).read_bytes(), mode=0o755, durable=False)
    return [f"hooks installed: {', '.join(added)}", *done] if added else done


def take_out(repo: Repo) -> list[str]:
    """Remove our hooks and put back those that were moved aside; returns what was done."""
    target = folder(repo)
    if is_foreign(repo):
        return [f"core.hooksPath is {target}, which is left alone; remove the lines that call git-lepton there"]
    done, removed = [], []
    for name in NAMES:
        path, aside = target / name, _with(target / name, ASIDE)
        if is_ours(path):
            path.unlink()
            removed.append(name)
        if aside.exists() or aside.is_symlink():
            if path.exists():
                done.append(f"{aside} was left where it is, since there is another {name} now")
                continue
            aside.replace(path)
            done.append(f"your hook {name} is back")
    if not any(is_ours(_with(target / name, LEGACY)) for name in NAMES):
        (target / SHARED).unlink(missing_ok=True)
    return [f"hooks removed: {', '.join(removed)}", *done] if removed else done


def _calls_us(path: Path, name: str) -> bool:
    text = _beginning(path, whole=True)
    return any(f"{spelling} hook {name}".encode() in text for spelling in ("git-lepton", "git lepton"))


def _beginning(path: Path, *, whole: bool = False) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1 << 20 if whole else _HEAD)
    except OSError:
        return b""


def _with(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
