"""Chapter 4: tags deploy and roll back. A channel, and an agent that swaps under load and falls back by itself."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

from git_lepton import proc
from git_lepton.demo import digits
from git_lepton.demo.gating import RULES
from git_lepton.demo.stage import Stage
from git_lepton.demo.storing import MODEL, Team
from git_lepton.gate.arrays import write

_CARD: Final = "card.json"
_PATIENCE: Final = 60.0
_LIGHT: Final = 0.3
_SHOWN: Final = ("lepton_model_info", "lepton_channel_desired_seq", "lepton_channel_active_seq", "lepton_swaps_total")

_PROBE: Final = """import sys
import numpy, onnxruntime
model, data = sys.argv[1:]
images = numpy.load(data)
answers, = onnxruntime.InferenceSession(model).run(None, {"pixels": images["pixels"]})
right = (answers.argmax(axis=1) == images["labels"]).mean()
print(f"{right:.1%} of today's pictures are read right", file=sys.stderr)
sys.exit(0 if right >= 0.9 else 1)
"""

_READER: Final = """import hashlib, json, os, sys, time
current, out, stop = sys.argv[1:]
reads = torn = 0
while not os.path.exists(stop):
    try:
        folder = os.path.realpath(current, strict=True)  # once; then all files are of one release
        with open(folder + "/card.json") as card, open(folder + "/digits.onnx", "rb") as model:
            torn += json.load(card)["sha256"] != hashlib.sha256(model.read()).hexdigest()
        reads += 1
    except FileNotFoundError:
        torn += reads > 0
    time.sleep(0.005)  # a server has other work too
json.dump({"reads": reads, "torn": torn}, open(out, "w"))
"""


def play(stage: Stage, team: Team) -> None:
    """Tell the chapter."""
    signed = _sign(stage)
    _with_card(stage, team)
    stage.say("\n12. A version is a tag that never moves; a channel is a signed tag that says what runs where")
    stage.show('git lepton tag digits 1.0.0 -m "first release" --push')
    stage.show('git lepton promote digits prod -m "passed its gate" --push')

    stage.say("\n13. An agent beside the server follows the channel, while the server reads the model all the time")
    port = _free_port()
    settings = _settings(stage, signed, port)
    stage.tell(settings.read_text(encoding="utf-8").splitlines())
    _probe_data(stage, team)
    serving = stage.root / "serving"
    with _reader(stage, serving / "current") as finish, _agent(stage, settings):
        _await(stage, settings, "version 1.0.0 serves", lambda model: _serves(model, "1.0.0"))
        bad = digits.expect_light(team.network, team.images)
        _bad_release(stage, team, bad, settings)

        stage.say("\n15. A person takes it back for all agents, in one command")
        stage.show('git lepton rollback digits prod -m "fails on dim pictures" --push')
        _await(stage, settings, "the channel and the agent agree again", lambda model: bool(model["ready"]))
        stage.show("git lepton log digits@prod")

        stage.say("\n16. What Prometheus sees, and what the server saw")
        lines = urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode().splitlines()
        stage.tell(line for line in lines if line.startswith(_SHOWN) and not line.endswith(" 0.0"))
        seen = finish()
    stage.check(f"{seen['reads']:,} reads of two files during all this, {seen['torn']} torn", ok=not seen["torn"])


def _bad_release(stage: Stage, team: Team, bad: Any, settings: Path) -> None:
    stage.say("\n14. A model that passes its gate, and fails on the dim pictures that production has today")
    team.network = bad
    _save(stage, team)
    stage.run("git add .")
    stage.show('git commit -q -m "digits: more contrast"')
    stage.run("git push -q origin main")
    stage.show('git lepton tag digits 1.1.0 -m "more contrast" --push')
    stage.show('git lepton promote digits prod -m "better on the test images" --push')
    _await(stage, settings, "the agent saw it fail", lambda model: bool(model["failed"]))
    _await(stage, settings, "and went back to 1.0.0 by itself", lambda model: _serves(model, "1.0.0"))
    stage.show(f"git lepton agent status -c {settings.name}", cwd=stage.root, status=1)


def _with_card(stage: Stage, team: Team) -> None:
    """From now on the model is two files that belong together, so that a torn release would show."""
    settings = stage.work / "lepton.toml"
    two = f'main = "{MODEL}"\nfiles = ["{MODEL}", "{_CARD}"]'
    settings.write_text(RULES.replace(f'main = "{MODEL}"', two), encoding="utf-8")
    _save(stage, team)
    stage.quietly("git", "add", ".")
    stage.quietly("git", "commit", "-q", "-m", "digits: with a card")
    stage.quietly("git", "push", "-q", "origin", "main")


def _save(stage: Stage, team: Team) -> None:
    """Write the model: its network, and a card that says which network it belongs to."""
    path = stage.work / MODEL
    digits.write_onnx(team.network, path)
    card = {"reads": "digits of 8 by 8 pixels", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    (stage.work / _CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def _serves(model: dict[str, Any], version: str) -> bool:
    return bool(model["release"]) and model["release"]["version"] == version and model["state"] == "serving"


def _sign(stage: Stage) -> bool:
    """Set git up to sign with a new ssh key, where ssh-keygen is there."""
    if shutil.which("ssh-keygen") is None:
        return False
    key = stage.root / "key"
    stage.quietly("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", str(key), cwd=stage.root)
    public = key.with_suffix(".pub").read_text(encoding="utf-8").split()
    signers = f'demo@example.org namespaces="git" {public[0]} {public[1]}\n'
    (stage.root / "signers").write_text(signers, encoding="utf-8")
    for name, value in {"gpg.format": "ssh", "user.signingKey": str(key), "tag.gpgSign": "true"}.items():
        stage.quietly("git", "config", "--global", name, value)
    stage.quietly("git", "config", "--global", "gpg.ssh.allowedSignersFile", str(stage.root / "signers"))
    return True


def _settings(stage: Stage, signed: bool, port: int) -> Path:
    root = stage.root
    trust = f'allowed_signers = "{root}/signers"' if signed else 'trust = "none"'
    python = json.dumps(sys.executable)
    path = root / "agent.toml"
    path.write_text(
        f"""remote = "{stage.remote}"
