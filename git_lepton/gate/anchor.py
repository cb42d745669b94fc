"""What a model is judged against: a fixed point in the past, not the commit before.

Ten commits that each lose 0.4 point all pass a rule of 0.5 point and lose 3.9 together; a squash hides the same. So the
anchor is, in this order: what `baseline` in lepton.toml names; the newest version tag of the model that the commit
descends from; the place where this branch left the default branch; the commit before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from git_lepton.config.values import ModelSettings
from git_lepton.errors import UsageError
from git_lepton.git.lstree import rev_parse
from git_lepton.git.refs import read_ref, read_refs
from git_lepton.git.repo import Repo, config_get
from git_lepton.transfer.remotes import remote_names
from git_lepton.values import Oid

_SHORT = 10
_TAGS = "refs/tags/"
_MIRROR = "refs/lepton-remote/"
"""Where `release.channels` keeps what a remote said of its channels."""


@dataclass(frozen=True, slots=True)
class AnchorPoint:
    """A commit to be judged against, and how a person calls it."""

    label: str
    commit: Oid


def candidates(repo: Repo, settings: ModelSettings, head: Oid | None) -> Iterator[AnchorPoint]:
    """The commits that may anchor the model, best first; the first that has the model is the anchor.

    Args:
        repo: where.
        settings: whose `baseline` is asked first.
        head: the commit that the new one will have for a parent; None for the first commit.

    Raises:
        UsageError: `baseline` names a tag or revision that is not here.
    """
    if settings.baseline is not None:
        named = _named(repo, settings.name, settings.baseline)
        if named is not None:
            yield named
    if head is None:
        return
    tag = _version_tag(repo, settings.name, head)
    if tag is not None:
        yield tag
    base = _merge_base(repo, head)
    if base is not None and base.commit != head:
        yield base
    yield AnchorPoint(f"the commit before ({head[:_SHORT]})", head)


def head_commit(repo: Repo) -> Oid | None:
    """The commit that HEAD leads to; None before the first."""
    done = repo.git("rev-parse", "--verify", "--quiet", "HEAD^{commit}", check=False)
    return Oid(done.stdout.decode("ascii").strip()) if done.status == 0 else None


def _named(repo: Repo, model: str, name: str) -> AnchorPoint | None:
    """The commit of a channel, a tag or a revision; None for a channel that nobody has promoted to yet.

    git never moves a tag that it has, so a channel is looked for first where its remote was mirrored when it was last
    asked.
    """
    mirror = f"{_MIRROR}{_remote(repo)}/tags/"
    for folder, tag in ((mirror, f"{model}@{name}"), (_TAGS, f"{model}@{name}"), (_TAGS, name)):
        if _is_plain(tag) and read_ref(repo, folder + tag) is not None:
            return AnchorPoint(tag, rev_parse(repo, folder + tag, kind="commit"))
    try:
        return AnchorPoint(name, rev_parse(repo, name, kind="commit"))
    except UsageError as error:
        if _is_plain(f"refs/x/{name}") and "/" not in name and not name.startswith("v"):
            return None
        raise UsageError(
            f"the baseline {name!r} of model {model} is not in this repository",
            hint="git fetch --tags brings it; or change baseline in lepton.toml",
        ) from error


def _remote(repo: Repo) -> str:
    """The remote that channels live on."""
    names = remote_names(repo)
    only = names[0] if len(names) == 1 else "origin"
    return config_get(repo, "lepton.releaseRemote") or only


def _is_plain(ref: str) -> bool:
    """Whether a text can be a ref at all; a revision such as HEAD~3 cannot."""
    return not any(char in ref for char in "~^:?*[\\ ") and ".." not in ref and "@{" not in ref


def _version_tag(repo: Repo, model: str, head: Oid) -> AnchorPoint | None:
    command = ("for-each-ref", "--merged", head, "--sort=-version:refname", "--format=%(refname)")
    for line in repo.git(*command, f"refs/tags/{model}@v*").stdout.decode(errors="surrogateescape").splitlines():
        return AnchorPoint(line.removeprefix(_TAGS), rev_parse(repo, line, kind="commit"))
    return None


def _merge_base(repo: Repo, head: Oid) -> AnchorPoint | None:
    for branch, tip in _default_branches(repo):
        done = None if tip == head else repo.git("merge-base", head, branch, check=False)
        if done is None or done.status == 0:
            commit = head if done is None else Oid(done.stdout.decode("ascii").split()[0])
            name = branch.removeprefix("refs/remotes/").removeprefix("refs/heads/")
            return AnchorPoint(f"{name} ({commit[:_SHORT]})", commit)
    return None


def _default_branches(repo: Repo) -> Iterator[tuple[str, Oid]]:
    """Refs that are the default branch, with their tips: the remote's own, then those of the usual names."""
    remote = _remote(repo)
    own = f"refs/remotes/{remote}/HEAD"
    names = dict.fromkeys([config_get(repo, "init.defaultBranch") or "main", "main", "master"])
    usual = [f"{folder}/{name}" for folder in (f"refs/remotes/{remote}", "refs/heads") for name in names]
    found = read_refs(repo, [own, *usual])
    if own in found:
        done = repo.git("symbolic-ref", "--quiet", own, check=False)
        if done.status == 0:
            yield done.stdout.decode(errors="surrogateescape").strip(), found[own]
    yield from ((ref, found[ref]) for ref in usual if ref in found)
