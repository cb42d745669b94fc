"""Random histories: after an import, a file is a manifest exactly where git itself finds `filter=lepton` for it."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from git_lepton.errors import UsageError
from git_lepton.git.repo import Repo
from git_lepton.migrate.export import execute_export, plan_export
from git_lepton.migrate.import_ import execute_import, plan_import
from git_lepton.migrate.plan import Request
from git_lepton.store.store import Store
from tests.migrate.samples import keep_lfs_object, listing, pointer
from tests.support import git

FOLDERS = ("", "m/", "m/deep/", "x y/")
NAMES = ("a.bin", "b.bin", "c.pt", "d.txt", "e")
LINES = (
    "*.bin filter=lfs diff=lfs merge=lfs -text",
    "*.pt filter=lfs -text",
    "deep/** filter=lfs",
    "/m/*.bin -filter",
    "*.txt text",
    "a.bin !filter",
    "[attr]big filter=lfs diff=lfs",
    "e big",
    "b.bin -big filter=lfs",
    "# nothing",
)


def random_history(folder: Path, seed: int) -> None:
    """Thirty commits with branches and merges, written by `git fast-import`."""
    dice = random.Random(seed)
    stream: list[bytes] = []
    for number in range(1, 31):
        stream.append(b"commit refs/heads/%b\nmark :%d" % (dice.choice([b"main", b"side"]), number))
        stream.append(b"committer C <c@d> %d +0000\ndata 1\nx" % (1_000_000_000 + number))
        if number > 1:
            parents = dice.sample(range(1, number), min(number - 1, dice.choice([1, 1, 1, 2])))
            stream += [b"%b :%d" % (word, mark) for word, mark in zip((b"from", b"merge"), parents, strict=False)]
        for _ in range(dice.randrange(4)):
            path = (dice.choice(FOLDERS) + dice.choice(NAMES)).encode()
            data = dice.randbytes(dice.choice([0, 50, 700]))
            if data and dice.random() < 0.5:
                keep_lfs_object(folder, data)
                data = pointer(data)
            mode = dice.choice([b"644", b"755", b"120000"])
            stream.append(b'M %b inline "%b"\ndata %d\n%b' % (mode, path, len(data), data))
        if dice.random() < 0.4:
            path = (dice.choice(FOLDERS[:3]) + ".gitattributes").encode()
            data = "\n".join(dice.sample(LINES, dice.randrange(5))).encode() + b"\n"
            stream.append(b"M 644 inline %b\ndata %d\n%b" % (path, len(data), data))
    subprocess.run(
        ["git", "fast-import", "--quiet", "--force"], cwd=folder, input=b"\n".join(stream) + b"\n", check=True
    )


def filters(folder: Path, commit: str, paths: list[str]) -> dict[str, str]:
    env = {**os.environ, "GIT_INDEX_FILE": str(folder / ".git/probe")}
    git(folder, "read-tree", commit, env=env)
    asked = "\0".join(paths).encode() + b"\0"
    fields = git(folder, "check-attr", "--cached", "--stdin", "-z", "filter", env=env, data=asked).split("\0")
    return dict(zip(fields[0::3], fields[2::3], strict=False))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("include", [(), ("*.bin",), ("/m/deep/e", "*.pt")])
def test_manifests_are_where_the_filter_is(repo: Repo, seed: int, include: tuple[str, ...]) -> None:
    folder = repo.work_tree
    assert folder is not None
    random_history(folder, seed)
    git(folder, "symbolic-ref", "HEAD", "refs/heads/unborn")
    old = git(folder, "rev-list", "--all").splitlines()
    with Store(repo) as store:
        try:
            plan = plan_import(repo, Request(include=include, everything=True))
        except UsageError as error:
            assert "has to stay text" in error.message or (include and "is meant" in error.message)
            return
        report = execute_import(store, plan)
        assert (report.versions, report.rewritten) == (plan.versions, plan.rewritten)
        new = git(folder, "rev-list", "main", "side").splitlines()
        assert len(new) == len(old)
        for commit in new:
            files = {p: head.split() for p, head in listing(folder, commit).items() if head[:3] == "100"}
            found = filters(folder, commit, list(files)) if files else {}
            for path, (_, _, oid) in files.items():
                size = int(git(folder, "cat-file", "-s", oid))
                text = git(folder, "cat-file", "blob", oid)
                assert text.startswith("git-lepton ") == (found[path] == "lepton" and size > 0), (commit, path)
        execute_export(store, plan_export(repo, Request(everything=True)))
    for commit in git(folder, "rev-list", "main", "side").splitlines():
        assert "git-lepton 1" not in git(folder, "grep", "-l", "^git-lepton 1", commit, check=False)
    git(folder, "fsck", "--strict")
