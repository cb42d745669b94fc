"""Two developers, two clones and a remote: every way in which git merges, with the weights that must come of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.scenarios.world import Person, bare, new_repository, person
from tests.support import model_bytes

NAME = "m.safetensors"


@dataclass(frozen=True)
class Clone:
    """One developer's clone."""

    who: Person
    folder: Path

    def git(self, *args: str) -> str:
        return self.who.git(self.folder, *args, env={"GIT_EDITOR": "true", "GIT_SEQUENCE_EDITOR": "true"})

    def train(self, **layers: int) -> None:
        """Commit a model of eight layers, those named retrained with these seeds."""
        (self.folder / NAME).write_bytes(model(**layers))
        self.git("add", NAME)
        self.git("commit", "-qm", f"{layers}")

    def has(self, **layers: int) -> bool:
        return (self.folder / NAME).read_bytes() == model(**layers) and self.git("status", "--porcelain") == ""


def model(**layers: int) -> bytes:
    return model_bytes(
        layers=8, rows=4, dtype="F32", **{f"layer_{name[1:]}": 100 + seed for name, seed in layers.items()}
    )


@pytest.fixture
def team(tmp_path: Path, quick_program: Path) -> tuple[Clone, Clone]:
    """Ann's clone and Bob's, both at the first model."""
    ann, bob = person(tmp_path, "ann", quick_program), person(tmp_path, "bob", quick_program)
    hub = bare(ann, tmp_path / "hub.git")
    here = Clone(ann, new_repository(ann, tmp_path / "here"))
    here.git("remote", "add", "origin", str(hub))
    here.train()
    here.git("push", "-q", "-u", "origin", "main")
    bob.git(tmp_path, "clone", "-q", f"file://{hub}", "there")
    return here, Clone(bob, tmp_path / "there")


def test_pulls_and_branches(team: tuple[Clone, Clone]) -> None:
    ann, bob = team
    bob.train(l1=1)
    bob.git("push", "-q")
    ann.train(l2=2)
    ann.git("pull", "-q", "--no-rebase", "--no-edit")
    assert ann.has(l1=1, l2=2)
    ann.git("push", "-q")
    bob.train(l1=1, l3=3)
    bob.git("pull", "-q", "--rebase")
    assert bob.has(l1=1, l2=2, l3=3)
    bob.git("push", "-q")
    ann.git("checkout", "-q", "-b", "side")
    ann.train(l1=1, l2=2, l4=4)
    ann.git("push", "-q", "origin", "side")
    bob.git("fetch", "-q")
    bob.git("merge", "-q", "--squash", "origin/side")
    bob.git("commit", "-qm", "squashed")
    assert bob.has(l1=1, l2=2, l3=3, l4=4)
    bob.git("merge", "-q", "--no-ff", "--no-edit", "origin/side")
    assert bob.has(l1=1, l2=2, l3=3, l4=4)
    bob.git("push", "-q")
    ann.git("checkout", "-q", "main")
    ann.git("pull", "-q")
    assert ann.has(l1=1, l2=2, l3=3, l4=4)


def test_commits_that_are_moved_about(team: tuple[Clone, Clone]) -> None:
    ann, bob = team
    bob.train(l0=9)
    bob.git("push", "-q")
    for number in range(1, 5):
        ann.train(**{f"l{at}": at for at in range(1, number + 1)})
    ann.git("commit", "-q", "--amend", "-m", "fixup! {'l1': 1, 'l2': 2, 'l3': 3}")
    ann.git("fetch", "-q")
    ann.git("rebase", "-q", "-i", "--autosquash", "origin/main")
    assert ann.has(l0=9, l1=1, l2=2, l3=3, l4=4)
    assert ann.git("rev-list", "--count", "origin/main..HEAD") == "3"
    ann.git("revert", "--no-edit", "HEAD~1")
    assert ann.has(l0=9, l1=1, l3=3, l4=4)
    ann.git("push", "-q")
    bob.train(l0=9, l5=5)
    bob.git("fetch", "-q")
    bob.git("cherry-pick", "--no-commit", "origin/main~1")
    bob.git("commit", "-qm", "picked")
    assert bob.has(l0=9, l5=5, l3=3, l4=4)
    (bob.folder / NAME).write_bytes(model(l0=9, l5=5, l3=3, l4=4, l6=6))
    bob.git("stash", "-q")
    bob.git("pull", "-q", "--rebase")
    bob.git("stash", "pop", "-q")
    assert (bob.folder / NAME).read_bytes() == model(l0=9, l1=1, l3=3, l4=4, l5=5, l6=6)


def test_a_rename_on_one_side(team: tuple[Clone, Clone]) -> None:
    ann, bob = team
    bob.git("mv", NAME, "voice.safetensors")
    bob.git("commit", "-qm", "renamed")
    bob.git("push", "-q")
    ann.train(l1=1)
    ann.git("fetch", "-q")
    merging = ("merge", "-q", "-s", "recursive", "--no-edit", "origin/main")
    ann.git(*merging)
    assert (ann.folder / "voice.safetensors").read_bytes() == model(l1=1)
    ann.git("reset", "-q", "--hard", "HEAD~1")
    done = ann.who.run(ann.folder, "git", "-c", "merge.renames=false", *merging, check=False)
    assert done.status == 1
    assert "changed here, removed there" in ann.git("lepton", "status")
    ann.git("rm", "-q", NAME)
    ann.git("commit", "-qm", "theirs")
    assert (ann.folder / "voice.safetensors").read_bytes() == model()


def test_a_clone_without_git_lepton_can_do_no_harm(team: tuple[Clone, Clone], tmp_path: Path) -> None:
    """`-X theirs` makes a manifest of lines of both sides; nobody takes it for a model."""
    ann, bob = team
    ann.train(l1=1)
    ann.git("push", "-q", "origin", "HEAD:one")
    bob.train(l6=6)
    bob.git("push", "-q", "origin", "HEAD:two")
    carl = Clone(person(tmp_path, "carl", installed=False), tmp_path / "third")
    carl.who.git(tmp_path, "clone", "-q", "-b", "one", f"file://{tmp_path / 'hub.git'}", "third")
    carl.git("merge", "-q", "-X", "theirs", "--no-edit", "origin/two")
    carl.git("push", "-q", "origin", "HEAD:mixed")
    ann.git("fetch", "-q")
    ann.git("checkout", "-q", "origin/mixed")
    assert (ann.folder / NAME).read_bytes().startswith(b"git-lepton 1 ")
    for command in (("fsck", "HEAD"), ("fsck", "--remote", "origin", "HEAD")):
        done = ann.who.lepton(ann.folder, *command, check=False)
        assert (done.status, NAME in done.out + done.err) == (5, True)
    assert ann.who.run(ann.folder, "git", "add", "--renormalize", NAME, check=False).status != 0
    ann.git("checkout", "-q", "-f", "main")
    assert ann.has(l1=1)
