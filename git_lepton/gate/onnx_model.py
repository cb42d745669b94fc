"""An ONNX model run by onnxruntime on the processor: which arrays feed it, in batches, and what it answers.

How an input gets its values. An array with a row for each example, of the input's rank, is fed in batches, of the
model's own size where the graph fixes one (a last, shorter batch is filled up by its last row). An array with one
rank more is fed row by row: the model takes one example at a time. An array that fits a fixed shape and has no row for
each example is fed whole with every call: an initial state, a sampling rate. Numbers are converted within their kind.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from git_lepton.errors import FormatError, UsageError
from git_lepton.formats import skeleton
from git_lepton.gate.data import Data

if TYPE_CHECKING:
    import numpy
    from onnxruntime import InferenceSession

    Array = numpy.ndarray[Any, Any]
    Feed = dict[str, Array]

SUFFIXES: Final = (".onnx", ".ort")
_BATCH: Final = 8
_BATCH_BYTES: Final = 4 << 20
_SMALL_BATCH: Final = 32
_MAX_ANSWERS: Final = 1 << 30  # bytes
_SMALL_BYTES: Final = 8 << 10
_QUIET: Final = 4
_LARGE: Final = 8 << 20  # bytes
_BESIDE: Final = "session.model_external_initializers_file_folder_path"
_TYPES: Final[Mapping[str, str]] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    "tensor(string)": "string",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_KINDS: Final = {"f": "f", "i": "i", "u": "i", "b": "b", "O": "s", "U": "s", "S": "s"}


@dataclass(frozen=True, slots=True)
class Slot:
    """An input as the graph declares it: `shape` holds numbers where it fixes them, else names or None."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]

    def __str__(self) -> str:
        dimensions = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} {self.dtype}[{dimensions}]"


@dataclass(frozen=True, slots=True)
class Source:
    """Where an input's values come from: rows in batches, rows one by one, or the same array with every call."""

    slot: Slot
    values: Array
    way: Literal["batch", "row", "whole"]


def find(folder: Path, main: str) -> Path | None:
    """The ONNX file of a bundle: its main file, or the only one at the folder's top when main is the folder."""
    if main != ".":
        return folder / main if main.endswith(SUFFIXES) else None
    found = [path for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES]
    return found[0] if len(found) == 1 else None


