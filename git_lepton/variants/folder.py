"""The files of a model as its folder has them: which hold weights, and small JSON files read strictly."""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from git_lepton.errors import FormatError, UsageError
from git_lepton.formats import safetensors
from git_lepton.values import Layout
from git_lepton.variants.values import ModelFolder, Unsuitable

MAX_JSON: Final = 256 << 20  # bytes; a tokenizer of a large vocabulary has 30 MB

CONFIG: Final = "config.json"


def check(model: ModelFolder) -> None:
    """Refuse files that are not inside the folder, or not there.

    Raises:
        UsageError: naming the file.
    """
    for name in (*model.files, *(() if model.main == "." else (model.main,))):
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or not name or "\0" in name:
            raise UsageError(f"{name!r} is no path inside the model's folder")
        if not (model.path / name).is_file():
            raise UsageError(f"{name} is not in {model.path}")
    if model.main != "." and model.main not in model.files:
        raise UsageError(f"{model.main} is not among the model's files")


def family(model: ModelFolder) -> Literal["onnx", "safetensors"] | None:
    """Which kind of weights recipes are applied to: that of `main`; in a folder, safetensors before ONNX."""
    if model.main.endswith(".onnx"):
        return "onnx"
    if with_suffix(model, ".safetensors"):
        return "safetensors"
    return "onnx" if with_suffix(model, ".onnx") else None


def with_suffix(model: ModelFolder, suffix: str) -> tuple[str, ...]:
    """The weight files of a suffix: `main` when it has it, else every such file of the model, sorted."""
    if model.main.endswith(suffix):
        return (model.main,)
    return tuple(sorted(name for name in model.files if name.endswith(suffix)))


def total_size(model: ModelFolder) -> int:
    """Bytes of all files."""
    return sum((model.path / name).stat().st_size for name in model.files)


def beside(name: str, other: str) -> str:
    """The path of `other` in the folder of `name`."""
    return str(PurePosixPath(name).parent / other)


def whole(path: Path) -> memoryview:
    """A file, mapped into memory as long as something refers to it.

    Raises:
        Unsuitable: it is empty.
    """
    with path.open("rb") as stream:
        if not stream.seek(0, 2):
            raise Unsuitable(f"{path.name} is empty")
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


def mapped(model: ModelFolder, names: Sequence[str]) -> list[tuple[memoryview, Layout]]:
    """Safetensors files of the model, mapped into memory, with their tensors.

    Raises:
        Unsuitable: one of them is malformed or empty.
    """
    sources = []
    for name in names:
        data = whole(model.path / name)
        try:
            sources.append((data, safetensors.parse(data)))
        except FormatError as error:
            raise Unsuitable(f"{name}: {error.message}") from error
    return sources


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file whose outermost value is an object.

    Raises:
        Unsuitable: anything else, or more than `MAX_JSON` bytes.
    """
    if path.stat().st_size > MAX_JSON:
        raise Unsuitable(f"{path.name} is larger than {MAX_JSON} bytes")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Unsuitable(f"{path.name} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise Unsuitable(f"{path.name} is not a JSON object")
    return value


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write JSON as the common libraries do: keys in their order, indented by two."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
