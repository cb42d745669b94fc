"""One sentence for a comparison, as a person would say it: "layers 4-5 fine-tuned, +64 vocabulary rows".

Files that tensors moved between, and the shards of a set, are one model and get one sentence; several models get one
each while they are few. A sentence says first what became of the values, then of the shape of the model, then of the
graph and the metadata, and what stayed as it was where that is news. Without numbers it claims no more than hashes
tell: another dtype is a cast only once the error was measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from git_lepton.compare.phrases import Model, count, described, listing
from git_lepton.compare.sides import Side
from git_lepton.compare.values import Comparison, FileChange
from git_lepton.store.manifest import TensorLine, escape_name

_SHARD: Final = re.compile(r"-?[0-9]{5}-of-[0-9]{5}")
_TOLD: Final = 3
"""Models that get a sentence each; of more, only how many."""
_LONGEST: Final = 600
"""Characters; real sentences have up to 200."""


def summarise(comparison: Comparison, before: Side, after: Side) -> str:
    """Say what differs; `before` and `after` tell what stayed the same, by name.

    Returns:
        One sentence without a full stop, in lower case but for names; the same for the same values. Characters of
        names that a terminal would obey are escaped as in a manifest, and what is too long to read is cut.
    """
    told = escape_name(_told(comparison, before, after))
    return told if len(told) <= _LONGEST else told[: _LONGEST - 1] + "…"


def _told(comparison: Comparison, before: Side, after: Side) -> str:
    damaged = list(comparison.damaged)
    if damaged:
        verb = "has a damaged manifest" if len(damaged) == 1 else "have damaged manifests"
        rest = [_told(replace(comparison, damaged={}), before, after)] if comparison.files else []
        return "; ".join([f"{listing(damaged)} {verb}", *rest])
    if not comparison.files:
        return "nothing changed"
    models = [_model(files, before, after) for files in _gather(comparison.files)]
    if len(models) == 1:
        return described(models[0])
    if len(models) <= _TOLD:
        return "; ".join(
            described(model) if model.verb != "changed" else f"{model.label}: {described(model)}" for model in models
        )
    words = {"added": "added", "removed": "removed", "renamed": "renamed", "changed": "changed"}
    counts = {word: sum(model.verb == kind for model in models) for kind, word in words.items()}
    told = listing([f"{number} {word}" for word, number in counts.items() if number], len(counts))
    return f"{count(len(models), 'model')}: {told}"


def _gather(files: Iterable[FileChange]) -> list[list[FileChange]]:
    """Files that belong together, in the order of the first of each."""
    groups: dict[str, list[FileChange]] = {}
    owner: dict[str, str] = {}
    for file in files:
        names = [_SHARD.sub("", path) for path in (file.after, file.before) if path]
        names += [
            _SHARD.sub("", change.before.file) for change in file.tensors if change.kind == "moved" and change.before
        ]
        roots = list(dict.fromkeys(owner[name] for name in names if name in owner))
        root = roots[0] if roots else names[0]
        for other in roots[1:]:
            groups[root] += groups.pop(other)
            owner.update({name: root for name, held in owner.items() if held == other})
        owner.update(dict.fromkeys(names, root))
        groups.setdefault(root, []).append(file)
    return list(groups.values())


def _model(files: list[FileChange], before: Side, after: Side) -> Model:
    olds = _lines(before, [file.before for file in files if file.before])
    news = _lines(after, [file.after for file in files if file.after])
    return Model(tuple(files), olds, news)


def _lines(side: Side, paths: Iterable[str]) -> Mapping[str, TensorLine]:
    """All tensors of the models that these files are, or are shards of, by name."""
    stems = {_SHARD.sub("", path) for path in paths}
    found = (file for file in side.files.values() if _SHARD.sub("", file.path) in stems)
    return {line.name: line for file in found for line in file.manifest.tensors}
