"""A team with one remote: people with clones and ssh keys, and a model whose record is written by hand."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from git_lepton.config.reading import parse as parse_config
from git_lepton.git.objects import open_reader
from git_lepton.git.repo import Repo, discover
from git_lepton.record import bundle, locating
from git_lepton.record.bundle import BundleFile
from git_lepton.record.record import path_of, to_text
from git_lepton.record.rules import rules_hash
from git_lepton.record.values import Outcome, Record, Variant
from git_lepton.store.source import BytesSource
from git_lepton.store.store import Store
from tests.support import git, model_bytes

MODEL = "models/digits.safetensors"
RULES = """
[model.digits]
main = "models/digits.safetensors"
[[model.digits.gate]]
name = "accuracy"
command = "true"
direction = "higher"
min = 0.5
"""
CHANNELS = """
[channel.staging]
[channel.prod]
critical = true
after = "staging"
"""
PASSED = (Outcome("accuracy", "", "pass"),)


@dataclass(frozen=True)
class Person:
    """One person's clone."""

    name: str
    folder: Path

    @property
    def repo(self) -> Repo:
        return discover(self.folder)

    def git(self, *args: str) -> str:
        return git(self.folder, *args)

    def write(self, path: str, text: str | bytes) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)
        self.git("add", path)

    def commit_model(
        self,
        seed: int,
        *,
        rules: str = RULES + CHANNELS,
        outcomes: Sequence[Outcome] | None = PASSED,
        int8: bool = False,
    ) -> str:
        """Commit another model, with a record that says `outcomes` (None for no record); returns the commit."""
        self.write("lepton.toml", rules)
        with Store(self.repo) as store:
            manifest = store.add(BytesSource(model_bytes(seed, rows=4)), MODEL)
            small = store.add(BytesSource(model_bytes(seed + 500, rows=1)), MODEL) if int8 else None
        self.write(MODEL, manifest.to_bytes())
        if outcomes is not None:
            file = None if small is None else BundleFile("digits.safetensors", 0o100644, small.size, small.blake3)
            self.write(path_of("digits"), self.record(outcomes, file))
        self.git("commit", "-qm", f"model {seed}")
        return self.git("rev-parse", "HEAD")

    def record(self, outcomes: Sequence[Outcome], int8: BundleFile | None = None) -> bytes:
        """The record of what is staged."""
        settings = parse_config((self.folder / "lepton.toml").read_bytes()).models["digits"]
        located = locating.at(self.repo, open_reader(self.repo), settings)
        variants: tuple[Variant, ...] = ()
        if int8 is not None:
            whole = bundle.make([int8])
            variants = (Variant("int8", 1, "", whole.hash, settings.main, whole.size, (int8,)),)
        files = located.bundle.files
        facts = (located.bundle.hash, rules_hash(settings), files)
        return to_text(
            Record("digits", settings.root, settings.main, *facts, variant=variants, outcome=tuple(outcomes))
        )

    def sign_with(self, keys: Path, name: str | None = None) -> None:
        self.git("config", "gpg.format", "ssh")
        self.git("config", "user.signingKey", str(keys / (name or self.name)))
        self.git("config", "gpg.ssh.allowedSignersFile", str(keys / "allowed"))


def refs(folder: Path) -> dict[str, str]:
    """All refs of a repository."""
    lines = git(folder, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    return dict(line.split() for line in lines)


def make_keys(folder: Path, *names: str) -> Path:
    """Keys of these people, and a file of allowed signers that has all of them but eve."""
    folder.mkdir()
    lines = []
    for name in names:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name], check=True)
        public = " ".join((folder / f"{name}.pub").read_text().split()[:2])
        lines += [f'{name}@example.org namespaces="git" {public}\n'] * (name != "eve")
    (folder / "allowed").write_text("".join(lines))
    return folder


def make_people(folder: Path, *names: str) -> tuple[Path, tuple[Person, ...]]:
    """An empty remote, and a clone of it for each of these people."""
    remote = folder / "remote.git"
    git(folder, "init", "-q", "--bare", "-b", "main", str(remote))
    people = []
    for name in names:
        git(folder, "clone", "-q", str(remote), name)
        people.append(Person(name, folder / name))
        people[-1].git("config", "user.name", name.title())
        people[-1].git("config", "user.email", f"{name}@example.org")
        people[-1].git("symbolic-ref", "HEAD", "refs/heads/main")
    return remote, tuple(people)
