"""Setting git up: once a user (`install`), and once a repository (`init`).

For the user: the filter by name, so that `git clone` of a repository with weights just works. In a repository: hooks,
the filter again where the user has none, and three settings of git that keep its own upkeep away from weights. All of
it can be done again at any time, and undone.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from git_lepton import atomic, proc
from git_lepton.config.store import FILE_NAME
from git_lepton.drivers import hookfiles
from git_lepton.drivers.worktree import Written, materialise
from git_lepton.errors import CommandError
from git_lepton.git.repo import Repo, config_bool, config_get, config_set, config_unset, git_not_started, git_version
from git_lepton.store.store import Store

PROGRAM: Final = "git-lepton"
COMMAND_KEY: Final = "lepton.command"
"""How to start git-lepton where it is not on PATH: a line for the shell. Hooks, filter and merge driver look there."""
_START: Final = (
    f'set -- {PROGRAM}; command -v "$1" >/dev/null || eval "set -- $(git config --get {COMMAND_KEY})"; '
    f'command -v "$1" >/dev/null || {{{{ echo "{PROGRAM}: not on PATH, nor where it was installed. Repair it with:" '
    f'>&2; echo "{PROGRAM}:     pip install git-lepton && git lepton install" >&2; exit {{status}}; }}}}; '
    'exec "$@" {words}'
)
"""What git runs: a shell outside of the environment that git-lepton lives in is nothing unusual."""
HOOKS_KEY: Final = "lepton.hooks"
"""False: the filter must not put hooks in by itself. Set when a person took them out."""
PROCESS_KEY: Final = "filter.lepton.process"
REQUIRED_KEY: Final = "filter.lepton.required"
HEADER_KEY: Final = "diff.lepton.xfuncname"
# git shows above a change what this captures of the nearest line before it: the layer of its tensor (all of the name
# up to the last number), else the module, else the whole name. No textconv: git would smudge weights to feed it.
_TENSOR: Final = "^tensor [^ ]+ [^ ]+ [^ ]+ "
_MODULE: Final = "\n".join(_TENSOR + name for name in (r"(.*[./][0-9]+)[./]", r"(.+)[./][^./]+$", r"(.+)$"))
MERGE_KEY: Final = "merge.lepton.driver"
MERGE_NAME_KEY: Final = "merge.lepton.name"
_MERGE_NAME: Final = "weights, tensor by tensor"
_MERGE_FAILED: Final = 129
"""From here on git takes an exit status for a failure, and not for a conflict."""
CRUFT_KEY: Final = "gc.cruftPacks"
ATTRIBUTE_LINES: Final = (b"*.lp -delta\n", b".lepton/records/*.toml merge=lepton-record\n")
_RECORD_SETTINGS: Final = {
    "merge.lepton-record.name": "ours: the gate writes the record of a merged model anew",
    "merge.lepton-record.driver": "true",
}
"""Two records merged as text would be a lie, and a conflict in one has nothing that a person could decide."""
_CONFIG_HOOKS: Final = (2, 54)
"""git that reads `hook.<name>.command` from configuration."""
_UNSET_NOTHING: Final = 5


@dataclass(frozen=True, slots=True)
class InitReport:
    """What `init` did, in sentences, and the weights that it wrote to the work tree."""

    done: tuple[str, ...]
    written: Written | None = None


def command_line() -> str:
    """How to start this git-lepton, wherever PATH leads later: a line for the shell."""
    own = Path(sys.argv[0])
    if own.name.startswith(PROGRAM) and own.is_file():
        return shlex.quote(str(own.absolute()))
    found = shutil.which(PROGRAM)
    if found is not None:
        return shlex.quote(str(Path(found).absolute()))
    return f"{shlex.quote(sys.executable)} -m git_lepton"


def runs(command: str | None) -> bool:
    """Whether the program that such a line names is there."""
    try:
        words = shlex.split(command or "")
    except ValueError:  # a quotation mark that is not closed
        return False
    return bool(words) and shutil.which(words[0]) is not None


def _filter_settings() -> dict[str, str]:
    return {PROCESS_KEY: _START.format(status=1, words="filter-process"), REQUIRED_KEY: "true", HEADER_KEY: _MODULE}


def _merge_settings() -> dict[str, str]:
    # git quotes what it puts in place of %P for the shell.
    driver = _START.format(status=_MERGE_FAILED, words="merge-driver -- %O %A %B %L %P")
    return {MERGE_KEY: driver, MERGE_NAME_KEY: _MERGE_NAME, **_RECORD_SETTINGS}


def config_hooks(version: tuple[int, ...]) -> dict[str, str]:
    """Settings that make a git of this version run our hooks in every repository; none for an older git.

    They are silent where there is no lepton.toml, and where the repository has the hook as a file.
    """
    if version < _CONFIG_HOOKS:
        return {}
    settings = {}
    for name in hookfiles.NAMES:
        settings[f"hook.lepton-{name}.event"] = name
        settings[f"hook.lepton-{name}.command"] = (
            f"test ! -f {FILE_NAME}"
            f' || grep -qs "{hookfiles.MARK.decode()}" "$(git rev-parse --git-path hooks/{name})"'
            f" || {PROGRAM} hook {name}"
        )
    return settings


def install() -> list[str]:
    """Set git up for this user: filter, diff, and hooks by configuration where git knows them; returns what was done.

    Raises:
        UsageError: git is missing.
    """
    settings = {COMMAND_KEY: command_line()} | _filter_settings() | _merge_settings() | config_hooks(git_version())
    for key, value in settings.items():
        _global("--replace-all", key, value)
    done = ["git knows the filter of git-lepton now, in every repository of this user"]
    if shutil.which(PROGRAM) is None:
        done.append(f"{PROGRAM} is not on PATH: to type git lepton, add the folder that it is in")
    return done


def uninstall() -> list[str]:
    """Undo `install`; returns what was done."""
    keys = (COMMAND_KEY, *_filter_settings(), *_merge_settings(), *config_hooks(_CONFIG_HOOKS))
    removed = [key for key in keys if _global("--unset-all", key) != _UNSET_NOTHING]
    return ["git no longer knows the filter of git-lepton"] if removed else ["there was nothing to undo"]


def _global(*args: str) -> int:
    command = ("git", "config", "--global", *args)
    try:
        done = proc.run(command, check=False)
    except CommandError as error:
        raise git_not_started(error) from error
    if done.status not in {0, _UNSET_NOTHING}:
        raise CommandError(command, done.status, done.stderr.decode(errors="replace"))
    return done.status


def init(repo: Repo, store: Store | None = None) -> InitReport:
    """Set this repository up, or put right what is not as it should be; with `store`, also pull weights.

    Args:
        repo: the repository.
        store: its store, to write the weights of files that are still manifests to the work tree.

    Raises:
        LeptonError: of any kind: git failed, the configuration is broken.
    """
    done: list[str] = []
    local = {} if runs(_outside(repo, COMMAND_KEY)) else {COMMAND_KEY: command_line()}
    spoiled = _local(repo, PROCESS_KEY) == "" or not config_bool(repo, REQUIRED_KEY, default=False)
    if spoiled or _outside(repo, PROCESS_KEY) is None:
        local |= _filter_settings()
    if _outside(repo, MERGE_KEY) is None:
        local |= _merge_settings()
    if config_get(repo, CRUFT_KEY) is None:
        local[CRUFT_KEY] = "true"
    done += _set_local(repo, local)
    config_unset(repo, HOOKS_KEY)
    if _add_attributes(repo.common_dir / "info" / "attributes"):
        done.append("git will not look for deltas between chunks, nor merge records as text (info/attributes)")
    done += hookfiles.put_in(repo)
    written = None
    if store is not None and repo.work_tree is not None:
        written = materialise(repo, store)
    return InitReport(tuple(done), written)


def deinit(repo: Repo) -> list[str]:
    """Undo `init`: hooks, settings and attributes; stored weights stay. Returns what was done."""
    done = hookfiles.take_out(repo)
    keys = [COMMAND_KEY, PROCESS_KEY, REQUIRED_KEY, HEADER_KEY, *_merge_settings(), HOOKS_KEY]
    if _local(repo, CRUFT_KEY) == "true":
        keys.append(CRUFT_KEY)
    removed = [key for key in keys if config_unset(repo, key)]
    if removed:
        done.append("settings of git-lepton removed from this repository")
    _remove_attributes(repo.common_dir / "info" / "attributes")
    if config_get(repo, PROCESS_KEY) is not None:
        config_set(repo, HOOKS_KEY, "false")
        done.append(f"{HOOKS_KEY}=false keeps the filter, which is installed for this user, from adding hooks again")
    return done


def ensure_hooks(repo: Repo) -> list[str]:
    """What the filter does first: a push without our pre-push leaves weights behind, so see that there is one.

    Returns:
        What was done, or what the user must do; nothing when all is well.
    """
    if repo.work_tree is None or not config_bool(repo, HOOKS_KEY, default=True):
        return []
    if hookfiles.is_active(repo, "pre-push") or _has_config_hooks(repo):
        return []
    if hookfiles.is_foreign(repo):
        return [
            f"git-lepton is not in {hookfiles.folder(repo)}/pre-push (core.hooksPath): a push leaves weights behind."
            f" Add to it: {hookfiles.line_for('pre-push')}"
        ]
    if not init(repo).done:
        return []
    return ["hooks were added to this repository, so that a push sends weights (to undo: git lepton init --uninstall)"]


def _has_config_hooks(repo: Repo) -> bool:
    configured = config_get(repo, "hook.lepton-pre-push.command") is not None and git_version() >= _CONFIG_HOOKS
    return configured and repo.work_tree is not None and (repo.work_tree / FILE_NAME).is_file()


def _outside(repo: Repo, key: str) -> str | None:
    """The value of `key` that holds without this repository's own configuration."""
    output = repo.git("config", "--show-scope", "-z", "--get-all", key, check=False).stdout
    fields = output.decode(errors="surrogateescape").split("\0")
    values = [v for scope, v in zip(fields[0::2], fields[1::2], strict=False) if scope not in {"local", "worktree"}]
    return values[-1] if values else None


def _local(repo: Repo, key: str) -> str | None:
    done = repo.git("config", "--local", "--get", key, check=False)
    return done.stdout.decode(errors="surrogateescape").removesuffix("\n") if done.status == 0 else None


def _set_local(repo: Repo, settings: Mapping[str, str]) -> list[str]:
    changed = [key for key, value in settings.items() if _local(repo, key) != value]
    for key in changed:
        config_set(repo, key, settings[key])
    return [f"git config set: {', '.join(changed)}"] if changed else []


def _add_attributes(path: Path) -> bool:
    content = path.read_bytes() if path.exists() else b""
    missing = b"".join(line for line in ATTRIBUTE_LINES if line not in content.splitlines(keepends=True))
    if not missing:
        return False
    gap = b"\n" if content and not content.endswith(b"\n") else b""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_file(path, content + gap + missing, durable=False)
    return True


def _remove_attributes(path: Path) -> None:
    if not path.exists():
        return
    content = path.read_bytes()
    kept = b"".join(line for line in content.splitlines(keepends=True) if line not in ATTRIBUTE_LINES)
    if kept:
        if kept != content:
            atomic.write_file(path, kept, durable=False)
    elif content:
        path.unlink()
