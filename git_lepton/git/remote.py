"""Talking to a remote through git: what it has, giving, and getting exactly these objects.

A remote is a name or a URL. Protocol version 2 is forced: it serves any object by id with no setting on the server.
An ssh server that does not accept the variable which asks for it speaks version 0, refuses, and is asked again with the
variable set on its own command line. What a person may have configured for plain fetches (pruning, tags, submodules,
partial clone filters, maintenance) is switched off, since these transfers are ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from git_lepton.errors import CorruptError, GitError, MissingError, UsageError
from git_lepton.git.local import copy_objects, repository_at
from git_lepton.git.objectid import check_oid
from git_lepton.git.repo import Repo, config_get, git_error
from git_lepton.proc import Completed
from git_lepton.values import Oid

PushStatus = Literal["new", "updated", "forced", "deleted", "unchanged", "rejected"]
"""What became of a ref on the remote."""

_PUSH_FLAGS: Final[dict[str, PushStatus]] = {
    "*": "new",
    " ": "updated",
    "+": "forced",
    "-": "deleted",
    "=": "unchanged",
    "!": "rejected",
}

_VERSION_2: Final = ("-c", "protocol.version=2")
_SMALL_MAPS: Final = ("-c", "core.packedGitLimit=256m", "-c", "core.packedGitWindowSize=32m")
"""git maps packs whole by default, so that sending a large version would fill memory with it."""
_NO_DELTAS: Final = "git -c core.bigFileThreshold=128k upload-pack"
"""A server looks for deltas between the chunks of different packs, in vain; this one is ours to tell."""
_NO_MAINTENANCE: Final = ("-c", "maintenance.auto=false", "-c", "gc.auto=0")
_FETCH: Final = (
    *("-c", "fetch.unpackLimit=1"),
    *_NO_MAINTENANCE,
    *_VERSION_2,
    *("-c", "fetch.writeCommitGraph=false", "fetch"),
    *("--quiet", "--no-tags", "--no-write-fetch-head", "--no-prune", "--recurse-submodules=no", "--no-filter"),
)
# The second is what git says of a remote of version 0 that has no refs at all.
_UNADVERTISED = re.compile("Server does not allow request for unadvertised object|no matching remote head")
_REF_NOT_MOVED: Final = 1
_NOT_OUR_REF = re.compile(r"not our ref ([0-9a-f]{40,64})")
_NO_SUCH_REF = re.compile(r"couldn't find remote ref (\S+)")
_SCP_LIKE = re.compile(r"[^/:]+:(?!:)")


class UnadvertisedError(MissingError):
    """The remote serves refs only, no single objects: protocol version 0 without permission for more."""


class LostObjectError(MissingError):
    """The remote does not have an object that was asked for. `oid` names it."""

    def __init__(self, message: str, oid: Oid) -> None:
        super().__init__(message, hint="try another remote that may have it")
        self.oid = oid


class NoSuchRefError(MissingError):
    """The remote does not have a ref that was asked for. `ref` names it."""

    def __init__(self, message: str, ref: str) -> None:
        super().__init__(message)
        self.ref = ref


@dataclass(frozen=True, slots=True)
class PushResult:
    """What the remote said about one ref. `summary` is git's, with the reason of a refusal in brackets."""

    status: PushStatus
    summary: str


def ls_remote(repo: Repo, remote: str, patterns: Sequence[str] = ()) -> dict[str, Oid]:
    """The remote's refs, peeled ones and HEAD left out; `patterns` as git matches them, whole names or globs.

    Raises:
        MissingError: the remote cannot be reached.
    """
    _check_remote(remote)
    done = repo.git(*_VERSION_2, "ls-remote", "--quiet", "--refs", "--", remote, *patterns, check=False)
    if done.status != 0:
        raise _unreachable(remote, done)
    lines = (line.split(b"\t", 1) for line in done.stdout.splitlines())
    return {name.decode(errors="surrogateescape"): Oid(oid.decode("ascii")) for oid, name in lines}


def push(
    repo: Repo,
    remote: str,
    refspecs: Sequence[str],
    *,
    atomic: bool = False,
    leases: Mapping[str, Oid | None] | None = None,
    dry_run: bool = False,
) -> dict[str, PushResult]:
    """Push `refspecs` without hooks, tags or submodules.

    Args:
        repo: where from.
        remote: where to.
        refspecs: `src:dst` with full names or object ids; `:dst` deletes.
        atomic: all or nothing, where the remote can.
        leases: ref of the remote -> what it must point to now (None: must not exist).
        dry_run: ask only.

    Returns:
        What became of each ref of the remote; the caller decides whether a refusal is an error.

    Raises:
        MissingError: the remote cannot be reached.
        GitError: a source is unknown, or git failed before it asked.
    """
    _check_remote(remote)
    if not refspecs:
        return {}
    args = [*_VERSION_2, *_NO_MAINTENANCE, "-c", "push.negotiate=false", "-c", "push.useForceIfIncludes=false"]
    # The sparse walk compares trees by path only, and would send again what lies under another path over there.
    args += ["-c", "pack.useSparse=false", *_SMALL_MAPS]
    args += ["push", "--porcelain", "--no-verify", "--no-follow-tags", "--recurse-submodules=no"]
    args += ["--atomic"] * atomic + ["--dry-run"] * dry_run
    args += [f"--force-with-lease={ref}:{oid or ''}" for ref, oid in sorted((leases or {}).items())]
    args += ["--", remote, *refspecs]
    done = repo.git(*args, check=False)
    results = _parse_porcelain(done.stdout)
    if done.status != 0 and not any(result.status == "rejected" for result in results.values()):
        local = re.search(r"src refspec|invalid refspec|bad object|unable to resolve", _text(done))
        raise git_error(args, done) if local else _unreachable(remote, done)
    return results


