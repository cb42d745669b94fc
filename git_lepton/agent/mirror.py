"""The agent's own bare repository: what the remote has of the channels that are followed, and nothing else.

It is a partial clone that has no branches: for each channel the tag, its commit and that commit's trees
(`--depth=1 --filter=blob:none`), then exactly the blobs and chunks that a bundle needs, by object id.

Configuration. Secrets, proxies and ssh options are the operator's, so git's system and user configuration stay in
force. What a repository could use against us is pinned in the environment of every command, above any file: no hooks,
no file system monitor, no transport but those that agent.toml names, no submodules, every received object checked. The
mirror's own configuration is written anew whenever it is opened, and it has no alternates.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

from git_lepton import atomic, proc
from git_lepton.agent.settings import Settings, schemes
from git_lepton.errors import CorruptError, GitError, MissingError
from git_lepton.git.local import copy_objects
from git_lepton.git.objects import ObjectReader
from git_lepton.git.refs import read_ref
from git_lepton.git.remote import NoSuchRefError, fetch_oids, fetch_refs, is_ssh, ls_remote
from git_lepton.git.repo import Repo, discover
from git_lepton.proc import Completed
from git_lepton.release.log import LogEntry
from git_lepton.release.log import read as read_log
from git_lepton.release.names import channel_ref, log_ref
from git_lepton.store.store import Store
from git_lepton.transfer.fetch import bring
from git_lepton.values import Hash, Oid

REMOTE: Final = "origin"
STORE: Final = "store"
TAGS: Final = "refs/lepton-agent/tags/"
LOGS: Final = "refs/lepton-agent/logs/"
_NEXT: Final = "mirror.next"
_OLD: Final = "mirror.old"
_ASKING: Final = 60.0
"""Seconds for a question, whatever the time limit of fetches is."""
MANY_PACKS: Final = 60
"""More packs than this slow every look-up down: the mirror is copied, packed, to a new one."""

_FETCH: Final = (
    *("-c", "protocol.version=2", "-c", "fetch.unpackLimit=1", "-c", "fetch.negotiationAlgorithm=noop"),
    *("fetch", "--quiet", "--depth=1", "--filter=blob:none", "--no-tags", "--no-write-fetch-head", "--no-prune"),
    *("--recurse-submodules=no", "--refmap="),
)
_LOCAL: Final = (
    "--upload-pack=git -c uploadpack.allowFilter=true -c uploadpack.allowAnySHA1InWant=true"
    " -c core.bigFileThreshold=128k upload-pack"
)
"""A remote that git starts on this machine is ours to tell that it may leave blobs out."""
_DAMAGE: Final = re.compile(
    "fsck error|index-pack failed|invalid index-pack|bad object|did not send all necessary|unpack-objects"
    "|pack is corrupt|inflate|bad packfile|protocol error|bad line length|corrupt"
)
_NO_SPACE: Final = re.compile("No space left on device|File too large|Disk quota exceeded")


class Mirror:
    """One mirror. To be used from one thread."""

    def __init__(self, settings: Settings) -> None:
        """Prepare; nothing is touched before `open`."""
        self._settings = settings
        self._folder = settings.state / "mirror.git"
        self._repo: Repo | None = None

    @property
    def repo(self) -> Repo:
        """The repository, made when it is not there."""
        if self._repo is None:
            self._repo = self._open(self._folder)
        return self._repo

    def store(self) -> Store:
        """Its store; close it when a piece of work is done, so that an idle agent holds no files open."""
        return Store(self.repo)

    @property
    def remotes(self) -> tuple[str, ...]:
        """Where weights come from, in the order to ask."""
        return (STORE, REMOTE) if self._settings.store else (REMOTE,)

    # Asking

    def ask(self, channels: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Oid]:
        """What the remote's tags of these channels point to; those that it does not have are left out.

        The names are exact, so a remote that speaks version 2 answers with these refs and no others.

        Raises:
            MissingError: it cannot be reached.
        """
        refs = {channel_ref(model, channel): (model, channel) for model, channel in channels}
        quick = dataclasses.replace(self.repo, timeout=min(_ASKING, self._settings.timeout))
        listed = ls_remote(quick, REMOTE, sorted(refs) or ["HEAD"])  # without any name it would list all refs
        return {refs[ref]: oid for ref, oid in listed.items() if ref in refs}

    def fetch_tag(self, name: str, model: str, channel: str) -> Oid:
        """Have a channel's tag here, its commit and trees; returns what the tag pointed to just then.

        Raises:
            MissingError: the remote cannot be reached, or lost the tag meanwhile.
            CorruptError: what it sent is malformed.
        """
        ref = TAGS + name
        self._fetch(f"+{channel_ref(model, channel)}:{ref}")
        found = read_ref(self.repo, ref)
        if found is None:
            raise MissingError(f"{ref} was not fetched")
        return found

    def fetch_commit(self, commit: Oid) -> None:
        """Have one commit here with its trees, unless it is. Raises as `fetch_tag`."""
        with self.store() as store:
            if store.objects.contains([commit]):
                return
        self._fetch(commit)

    def fetch_log(self, store: Store, name: str, model: str, channel: str) -> Iterable[LogEntry]:
        """The moves of a channel, the newest first, as the remote's log has them now.

        Raises:
            MissingError: the remote cannot be reached, or has no log.
            CorruptError, VerificationError: the log is no log; while it is read.
        """
        ref = LOGS + name
        fetch_refs(self.repo, REMOTE, [f"+{log_ref(model, channel)}:{ref}"], haves=f"{LOGS}*")
        tip = read_ref(self.repo, ref)
        return iter(()) if tip is None else read_log(self.repo, store.objects, tip)

    def fetch_blobs(self, objects: ObjectReader, blobs: Collection[Oid]) -> int:
        """Have these blobs here; returns the bytes of those that had to come.

        Raises:
            MissingError: the remote cannot be reached, or lacks one.
        """
        absent = set(blobs) - objects.contains(blobs)
        fetch_oids(self.repo, REMOTE, absent)
        return sum(objects.size(oid) for oid in absent)

    def _fetch(self, spec: str) -> None:
        url = self._settings.remote
        local = ("://" not in url and not is_ssh(url)) or url.startswith("file://")
        done = self.repo.git(*_FETCH, *((_LOCAL,) if local else ()), "--", REMOTE, spec, check=False)
        if done.status != 0:
            raise _fetch_error(done)

    # Its folder

    def _open(self, folder: Path) -> Repo:
        """Make the folder if need be, and write its configuration, which nobody else has a say in."""
        old = folder.with_name(_OLD)
        if not folder.exists() and (old / "HEAD").is_file():
            old.rename(folder)  # an agent was killed while it went over to a new mirror
        if not (folder / "HEAD").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            self._settings.state.mkdir(parents=True, exist_ok=True)
            draft = folder.with_name(folder.name + ".new")
            shutil.rmtree(draft, ignore_errors=True)
            command = ("git", "init", "--quiet", "--bare", "--template=", "--initial-branch=none")
            proc.run((*command, f"--object-format={self._settings.object_format}", draft))
            draft.rename(folder)
        for stale in ("objects/info/alternates", "objects/info/http-alternates", "config.worktree"):
            (folder / stale).unlink(missing_ok=True)
        for lock in ("shallow.lock", "packed-refs.lock"):
            (folder / lock).unlink(missing_ok=True)  # of a git that was killed: the mirror is ours alone
        config = self._config().encode()
        if (folder / "config").read_bytes() != config:
            atomic.write_file(folder / "config", config)
        found = discover(folder)
        environment = (*found.environment, *self._pins().items())
        return dataclasses.replace(found, environment=environment, timeout=self._settings.timeout)

    def _config(self) -> str:
        """The mirror's own configuration file."""
        sha256 = self._settings.object_format == "sha256"
        lines = ["[core]", "\trepositoryformatversion = 1", "\tbare = true", "[extensions]"]
        lines += [f"\tpartialClone = {REMOTE}", *(["\tobjectFormat = sha256"] * sha256)]
        lines += [f'[remote "{REMOTE}"]', f"\turl = {_quoted(self._settings.remote)}", "\tpromisor = true"]
        lines += ["\tpartialclonefilter = blob:none"]
        if self._settings.store:
            lines += [f'[remote "{STORE}"]', f"\turl = {_quoted(self._settings.store)}"]
        return "\n".join(lines) + "\n"

    def _pins(self) -> dict[str, str]:
        """Settings that no configuration file may change, for the environment of every command."""
        settings = {
            "core.hooksPath": os.devnull,
            "core.fsmonitor": "false",
            "core.logAllRefUpdates": "false",
            "fetch.recurseSubmodules": "no",
            "transfer.fsckObjects": "true",
            "gc.auto": "0",
            "maintenance.auto": "false",
            "http.lowSpeedLimit": "1000",
            "http.lowSpeedTime": "60",
            "protocol.allow": "never",
            "protocol.ext.allow": "never",
            # A new mirror is filled from the old one, by its path.
            **{f"protocol.{scheme}.allow": "always" for scheme in sorted({*schemes(self._settings), "file"})},
        }
        pins = {"GIT_CONFIG_COUNT": str(len(settings)), "GIT_TERMINAL_PROMPT": "0"}
        for number, (key, value) in enumerate(settings.items()):
            pins |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        return pins

    def compact(self, versions: Collection[Hash], blobs: Sequence[Oid]) -> bool:
        """When packs are many, go on with a new mirror that has only these versions and blobs; True when it did.

        git drops nothing from a partial clone, so what old releases needed goes with the old folder. A crash in
        between costs one fetch of what is missing. What a git that was killed had begun to receive goes at once.
        """
        packs = self.repo.object_dir / "pack"
        held = list(packs.iterdir()) if packs.is_dir() else []
        for path in held:
            if path.name.startswith("tmp_"):
                path.unlink(missing_ok=True)
        if sum(path.suffix == ".pack" for path in held) <= MANY_PACKS:
            return False
        fresh, old = self._folder.with_name(_NEXT), self._folder.with_name(_OLD)
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        new = self._open(fresh)
        with Store(new) as store:
            report = bring(store, versions, remotes=[str(self._folder)])
            copy_objects(self.repo, new, list(blobs))
        if report.missing:
            shutil.rmtree(fresh)
            return False
        self._repo = None
        self._folder.rename(old)
        fresh.rename(self._folder)
        shutil.rmtree(old, ignore_errors=True)
        return True


def is_full(error: BaseException) -> bool:
    """Whether an error, or what git said in it, means that there is no space."""
    return isinstance(error, GitError | MissingError | CorruptError) and _NO_SPACE.search(error.message) is not None


def _fetch_error(done: Completed) -> MissingError | CorruptError | GitError:
    text = done.stderr.decode(errors="replace")
    lines = [line for line in text.splitlines() if line.startswith(("fatal: ", "error: ", "ssh: "))]
    reason = "; ".join(lines[:3]) if lines else f"exit status {done.status}"
    reason = re.sub(r"(\w+://)[^/@\s]*@", r"\1", reason)
    if absent := re.search(r"couldn't find remote ref (\S+)", text):
        return NoSuchRefError(f"the remote has no {absent[1]}", absent[1])
    if _NO_SPACE.search(text):
        return GitError(("fetch",), done.status, reason)
    if _DAMAGE.search(text):
        return CorruptError(f"the remote sent what git refuses: {reason}")
    return MissingError(
        f"the remote cannot be reached: {reason}", hint="check its address, the network and your rights"
    )


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