state = "{root}/agent"
interval = "1s"
{trust}

[http]
listen = "127.0.0.1:{port}"

[model.digits]
channel = "prod"
folder = "{root}/serving"

[model.digits.watch]
command = [{python}, "{root}/probe.py", "{root}/serving/current/{MODEL}", "{root}/today.npz"]
duration = "2s"
interval = "1s"
""",
        encoding="utf-8",
    )
    return path


def _probe_data(stage: Stage, team: Team) -> None:
    pixels, labels = team.images.test
    (stage.root / "probe.py").write_text(_PROBE, encoding="utf-8")
    with (stage.root / "today.npz").open("wb") as out:
        write(out, {"pixels": pixels * pixels.dtype.type(_LIGHT), "labels": labels.astype("int64")})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _agent(stage: Stage, settings: Path) -> Iterator[None]:
    """Run the agent in the background; its journal goes to a file."""
    line = f"git lepton agent run -c {settings.name}"
    stage.say(f"   $ {line} &")
    with (stage.root / "agent.log").open("wb") as log:
        process = subprocess.Popen(
            shlex.split(line), cwd=stage.root, env=proc.merged_environment(stage.environment()), stderr=log, stdout=log
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(_PATIENCE)


@contextmanager
def _reader(stage: Stage, current: Path) -> Iterator[Callable[[], dict[str, int]]]:
    """A program that opens two files of the model again and again; the callable stops it and tells what it saw."""
    out, stop = stage.root / "reader.json", stage.root / "reader.stop"
    process = subprocess.Popen([sys.executable, "-c", _READER, str(current), str(out), str(stop)])

    def finish() -> dict[str, int]:
        stop.touch()
        process.wait(_PATIENCE)
        seen: dict[str, int] = json.loads(out.read_bytes())
        return seen

    try:
        yield finish
    finally:
        process.kill()
        process.wait()


def _await(stage: Stage, settings: Path, claim: str, holds: Callable[[dict[str, Any]], bool]) -> None:
    """Ask the agent until something holds, and say so."""
    argv = ("git", "lepton", "agent", "status", "--json", "-c", settings.name)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        done = proc.run(argv, cwd=stage.root, env=stage.environment(), check=False)
        if done.stdout:
            (model,) = json.loads(done.stdout)["models"]
            if holds(model):
                stage.check(claim, ok=True)
                return
        time.sleep(0.3)
    stage.check(claim, ok=False)
