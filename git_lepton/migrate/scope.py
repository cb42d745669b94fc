"""Which refs a migration moves and which commits lie below them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from git_lepton.errors import UsageError
from git_lepton.git.refs import read_ref
from git_lepton.git.repo import Repo
from git_lepton.migrate.plan import RefMove, Request
from git_lepton.values import Oid

HEADS: Final = "refs/heads/"
TAGS: Final = "refs/tags/"
BACKUPS: Final = "refs/original/lepton/"
"""Where the refs of before are kept, as `git filter-branch` does: git does not push them by itself."""

_CONTAINS: Final = 20


@dataclass(frozen=True, slots=True)
class Scope:
    """Refs to move, and their commits with parents before children; with `no_rewrite` only the commit of HEAD."""

    moves: tuple[RefMove, ...]
    commits: tuple[Oid, ...]


def as_stored(repo: Repo) -> Repo:
    """The repository without replacement refs, so that what is read is what the ids say."""
    return replace(repo, environment=(*repo.environment, ("GIT_NO_REPLACE_OBJECTS", "1")))


def resolve(repo: Repo, request: Request) -> Scope:
    """Find refs and commits.

    Raises:
        UsageError: a contradiction, an unknown ref, no commit, a detached HEAD, or a shallow repository.
    """
    if request.no_rewrite:
        if request.everything or request.refs:
            raise UsageError("without a rewrite, only the branch that is checked out gets a new commit: give no refs")
        return _head(repo)
    if request.everything and request.refs:
        raise UsageError("either name refs, or take everything")
    if repo.git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true":
        raise UsageError("a shallow clone does not have the history to rewrite", hint="git fetch --unshallow")
    if request.everything:
        moves = tuple(_all_refs(repo))
    elif request.refs:
        moves = tuple({move.ref: move for move in (_named(repo, name) for name in request.refs)}.values())
    else:
        moves = _head(repo).moves
    return Scope(moves, commits_below(repo, moves))


def commits_below(repo: Repo, moves: Sequence[RefMove]) -> tuple[Oid, ...]:
    """All commits that refs reach as they were planned, parents before children."""
    if not moves:
        return ()
    tips = b"".join(f"{move.old}\n".encode() for move in moves)
    output = repo.git("rev-list", "--topo-order", "--reverse", "--stdin", input=tips).stdout
    return tuple(Oid(line.decode("ascii")) for line in output.splitlines())


def current_branch(repo: Repo) -> str | None:
    """The full name of the branch that is checked out; None when HEAD is detached."""
    done = repo.git("symbolic-ref", "--quiet", "HEAD", check=False)
    return os.fsdecode(done.stdout.removesuffix(b"\n")) if done.status == 0 else None


def _head(repo: Repo) -> Scope:
    branch = current_branch(repo)
    if branch is None:
        raise UsageError("HEAD is detached: there is no branch to move", hint="git switch BRANCH, or name the refs")
    tip = read_ref(repo, branch)
    if tip is None:
        raise UsageError(f"{branch.removeprefix(HEADS)} has no commit yet")
    return Scope((RefMove(branch, tip),), (tip,))


def _all_refs(repo: Repo) -> Iterable[RefMove]:
    """Branches and tags that name commits; symbolic refs move with their targets."""
    fields = "%(objectname) %(objecttype) %(*objecttype)%00%(symref)%00%(refname)"
    for line in repo.git("for-each-ref", f"--format={fields}", HEADS, TAGS).stdout.splitlines():
        types, symbolic, name = line.split(b"\0")
        oid, *kinds = types.decode("ascii").split()
        if kinds[-1] == "tag" or (kinds[-1] == "commit" and not symbolic):
            yield RefMove(os.fsdecode(name), Oid(oid))


def _named(repo: Repo, name: str) -> RefMove:
    if name == "HEAD":
        return _head(repo).moves[0]
    candidates = [name] if name.startswith("refs/") else [f"{HEADS}{name}", f"{TAGS}{name}", f"refs/{name}"]
    for ref in candidates:
        oid = read_ref(repo, ref)
        if oid is None:
            continue
        if not ref.startswith((HEADS, TAGS)):
            raise UsageError(f"{ref} is neither a branch nor a tag of this repository")
        done = repo.git("symbolic-ref", "--quiet", ref, check=False)
        target = os.fsdecode(done.stdout.removesuffix(b"\n")) if done.status == 0 else ref
        if repo.git("rev-parse", "--verify", "--quiet", f"{target}^{{commit}}", check=False).status != 0:
            raise UsageError(f"{name} is not a commit")
        return RefMove(target, oid)
    raise UsageError(f"there is no branch or tag {name!r}")


def left_behind(repo: Repo, moves: Sequence[RefMove], oldest: Collection[Oid]) -> tuple[str, ...]:
    """Local refs outside `moves` that reach one of the `oldest` commits that change."""
    if not oldest:
        return ()
    contains = [f"--contains={oid}" for oid in sorted(oldest)[:_CONTAINS]]
    output = repo.git("for-each-ref", "--format=%(refname)", *contains, HEADS, TAGS, "refs/stash").stdout
    moved = {move.ref for move in moves}
    return tuple(name for name in map(os.fsdecode, output.splitlines()) if name not in moved)
