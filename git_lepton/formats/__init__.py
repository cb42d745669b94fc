"""Weight files as data: which bytes belong to which tensor.

`parse` is all that the rest of the program needs. The format is chosen by content first, then by suffix, and a file
that its parser refuses is never lost: it becomes `raw`, with a warning.
"""

from __future__ import annotations

import re
from typing import Final

from git_lepton.errors import FormatError
from git_lepton.formats import gguf, npz, onnx, pytorch, raw, safetensors, zipdir
from git_lepton.formats.base import Parser
from git_lepton.formats.onnx import External, external_references
from git_lepton.values import Layout

__all__ = ["PARSERS", "External", "Parser", "detect", "external_references", "parse"]

PARSERS: Final[dict[str, Parser]] = {
    "safetensors": safetensors.parse,
    "onnx": onnx.parse,
    "gguf": gguf.parse,
    "pytorch": pytorch.parse,
    "npz": npz.parse,
    "data": raw.parse_data,
    "raw": raw.parse_raw,
}
"""Parser by the name of the format that a manifest carries."""

_SUFFIXES: Final = {
    ".safetensors": "safetensors",
    ".onnx": "onnx",
    ".gguf": "gguf",
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".npz": "npz",
    ".data": "data",
}
_NUMBERED_DATA: Final = re.compile(r"\.onnx_data(?:_[0-9]+)?\Z")


def detect(data: memoryview, path: str) -> str:
    """Name the format of a file by its content, and where that has no mark, by the suffix of `path`."""
    if len(data) == 0:
        return "raw"
    if gguf.looks_like(data):
        return "gguf"
    if safetensors.looks_like(data):
        return "safetensors"
    if zipdir.looks_like(data):
        return _detect_zip(data, path)
    if onnx.looks_like(data):
        return "onnx"
    return _by_suffix(path)


def parse(data: memoryview, path: str) -> tuple[Layout, str | None]:
    """Divide a file into tensors. `path` serves for its suffix only; `data` is neither copied nor kept.

    Returns:
        The layout, and None or one sentence that tells why the file had to be taken as `raw`. Never raises for
        what the file holds.
    """
    data = data if data.format == "B" and data.ndim == 1 else data.cast("B")
    try:
        return PARSERS[detect(data, path)](data), None
    except FormatError as error:
        return raw.parse_raw(data), f"{error.message}; it is stored whole, without its tensors"


def _detect_zip(data: memoryview, path: str) -> str:
    """Tell archives apart by their members; other zips are raw, and a broken one is what its suffix says."""
    try:
        members = zipdir.read_directory(data)
    except FormatError:
        return _by_suffix(path)
    if pytorch.archive_root(members) is not None:
        return "pytorch"
    return "npz" if members and all(member.name.endswith(npz.SUFFIX) for member in members) else "raw"


def _by_suffix(path: str) -> str:
    lowered = path.lower()
    if _NUMBERED_DATA.search(lowered):
        return "data"
    return next((fmt for suffix, fmt in _SUFFIXES.items() if lowered.endswith(suffix)), "raw")
