"""A real history through the gate: five releases of magika, each a commit, judged on 149 labelled files.

Usage: history.py FILES REPOSITORY. FILES is what fetch.py brought; REPOSITORY is made. It needs git-lepton on PATH with
onnxruntime, and git. In the end the first release is committed once more, and the gate refuses it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

RELEASES = ("0.5.1", "0.6.1rc0", "0.6.1rc2", "0.6.1", "0.6.2")
PAD = 256
RULES = """\
[model.magika]
root = "magika"
files = ["*"]
main = "model.onnx"

[[model.magika.gate]]
name = "filetypes"
command = "python evaluate.py {model} {data}"
data = "files.npz"
metric = "accuracy"
direction = "higher"
min = 0.8
max_drop = 0.02
"""


def thirds(data: bytes, size: int = 512) -> list[int]:
    """What releases until 0.5 look at: beginning, middle and end."""
    data = data.strip()
    start = max(0, len(data) // 2 - size // 2)
    middle = data[start : start + size]
    left = (size - len(middle)) // 2
    padded = [PAD] * left + list(middle) + [PAD] * (size - len(middle) - left)
    return _right(data[:size], size) + padded + _left(data[-size:], size)


def ends(data: bytes, size: int = 1024, block: int = 4096) -> list[int]:
    """What releases since 0.6 look at: beginning and end, without white space."""
    return _right(data[:block].lstrip()[:size], size) + _left(data[-block:].rstrip()[-size:], size)


def _right(piece: bytes, size: int) -> list[int]:
    return list(piece) + [PAD] * (size - len(piece))


def _left(piece: bytes, size: int) -> list[int]:
    return [PAD] * (size - len(piece)) + list(piece)


def write_examples(files: Path, target: Path) -> int:
    """Write what the releases see of each file, with the label that its folder has; returns how many there are."""
    paths = sorted(path for path in files.glob("*/*") if path.is_file())
    read = [path.read_bytes() for path in paths]
    np.savez_compressed(
        target,
        thirds=np.array([thirds(data) for data in read], np.uint16),
        ends=np.array([ends(data) for data in read], np.uint16),
        labels=np.array([path.parent.name for path in paths]),
    )
    return len(paths)


def play(files: Path, work: Path) -> list[int]:
    """Make the repository and its history; returns git's exit status of each commit, the last one of 0.5.1 again."""
    work.mkdir(parents=True)

    def git(*arguments: str) -> int:
        print("\n$ git", *arguments, flush=True)
        return subprocess.run(["git", *arguments], cwd=work, check=False, stderr=subprocess.STDOUT).returncode

    for line in ("init -q -b main", "lepton init", "lepton track *.onnx"):
        git(*line.split())
    shutil.copyfile(Path(__file__).with_name("evaluate.py"), work / "evaluate.py")
    (work / "lepton.toml").write_text(RULES, encoding="utf-8")
    write_examples(files / "files", work / "files.npz")
    git("add", ".")
    git("lepton", "trust", "--yes")
    found = []
    for release in (*RELEASES, RELEASES[0]):
        (work / "magika").mkdir(exist_ok=True)
        for name in ("model.onnx", "config.json"):
            shutil.copyfile(files / "releases" / release / name, work / "magika" / name)
        git("add", ".")
        found.append(git("commit", "-q", "-m", f"magika {release}"))
    git("lepton", "log")
    return found


if __name__ == "__main__":
    play(Path(sys.argv[1]), Path(sys.argv[2]))
