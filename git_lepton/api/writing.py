"""Writing a safetensors file, tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from git_lepton import atomic
from git_lepton.api.arrays import as_stored
from git_lepton.errors import UsageError
from git_lepton.formats.safetensors import METADATA, write_header
from git_lepton.store.manifest import TensorLine
from git_lepton.values import DTYPES


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor on its way into a safetensors file; `data` gives its bytes when they are written."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    length: int
    data: Callable[[], bytes | memoryview]

    @classmethod
    def of_line(cls, line: TensorLine, data: Callable[[], bytes]) -> Entry:
        """A tensor that is stored. Raises UsageError when safetensors does not have its type."""
        known = DTYPES.get(line.dtype)
        if known is None:
            raise UsageError(
                f"tensor {line.name!r} has type {line.dtype}, which safetensors does not have",
                hint="export the whole file instead",
            )
        return cls(line.name, line.dtype, line.shape, math.prod(line.shape) * known.bits // 8, data)

    @classmethod
    def of_array(cls, name: str, value: Any) -> Entry:
        """An array of numpy or a tensor of torch. Raises UsageError when safetensors does not have its type."""
        dtype, array = as_stored(name, value)
        return cls(name, dtype, array.shape, array.nbytes, lambda: array.reshape(-1).view("u1").data)


def write_safetensors(path: Path, entries: Sequence[Entry], metadata: Mapping[str, str] | None) -> None:
    """Write a file, whole or not at all, with its tensors in the order given.

    Raises:
        UsageError: two tensors have one name.
        FormatError: no header can say this.
    """
    names = {METADATA}
    for entry in entries:
        if entry.name in names:
            raise UsageError(f"two tensors cannot both be named {entry.name!r}")
        names.add(entry.name)
    header = write_header(metadata or {}, ((one.name, one.dtype, one.shape, one.length) for one in entries))
    with atomic.writer(path) as stream:
        stream.write(header)
        for entry in entries:
            stream.write(entry.data())
