"""Examples for static quantization, read as the batches that a model's inputs ask for.

A file holds an array for each input, by the input's name (.npz or .safetensors); a model with one input also takes a
file with one array that fits it. Rows lie along the first axis. An array that has no row axis for its input (fewer
dimensions than the input, a scalar, or a first axis of the length that the graph fixes: an initial state) goes into
every batch as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from git_lepton.errors import UsageError
from git_lepton.variants.values import Unsuitable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

MAX_ROWS: Final = 1024
"""Rows that are looked at, the first ones: ranges hardly move after a few hundred."""

_BATCH: Final = 16  # rows a call where the model takes any number
_NUMPY: Final = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


class Batches:
    """The batches of a file of examples for a model; iterate it once."""

    def __init__(self, examples: Path, model: Path) -> None:
        """Read and check.

        Raises:
            UsageError: the file cannot be read as examples.
            Unsuitable: it does not fit the model's inputs; both signatures are in the message.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        inputs = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"]).get_inputs()
        arrays = read_arrays(examples)
        found = {wanted.name: _match(wanted, arrays, len(inputs)) for wanted in inputs}
        given = {name: array for name, array in found.items() if array is not None}
        if len(given) < len(found):
            raise Unsuitable(
                f"the calibration data does not fit: the model takes {_signature(inputs)}, the file has "
                + ", ".join(f"{name} {a.dtype}{list(a.shape)}" for name, a in sorted(arrays.items()))
            )
        in_rows = [i for i in inputs if given[i.name].ndim == len(i.shape) and given[i.name].ndim]
        self._count = min(MAX_ROWS, max((len(given[i.name]) for i in in_rows), default=0))
        states = [i for i in in_rows if len(given[i.name]) == i.shape[0] < self._count]
        self._rows = {i.name: given[i.name][:MAX_ROWS] for i in in_rows if i not in states}
        self._whole = {name: array for name, array in given.items() if name not in self._rows}
        counts = {name: len(array) for name, array in self._rows.items()}
        if len(set(counts.values())) != 1:
            raise Unsuitable(f"the arrays of the calibration data have different numbers of rows: {counts}")
        fixed = [i.shape[0] for i in in_rows if i.name in self._rows and isinstance(i.shape[0], int)]
        alone = any(not all(isinstance(size, int) for size in i.shape) for i in states)
        self._size = fixed[0] if fixed else 1 if alone else min(_BATCH, self._count)
        if self._count < self._size:
            raise Unsuitable(f"the model takes {self._size} rows at a time, and the calibration data has {self._count}")

    def __iter__(self) -> Iterator[dict[str, Array]]:
        for first in range(0, self._count - self._size + 1, self._size):
            yield {
                **self._whole,
                **{name: array[first : first + self._size] for name, array in self._rows.items()},
            }


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of a .npz or .safetensors file by name; nothing is unpickled.

    Raises:
        UsageError: neither, or damaged.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with np.load(path, allow_pickle=False) as archive:
            if not hasattr(archive, "files"):
                raise UsageError(f"{path.name} holds one array: examples are .npz or .safetensors with named arrays")
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, SafetensorError, EOFError) as error:
        raise UsageError(f"{path.name} cannot be read as examples: {error}") from error


def _match(wanted: Any, arrays: Mapping[str, Array], inputs: int) -> Array | None:
    """The array for one input, in the input's own type; None when there is none that fits."""
    array = arrays.get(wanted.name)
    if array is None and inputs == 1 and len(arrays) == 1:
        array = next(iter(arrays.values()))
    dtype = _NUMPY.get(wanted.type)
    if array is None or dtype is None or array.ndim > len(wanted.shape):
        return None
    if array.ndim == len(wanted.shape) and any(
        isinstance(size, int) and size != length for size, length in zip(wanted.shape[1:], array.shape[1:], strict=True)
    ):
        return None
    return array.astype(dtype, copy=False)


def _signature(inputs: Any) -> str:
    return ", ".join(f"{i.name} {i.type.removeprefix('tensor(').removesuffix(')')}{i.shape}" for i in inputs)
