"""`git lepton demo`: the whole story with a small real model, in a folder of its own.

Every line that begins with `$` is a command that really runs, with the git on PATH, a bare repository as the remote
and a second clone. The user's git configuration and hooks stay out: a configuration of the demo's own is put in
their place, and `git-lepton` is this very one. All equalities are checked; the status is 0 only when all hold.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

import git_lepton
from git_lepton import proc
from git_lepton.cli import digits
from git_lepton.cli.context import say
from git_lepton.cli.verb import Verb
from git_lepton.errors import EXIT_DIFFERS, EXIT_OK, UsageError
from git_lepton.git.repo import require_git
from git_lepton.report.table import table
from git_lepton.report.units import share, size

_MODEL: Final = "digits.onnx"
_CONFIG: Final = """[user]
    name = Demo
    email = demo@example.org
[init]
    defaultBranch = main
[advice]
    detachedHead = false
"""


@click.command(
    "demo",
    cls=Verb,
    exits=(EXIT_DIFFERS,),
    examples=(
        ("git lepton demo", "Play the story in a temporary folder, and leave nothing behind."),
        ("git lepton demo --keep /tmp/demo", "Keep the repositories, to look around in them."),
    ),
)
@click.option(
    "--keep",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Play in this new folder and keep it.",
)
def command(keep: Path | None) -> int:
    """Play the whole story with a small real model.

    Trains a classifier of handwritten digits, commits and pushes it to a bare repository, fine-tunes it twice, clones,
    and goes back to the first version. Shows what is stored and sent, and checks that every file comes back byte for
    byte. Your own repositories and settings are not touched.
    """
    return run(keep=keep)


def run(*, keep: Path | None) -> int:
    """Play the demo in `keep`, a folder that must not exist yet, or in a temporary one.

    Returns:
        0 when every file came back byte for byte, else 1.

    Raises:
        UsageError: `keep` is there already, or git is too old.
        CommandError: a command of the story failed.
    """
    require_git()
    with _folder(keep) as root:
        story = Story(root)
        story.play()
        if keep is not None:
            say(f"\nEverything is in {keep}. To play on, in a shell of its own:\n   $ . {keep}/environment")
    return EXIT_OK if story.all_equal else EXIT_DIFFERS


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="git-lepton-demo-") as name:
            yield Path(name).resolve()
        return
    try:
        keep.mkdir(parents=True)
    except FileExistsError as error:
        raise UsageError(f"{keep} is there already", hint="name a folder that does not exist yet") from error
    yield keep.resolve()


@dataclass(slots=True)
class Story:
    """The demo's state: where it plays, and what it found.

    Attributes:
        root: folder of the remote, the two clones, and the files that isolate the demo.
        versions: bytes of the model at each commit.
        sent: bytes by which the remote grew at each push.
        all_equal: whether every check has held so far.
    """

    root: Path
    versions: list[bytes] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    all_equal: bool = True

    @property
    def remote(self) -> Path:
        """The bare repository."""
        return self.root / "remote.git"

    @property
    def work(self) -> Path:
        """The first clone, in which the models are made."""
        return self.root / "work"

    @property
    def clone(self) -> Path:
        """The second clone."""
        return self.root / "clone"

    def play(self) -> None:
        """Tell the story from the beginning to the end."""
        self._prepare()
        say("1. A model: scikit-learn's handwritten digits, a network of three layers, written as ONNX")
        images = digits.load_images()
        network = digits.train_first(images)
        path = self.work / _MODEL
        digits.write_onnx(network, path)
        right = digits.accuracy(path, images)
        say(f"   {_MODEL}: {size(path.stat().st_size)}, reads {right:.1%} of unseen images right")

        say("\n2. Commit and push it like any file")
        self._run("git lepton init")
        self._run('git lepton track "*.onnx"')
        self._commit("digits: first version")

        say("\n3. Fine-tune it: only the last layer learns, then all layers a little")
        network = digits.fine_tune(network, images, steps=4, last_layer_only=True)
        digits.write_onnx(network, path)
        self._commit("digits: more images, last layer only")
        network = digits.fine_tune(network, images, steps=2, last_layer_only=False)
        digits.write_onnx(network, path)
        self._commit("digits: all layers fine-tuned")
        say("   $ git show HEAD~1 | grep '^[-+]tensor'")
        say(self._changed_tensors())

        say("\n4. A colleague clones")
        self._run(f"git clone {self.remote.name} {self.clone.name}", cwd=self.root)
        self._check("the clone's file is the third version, byte for byte", self.clone / _MODEL, 2)
        say(f"   it reads {digits.accuracy(self.clone / _MODEL, images):.1%} of unseen images right")

        say("\n5. And goes back to the first version")
        self._run(f"git checkout HEAD~2 -- {_MODEL}", cwd=self.clone)
        self._check("the file is the first version, byte for byte", self.clone / _MODEL, 0)
        self._run("git lepton fsck", cwd=self.clone)

        say("\n6. What it cost")
        say(self._costs())
        say("\nEvery file came back byte for byte." if self.all_equal else "\nNOT every file came back: see above.")

    def _prepare(self) -> None:
        """Make the remote and the first clone, and what keeps the user's own settings out."""
        (self.root / "gitconfig").write_text(_CONFIG, encoding="utf-8")
        folder = self.root / "bin"
        folder.mkdir()
        program = folder / "git-lepton"
        package = Path(git_lepton.__file__).parent.parent
        program.write_text(
            f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(package))}${{PYTHONPATH:+:$PYTHONPATH}}\nexport PYTHONPATH\n"
            f'exec {shlex.quote(sys.executable)} -m git_lepton "$@"\n',
            encoding="utf-8",
        )
        program.chmod(0o755)
        exports = "".join(
            f"unset {name}\n" if value is None else f"export {name}={shlex.quote(value)}\n"
            for name, value in self._environment().items()
        )
        (self.root / "environment").write_text(exports, encoding="utf-8")
        self._git("init", "-q", "--bare", str(self.remote), cwd=self.root)
        self._git("clone", "-q", str(self.remote), str(self.work), cwd=self.root)
        # What `git lepton install` would write for the user, for this demo alone.
        self._lepton("install", cwd=self.root)

    def _environment(self) -> dict[str, str | None]:
        ours = {name: None for name in os.environ if name.startswith("GIT_")}
        return {
            **ours,
            "GIT_CONFIG_GLOBAL": str(self.root / "gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "PATH": f"{self.root / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }

    def _git(self, *args: str, cwd: Path) -> bytes:
        return proc.run(("git", *args), cwd=cwd, env=self._environment()).stdout

    def _lepton(self, *args: str, cwd: Path) -> bytes:
        return self._git("lepton", *args, cwd=cwd)

    def _run(self, line: str, *, cwd: Path | None = None) -> None:
        """Show a command line, and run it."""
        say(f"   $ {line}")
        proc.run(shlex.split(line), cwd=cwd or self.work, env=self._environment())

    def _commit(self, message: str) -> None:
        """Commit what there is, push it, and note what the remote grew by."""
        before = self._remote_bytes()
        self.versions.append((self.work / _MODEL).read_bytes())
        self._run("git add .")
        self._run(f"git commit -q -m {shlex.quote(message)}")
        self._run("git push -q origin main")
        self.sent.append(self._remote_bytes() - before)

    def _remote_bytes(self) -> int:
        """Bytes of all objects of the remote; its indexes, which are made there, do not travel."""
        files = (path for path in (self.remote / "objects").rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in files if path.suffix not in {".idx", ".rev", ".bitmap"})

    def _changed_tensors(self) -> str:
        diff = self._git("show", "HEAD~1", cwd=self.work)
        lines = [line for line in diff.decode(errors="replace").splitlines() if line.startswith(("-tensor", "+tensor"))]
        return "\n".join(f"   {line[:40]}…{line[-16:]}" for line in lines)

    def _check(self, claim: str, path: Path, version: int) -> None:
        equal = path.read_bytes() == self.versions[version]
        self.all_equal = self.all_equal and equal
        say(f"   {'yes' if equal else 'NO '}  {claim}")

    def _costs(self) -> str:
        usage: dict[str, Any] = json.loads(self._lepton("du", "--json", cwd=self.work))
        added = {version["blake3"]: version["added"] for version in usage["versions"]}
        rows = []
        for number, (data, sent) in enumerate(zip(self.versions, self.sent, strict=True), start=1):
            stored = added[self._hash(data)]
            rows.append((f"version {number}", size(len(data)), size(stored), share(stored, len(data)), size(sent)))
        raw, stored, sent = sum(map(len, self.versions)), sum(added.values()), sum(self.sent)
        rows.append(("all", size(raw), size(stored), share(stored, raw), size(sent)))
        return table(rows, right="lrrrr", header=("", "file", "stored", "of raw", "sent"), indent=3)

    @staticmethod
    def _hash(data: bytes) -> str:
        from blake3 import blake3

        return blake3(data).hexdigest()