def fetch_oids(repo: Repo, remote: str, oids: Iterable[Oid]) -> None:
    """Get exactly these objects into one pack, with no ref to hold them.

    Raises:
        UnadvertisedError: the remote serves refs only.
        LostObjectError: the remote lacks one of them; nothing was stored.
        MissingError: the remote cannot be reached.
    """
    _check_remote(remote)
    wanted = sorted(set(oids))
    for oid in wanted:
        check_oid(oid)
    if not wanted:
        return
    url = repo.git("ls-remote", "--get-url", "--", remote).stdout.decode(errors="replace").strip()
    program = config_get(repo, f"remote.{remote}.uploadpack")
    local = not program and _is_local(url)
    if local and _copied(repo, url, wanted):
        return
    try:
        _fetch(repo, remote, wanted, (f"--upload-pack={_NO_DELTAS}",) if local else ())
    except UnadvertisedError:
        if not is_ssh(url):
            raise
        program = program or "git-upload-pack"
        _fetch(repo, remote, wanted, (f"--upload-pack=GIT_PROTOCOL=version=2 {program}",))


def fetch_refs(repo: Repo, remote: str, refspecs: Sequence[str], *, haves: str | None = None) -> None:
    """Fetch `refspecs` (`[+]src:dst`, exact names or globs) and nothing along with them.

    Args:
        repo: where to.
        remote: where from.
        refspecs: what; without `:dst` objects arrive with no ref to hold them.
        haves: tell the remote that commits of local refs matching this pattern are here; by default nothing is told,
            which is right where what is fetched has no common history with anything.

    Raises:
        NoSuchRefError: an exact ref is not there; nothing was fetched.
        MissingError: the remote cannot be reached.
        GitError: a local ref could not be moved, for one because it would not go forward.
    """
    _check_remote(remote)
    if refspecs:
        telling = () if haves is None else (f"--negotiation-tip={haves}",)
        _fetch(repo, remote, refspecs, ("--refmap=", *telling), negotiate=haves is not None)


def is_ssh(url: str) -> bool:
    """Whether git would reach `url` by ssh: `ssh://…`, or `host:path` as scp has it."""
    if "://" in url:
        return url.startswith(("ssh://", "git+ssh://", "ssh+git://"))
    return _SCP_LIKE.match(url) is not None


def _copied(repo: Repo, url: str, oids: Sequence[Oid]) -> bool:
    """Copy from a repository on this machine; False where git had better do it, or say what is wrong."""
    source = repository_at(url, repo)
    if source is None:
        return False
    try:
        copy_objects(source, repo, oids)
    except (MissingError, CorruptError, PermissionError):
        return False
    return True


def _is_local(url: str) -> bool:
    """Whether git starts the other side itself, so that it may be told how to run."""
    return url.startswith("file://") or ("://" not in url and not is_ssh(url))


def _fetch(repo: Repo, remote: str, lines: Sequence[str], options: Sequence[str], *, negotiate: bool = False) -> None:
    if any("\n" in line for line in lines):
        raise UsageError("a refspec with a line end")
    algorithm = "consecutive" if negotiate else "noop"
    args = ("-c", f"fetch.negotiationAlgorithm={algorithm}", *_FETCH, *options, "--stdin", "--", remote)
    done = repo.git(*args, input="".join(f"{line}\n" for line in lines).encode(), check=False)
    if done.status != 0:
        raise _fetch_error(remote, args, done)


def _fetch_error(remote: str, args: Sequence[str], done: Completed) -> MissingError | GitError:
    text = _text(done)
    if _UNADVERTISED.search(text):
        return UnadvertisedError(
            f"{_shown(remote)} does not serve single objects", hint="enable protocol version 2 on the server"
        )
    if lost := _NOT_OUR_REF.search(text):
        return LostObjectError(f"{_shown(remote)} does not have object {lost[1]}", Oid(lost[1]))
    if absent := _NO_SUCH_REF.search(text):
        return NoSuchRefError(f"{_shown(remote)} has no ref {absent[1]}", absent[1])
    if done.status == _REF_NOT_MOVED or re.search(r"refusing to fetch|invalid refspec", text):
        return git_error(args, done, hint="a local ref could not be moved; one that would not go forward needs a +")
    return _unreachable(remote, done)


def _unreachable(remote: str, done: Completed) -> MissingError:
    lines = [line for line in _text(done).splitlines() if line.startswith(("fatal: ", "error: ", "ssh: "))]
    reason = lines[0].removeprefix("fatal: ").removeprefix("error: ") if lines else f"exit status {done.status}"
    return MissingError(
        f"remote {_shown(remote)} cannot be reached: {_shown(reason)}",
        hint="check its URL (`git remote -v`), the network and your rights",
    )


def _parse_porcelain(output: bytes) -> dict[str, PushResult]:
    results = {}
    for line in output.decode(errors="surrogateescape").splitlines():
        flag, tab, rest = line[:1], line[1:2], line[2:]
        names, _, summary = rest.partition("\t")
        if tab == "\t" and flag in _PUSH_FLAGS and ":" in names:
            results[names.rpartition(":")[2]] = PushResult(_PUSH_FLAGS[flag], summary)
    return results


def _check_remote(remote: str) -> None:
    if not remote or remote.startswith("-") or "\n" in remote:
        raise UsageError(f"not a remote: {remote!r}")


def _text(done: Completed) -> str:
    return done.stderr.decode(errors="replace")


def _shown(text: str) -> str:
    """`text` with the user and password of URLs left out."""
    return re.sub(r"(\w+://)[^/@\s]*@", r"\1", text)