class Model:
    """A loaded model. `path` must lie beside its external data.

    Args:
        path: the file, which must stay as it is.
        frugal: answers are all that is wanted: large weights stay in the file, and no memory is planned for more calls.
            Otherwise it is loaded as a server would.

    Raises:
        FormatError: onnxruntime cannot load it.
    """

    def __init__(self, path: Path, *, frugal: bool = False) -> None:
        try:
            self.session: InferenceSession = _frugal_session(path) if frugal else _session(str(path))
        except Exception as error:  # onnxruntime's own exceptions have no common base
            raise _load_error(path, error) from error
        self.path = path
        self.slots = tuple(
            Slot(item.name, _TYPES.get(item.type, item.type), tuple(item.shape)) for item in self.session.get_inputs()
        )
        self.outputs: tuple[str, ...] = tuple(item.name for item in self.session.get_outputs())

    def output(self, name: str | None) -> str:
        """The output of this name, the first for None.

        Raises:
            UsageError: there is none.
        """
        if name is None:
            return self.outputs[0]
        if name not in self.outputs:
            raise UsageError(f"the model has no output {name!r}", hint="its outputs: " + ", ".join(self.outputs))
        return name

    def sources(self, data: Data, names: Mapping[str, str]) -> tuple[Source, ...]:
        """Which array of the data feeds which input; `names` gives the array's name where it differs.

        Raises:
            UsageError: they do not fit; the message holds both signatures.
        """
        unknown = next((name for name in names if name not in {slot.name for slot in self.slots}), None)
        if unknown is not None:
            raise self._misfit(data, f"the model has no input {unknown!r}")
        return tuple(self._source(slot, data, names.get(slot.name)) for slot in self.slots)

    def feeds(self, sources: Sequence[Source], rows: int, batch: int | None) -> Iterator[tuple[Feed, int]]:
        """What to call the model with, and how many rows of each answer count."""
        size = 1 if any(source.way == "row" for source in sources) else self._batch(sources, batch)
        fixed = {s.slot.shape[0] for s in sources if s.way == "batch" and isinstance(s.slot.shape[0], int)}
        for start in range(0, rows, size):
            stop = min(start + size, rows)
            yield {s.slot.name: _part(s, start, stop, size if fixed else stop - start) for s in sources}, stop - start

    def run(
        self, sources: Sequence[Source], rows: int, batch: int | None, output: str
    ) -> tuple[Array, tuple[str, ...]]:
        """All answers of one output [rows, …], and names of classes where the output tells them.

        Raises:
            UsageError: the model fails on this data, or answers without a row for each example.
        """
        import numpy as np

        alone = any(source.way == "row" for source in sources)
        parts: list[Array] = []
        classes: tuple[str, ...] = ()
        total = 0
        for feed, count in self.feeds(sources, rows, batch):
            answer, classes = _as_array(self.call(feed, output))
            if alone:
                answer = answer[None]
            if not answer.ndim or len(answer) < count:
                raise UsageError(
                    f"output {output!r} has shape {list(answer.shape)} for {count} examples",
                    hint="judge another output, or write an evaluator: command = …",
                )
            parts.append(answer[:count])
            total += parts[-1].nbytes
            if total > _MAX_ANSWERS:
                raise UsageError(
                    f"output {output!r} is more than {_MAX_ANSWERS >> 30} GiB over these examples",
                    hint="sample fewer rows, or judge another output",
                )
        if len({part.shape[1:] for part in parts}) > 1:
            raise UsageError(f"output {output!r} has another shape for other examples", hint="set batch = 1 and sample")
        return np.concatenate(parts), classes

    def call(self, feed: Feed, output: str) -> Any:
        """One call. Raises UsageError with onnxruntime's reason when the model cannot be run on these values."""
        try:
            return self.session.run([output], feed)[0]
        except Exception as error:  # onnxruntime's own exceptions have no common base
            raise UsageError(
                f"onnxruntime cannot run {self.path.name}: {_reason(error)}",
                hint="where the model takes one example at a time, say batch = 1 in the gate",
            ) from error

    def _source(self, slot: Slot, data: Data, name: str | None) -> Source:
        import numpy as np

        values = data.arrays.get(slot.name if name is None else name)
        free = [key for key, array in data.arrays.items() if key not in data.beside and array.ndim]
        if values is None and name is None and len(self.slots) == 1 and len(free) == 1:
            values = data.arrays[free[0]]
        if values is None:
            raise self._misfit(data, f"there is nothing for input {name or slot.name!r}")
        wanted = "f" if slot.dtype.startswith("float") else "b" if slot.dtype == "bool" else "i"
        wanted = "s" if slot.dtype == "string" else wanted
        if slot.dtype not in _TYPES.values() or _KINDS.get(values.dtype.kind) != wanted:
            raise self._misfit(data, f"input {slot.name!r} takes {slot.dtype}")
        values = values.astype(object if wanted == "s" else slot.dtype, copy=False)
        rank = len(slot.shape)
        if rank and values.ndim == rank and len(values) == data.rows and _fits(slot.shape[1:], values.shape[1:]):
            return Source(slot, values, "batch")
        if values.ndim == rank + 1 and len(values) == data.rows and _fits(slot.shape, values.shape[1:]):
            return Source(slot, values, "row")
        if values.ndim == rank and _fits(slot.shape, values.shape) and (not rank or isinstance(slot.shape[0], int)):
            return Source(slot, values, "whole")
        if values.size == 1 and all(size in {None, 1} or isinstance(size, str) for size in slot.shape):
            return Source(slot, np.reshape(values, (1,) * rank), "whole")
        raise self._misfit(data, f"input {slot.name!r} does not fit")

    def _batch(self, sources: Sequence[Source], batch: int | None) -> int:
        fixed = {s.slot.shape[0] for s in sources if s.way == "batch" and isinstance(s.slot.shape[0], int)}
        if fixed:
            return max(1, *(size for size in fixed if isinstance(size, int)))
        if batch is not None:
            return batch
        if any(s.way == "whole" and not all(isinstance(size, int) for size in s.slot.shape) for s in sources):
            return 1  # a state whose free dimension is the batch: what the data has is for one example
        row = sum(s.values[:1].nbytes for s in sources if s.way == "batch")
        # What a call needs grows with its rows: eight 128-token rows already take a third of a small encoder's size.
        return max(1, min(_BATCH, _BATCH_BYTES // max(row, 1)), min(_SMALL_BATCH, _SMALL_BYTES // max(row, 1)))

    def _misfit(self, data: Data, reason: str) -> UsageError:
        slots = ", ".join(map(str, self.slots)) or "nothing"
        return UsageError(
            f"{data.name} does not fit the model: {reason}. The model takes {slots}; the data has {data.signature}",
            hint='name the arrays in the gate: inputs = { model_input = "array" }',
        )


def _frugal_session(path: Path) -> InferenceSession:
    """A large model by its skeleton, from which the runtime maps the weights of the file into memory."""
    if path.suffix == ".onnx" and path.stat().st_size >= _LARGE:
        with suppress(Exception), path.open("rb") as stream:  # what is wrong with the model, the other way tells
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
                encoded = skeleton.cut(view, path.name).encoded
            return _session(encoded, beside=path.parent)
    return _session(str(path))


def _session(model: str | bytes, *, beside: Path | None = None) -> InferenceSession:
    """A session for a path, or for a serialized model with its external data in a folder."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(_QUIET)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    if beside is not None:
        options.enable_mem_pattern = False  # what the first call needed would be allocated once more for the others
        options.add_session_config_entry(_BESIDE, str(beside))
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _fits(declared: Sequence[int | str | None], shape: Sequence[int]) -> bool:
    pairs = zip(declared, shape, strict=True)
    return len(declared) == len(shape) and all(not isinstance(want, int) or want == size for want, size in pairs)


def _part(source: Source, start: int, stop: int, size: int) -> Array:
    import numpy as np

    if source.way == "whole":
        return source.values
    if source.way == "row":
        return source.values[start]  # type: ignore[no-any-return]
    part: Array = source.values[start:stop]
    if len(part) < size:
        part = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
    return np.ascontiguousarray(part)


def _as_array(answer: Any) -> tuple[Array, tuple[str, ...]]:
    """An output as an array; a sequence of {class: score}, as converted trees give it, as [n, classes]."""
    import numpy as np

    if isinstance(answer, list) and answer and all(isinstance(item, dict) for item in answer):
        classes = sorted(answer[0])
        return np.array([[item.get(name, 0.0) for name in classes] for item in answer]), tuple(map(str, classes))
    if not isinstance(answer, np.ndarray):
        raise UsageError("the judged output is no tensor", hint='name another: output = "…"')
    return (answer.astype(str) if answer.dtype.kind == "O" else answer), ()


def _load_error(path: Path, error: Exception) -> FormatError | UsageError:
    reason = _reason(error).replace(f"{path.parent}/", "")
    if "is not a registered function/op" in reason or "No Op registered for" in reason or "custom" in reason.lower():
        return UsageError(
            f"{path.name} uses an operator that onnxruntime does not have: {reason}",
            hint='write an evaluator that loads the library of the operator: command = "python eval.py {main}"',
        )
    return FormatError("onnx", f"onnxruntime cannot load {path.name}: {reason}")


def _reason(error: Exception) -> str:
    """What onnxruntime says, in one line of bearable length, without its prefix of error codes.

    An error inside a branch is told once for each graph around it: the innermost node and its message say it all.
    """
    text = " ".join(str(error).split())
    text = text.partition(" : ")[2].partition(" : ")[2] or text
    around, found, inner = text.rpartition(" Status Message: ")
    if found:
        text = f"node {around.rpartition('Name:')[2]}: {inner}"
    return text if len(text) <= 300 else text[:299] + "…"
