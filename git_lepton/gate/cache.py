"""Answers of models kept between runs: `git lepton gate` measures, `git commit` only reads.

A key is everything that answers depend on: model, examples, what the rule says about evaluating, the versions of what
computes. A file that is damaged counts as absent (see `evaluators.saved`) and is written anew; whether it is can be
told without numpy, by the checksums in it (`is_whole`).
"""

from __future__ import annotations

import importlib.metadata
import json
import zipfile
from functools import cache
from pathlib import Path
from typing import Final, Protocol

from blake3 import blake3

from git_lepton.config.values import GateRule
from git_lepton.gate.values import Folder
from git_lepton.values import Hash

_VERSION: Final = 1
"""Raise it when the meaning of kept answers changes."""


class OutputCache(Protocol):
    """Where answers are kept."""

    def path(self, key: Hash) -> Path:
        """The .npz file of this key, there or not, in a folder that exists."""


class FolderCache:
    """Files in a folder, `ab/cdef….npz`."""

    def __init__(self, folder: Path) -> None:
        """Keep files below `folder`, which is made when the first is written."""
        self._folder = folder

    def path(self, key: Hash) -> Path:
        """See `OutputCache.path`."""
        folder = self._folder / key[:2]
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{key[2:]}.npz"

    def trim(self, max_bytes: int) -> int:
        """Remove the files that were written longest ago until no more than `max_bytes` are left; returns how many."""
        found = sorted((info.st_mtime, info.st_size, path) for path in self._files() if (info := path.stat()))
        total = sum(size for _, size, _ in found)
        removed = 0
        for _, size, path in found:
            if total <= max_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size
            removed += 1
        return removed

    def _files(self) -> list[Path]:
        return list(self._folder.glob("*/*.npz")) if self._folder.is_dir() else []


def is_whole(path: Path) -> bool:
    """Whether answers are kept at `path`, and every byte of them is what was written."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def key(rule: GateRule, model: Folder, data: Hash | None, code: str | None) -> Hash:
    """The key of one model's answers on one gate.

    Args:
        rule: only what it says about evaluating counts, not its limits.
        model: its bundle and its main file.
        data: hash of the examples.
        code: hash of what commands and functions read; ignored where onnxruntime evaluates.
    """
    evaluator = rule.command if rule.command is not None else rule.metric if ":" in rule.metric else None
    parts = [
        _VERSION,
        model.bundle,
        model.main,
        data,
        [evaluator, code] if evaluator is not None else _runtime(),
        sorted(rule.inputs.items()),
        [rule.labels, rule.slices, rule.output, rule.sample, rule.batch],
        rule.metric if rule.command is not None else None,
    ]
    return Hash(blake3(json.dumps(parts).encode()).hexdigest())


@cache
def _runtime() -> str:
    try:
        return importlib.metadata.version("onnxruntime")
    except importlib.metadata.PackageNotFoundError:
        return "absent"
