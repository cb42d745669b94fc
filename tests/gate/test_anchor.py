"""What a model is judged against, in real histories."""

from __future__ import annotations

from dataclasses import replace

import pytest

from git_lepton.config.values import ModelSettings
from git_lepton.errors import UsageError
from git_lepton.gate.anchor import candidates, head_commit
from git_lepton.git.repo import Repo
from tests.support import git

MODEL = ModelSettings("m", "m", ("*",), "m.onnx")


def commit(repo: Repo, message: str) -> str:
    git(repo.cwd, "commit", "-q", "--allow-empty", "-m", message)
    return git(repo.cwd, "rev-parse", "HEAD")


def labels(repo: Repo, settings: ModelSettings = MODEL) -> list[tuple[str, str]]:
    return [(point.label, point.commit) for point in candidates(repo, settings, head_commit(repo))]


def test_before_the_first_commit_there_is_none(repo: Repo) -> None:
    assert labels(repo) == []


def test_the_order_is_baseline_version_branch_parent(repo: Repo) -> None:
    first = commit(repo, "one")
    assert labels(repo) == [(f"the commit before ({first[:10]})", first)]
    second = commit(repo, "two")
    git(repo.cwd, "checkout", "-q", "-b", "work")
    third = commit(repo, "three")
    assert labels(repo) == [(f"main ({second[:10]})", second), (f"the commit before ({third[:10]})", third)]
    git(repo.cwd, "tag", "m@v1.9.0", first)
    git(repo.cwd, "tag", "-a", "-m", "x", "m@v1.10.0", second)
    git(repo.cwd, "tag", "m@v2.0.0", commit(repo, "four"))
    git(repo.cwd, "tag", "mm@v9.0.0", third)
    git(repo.cwd, "reset", "-q", "--hard", third)  # m@v2.0.0 is no ancestor any more
    assert labels(repo)[0] == ("m@v1.10.0", second)
    git(repo.cwd, "tag", "m@prod", first)
    assert labels(repo, replace(MODEL, baseline="prod"))[:2] == [("m@prod", first), ("m@v1.10.0", second)]
    # What the remote said last goes before a tag, which git never moves.
    git(repo.cwd, "update-ref", "refs/lepton-remote/origin/tags/m@prod", second)
    assert labels(repo, replace(MODEL, baseline="prod"))[0] == ("m@prod", second)
    assert labels(repo, replace(MODEL, baseline="m@v1.9.0"))[0] == ("m@v1.9.0", first)
    assert labels(repo, replace(MODEL, baseline="HEAD~2"))[0] == ("HEAD~2", first)


def test_the_default_branch_is_that_of_the_remote(repo: Repo) -> None:
    first = commit(repo, "one")
    git(repo.cwd, "update-ref", "refs/remotes/origin/trunk", first)
    git(repo.cwd, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk")
    second = commit(repo, "two")
    assert labels(repo) == [(f"origin/trunk ({first[:10]})", first), (f"the commit before ({second[:10]})", second)]


def test_a_baseline_that_is_not_here_is_refused_unless_it_is_a_channel_nobody_used(repo: Repo) -> None:
    commit(repo, "one")
    assert len(labels(repo, replace(MODEL, baseline="prod"))) == 1
    for name in ("v1.0.0", "origin/release", "HEAD~7", "m@v3.0.0^{commit}"):
        with pytest.raises(UsageError, match="is not in this repository"):
            labels(repo, replace(MODEL, baseline=name))
