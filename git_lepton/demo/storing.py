"""Chapter 1: weights are ordinary git content. Train, commit, push, fine-tune, clone, go back; and what it cost."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from blake3 import blake3

from git_lepton.demo import digits
from git_lepton.demo.stage import Stage
from git_lepton.report.table import table
from git_lepton.report.units import share, size

if TYPE_CHECKING:
    from sklearn.neural_network import MLPClassifier

MODEL: Final = "digits.onnx"


@dataclass(slots=True)
class Team:
    """What the story goes on with after this chapter.

    Attributes:
        images: what is learned and tested.
        network: the newest model.
        versions: bytes of the model at each commit.
        sent: bytes by which the remote grew at each push.
    """

    images: digits.Images
    network: MLPClassifier
    versions: list[bytes] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)


def play(stage: Stage) -> Team:
    """Tell the chapter; returns what the next ones need."""
    stage.say("1. A model: scikit-learn's handwritten digits, a network of three layers, written as ONNX")
    images = digits.load_images()
    team = Team(images, digits.train_first(images))
    path = stage.work / MODEL
    digits.write_onnx(team.network, path)
    right = digits.accuracy(path, images)
    stage.tell([f"{MODEL}: {size(path.stat().st_size)}, reads {right:.1%} of unseen images right"])

    stage.say("\n2. Commit and push it like any file")
    stage.run("git lepton init")
    stage.run('git lepton track "*.onnx"')
    commit(stage, team, "digits: first version")

    stage.say("\n3. Fine-tune it: only the last layer learns, then all layers a little")
    team.network = digits.fine_tune(team.network, images, steps=4, last_layer_only=True)
    digits.write_onnx(team.network, path)
    commit(stage, team, "digits: more images, last layer only")
    team.network = digits.fine_tune(team.network, images, steps=2, last_layer_only=False)
    digits.write_onnx(team.network, path)
    commit(stage, team, "digits: all layers fine-tuned")

    stage.say("\n4. A reviewer sees what changed, in plain git and layer by layer")
    stage.say("   $ git show HEAD~1 | grep '^[-+]tensor'")
    stage.tell(_changed_tensors(stage))
    stage.show("git lepton show HEAD~1")
    stage.show("git lepton diff HEAD~2 HEAD")

    stage.say("\n5. A colleague clones, and goes back to the first version")
    stage.run(f"git clone {stage.remote.name} {stage.clone.name}", cwd=stage.root)
    same(stage, team, "the clone's file is the third version, byte for byte", stage.clone / MODEL, 2)
    stage.run(f"git checkout HEAD~2 -- {MODEL}", cwd=stage.clone)
    same(stage, team, "the file is the first version, byte for byte", stage.clone / MODEL, 0)
    stage.run("git lepton fsck", cwd=stage.clone)
    stage.run(f"git checkout HEAD -- {MODEL}", cwd=stage.clone)

    stage.say("\n6. What it cost")
    stage.say(_costs(stage, team))
    return team


def commit(stage: Stage, team: Team, message: str) -> None:
    """Commit what there is, push it, and note what the remote grew by."""
    before = _remote_bytes(stage)
    team.versions.append((stage.work / MODEL).read_bytes())
    stage.run("git add .")
    stage.run(f"git commit -q -m {shlex.quote(message)}")
    stage.run("git push -q origin main")
    team.sent.append(_remote_bytes(stage) - before)


def same(stage: Stage, team: Team, claim: str, path: Path, version: int) -> None:
    """Check that a file has the bytes of a version."""
    stage.check(claim, ok=path.read_bytes() == team.versions[version])


def _remote_bytes(stage: Stage) -> int:
    """Bytes of all objects of the remote; its indexes, which are made there, do not travel."""
    files = (path for path in (stage.remote / "objects").rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if path.suffix not in {".idx", ".rev", ".bitmap"})


def _changed_tensors(stage: Stage) -> list[str]:
    diff = stage.quietly("git", "show", "HEAD~1").decode(errors="replace")
    lines = (line for line in diff.splitlines() if line.startswith(("-tensor", "+tensor")))
    return [f"{line[:40]}…{line[-16:]}" for line in lines]


def _costs(stage: Stage, team: Team) -> str:
    usage: dict[str, Any] = json.loads(stage.quietly("git", "lepton", "du", "--json"))
    added = {version["blake3"]: version["added"] for version in usage["versions"]}
    rows = []
    for number, (data, sent) in enumerate(zip(team.versions, team.sent, strict=True), start=1):
        stored = added[blake3(data).hexdigest()]
        rows.append((f"version {number}", size(len(data)), size(stored), share(stored, len(data)), size(sent)))
    raw, stored, sent = sum(map(len, team.versions)), sum(added.values()), sum(team.sent)
    rows.append(("all", size(raw), size(stored), share(stored, raw), size(sent)))
    return table(rows, right="lrrrr", header=("", "file", "stored", "of raw", "sent"), indent=3)
