"""Weight files of a revision, as `ls-files` tells them."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from git_lepton.errors import ManifestError
from git_lepton.report.table import safe, table
from git_lepton.report.units import shape, size
from git_lepton.store.tracked import TrackedFile
from git_lepton.values import Hash

SHORT = 12
"""Digits of a hash where people read it."""


def files_text(
    files: Sequence[TrackedFile], here: Set[Hash], *, long: bool = False, sizes: bool = False, tensors: bool = False
) -> str:
    """One line a file: hash, `*` if its weights are in this repository and `-` if not, path.

    Args:
        files: what to list.
        here: versions whose weights are in this repository.
        long: whole hashes.
        sizes: a column with the size, and one with the format.
        tensors: a line for each tensor, below its file.
    """
    rows = []
    for file in files:
        digest = file.manifest.blake3 if long else file.manifest.blake3[:SHORT]
        extra = (size(file.manifest.size), file.manifest.format) if sizes else ()
        rows.append((digest, "*" if file.manifest.blake3 in here else "-", *extra, safe(file.path)))
    lines = table(rows, right="llr" if sizes else "").split("\n") if rows else []
    if tensors:
        lines = [text for line, file in zip(lines, files, strict=True) for text in (line, *_tensor_lines(file))]
    return "\n".join(lines)


def _tensor_lines(file: TrackedFile) -> list[str]:
    rows = [(t.dtype, shape(t.shape), safe(t.name)) for t in file.manifest.tensors]
    return table(rows, indent=4).split("\n") if rows else []


def files_json(
    files: Sequence[TrackedFile],
    broken: Sequence[tuple[str, ManifestError]],
    here: Set[Hash],
    *,
    tensors: bool = False,
) -> dict[str, Any]:
    """The same for programs."""
    listed = []
    for file in files:
        entry: dict[str, Any] = {
            "path": file.path,
            "blake3": file.manifest.blake3,
            "size": file.manifest.size,
            "format": file.manifest.format,
            "here": file.manifest.blake3 in here,
        }
        if tensors:
            entry["tensors"] = [
                {"name": t.name, "dtype": t.dtype, "shape": list(t.shape), "blake3": t.hash}
                for t in file.manifest.tensors
            ]
        listed.append(entry)
    return {"files": listed, "broken": [{"path": path, "message": error.message} for path, error in broken]}
