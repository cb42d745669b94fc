"""The golden file: a few examples with the answers of a model and its variants, to try a model that was just fetched.

It is a .npz: `input:NAME` for each input as it is fed, `rows`, the judged output's name, and `output:RECIPE` for each
variant ("output:" for the original). All rows go through the model in as few calls as it allows, for dynamic
quantisation depends on what is in a batch. Writing needs the gate's rules; checking needs numpy and onnxruntime only,
and belongs into a child process with limits, since it runs a model.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from git_lepton import atomic
from git_lepton.config.values import GateRule
from git_lepton.errors import FormatError, LeptonError, UsageError
from git_lepton.gate import arrays, onnx_model
from git_lepton.gate.data import Data, sample
from git_lepton.gate.values import Folder

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

MAX_BYTES: Final = 1 << 20
_INPUT: Final = "input:"
_OUTPUT: Final = "output:"


@dataclass(frozen=True, slots=True)
class Check:
    """Whether a model answers as its golden file says.

    Attributes:
        holds: it does.
        reason: one sentence.
        rows: examples that were tried.
        error: the largest |difference|; None for answers that are no numbers.
        agreement: share of examples with the same largest output; None where that means nothing.
    """

    holds: bool
    reason: str
    rows: int = 0
    error: float | None = None
    agreement: float | None = None


def write(path: Path, data: Data, rule: GateRule, models: Mapping[str, Folder], count: int) -> int:
    """Write the golden file of `models` (by variant) over `count` examples, fewer when they would not fit in 1 MiB.

    Returns:
        How many examples it holds. The bytes depend on the examples and the models' answers only.

    Raises:
        UsageError: not even one example fits, or a model cannot be run.
    """
    rows = min(count, data.rows)
    while rows:
        text = _build(data, rule, models, rows)
        if len(text) <= MAX_BYTES:
            atomic.write_file(path, text)
            return rows
        rows //= 2
    raise UsageError(f"one example with its answers is more than {MAX_BYTES >> 20} MiB: too much for a golden file")


def check(path: Path, folder: Path, main: str, variant: str = "", *, rtol: float = 1e-3, atol: float = 1e-4) -> Check:
    """Run the model in `folder` on the examples of a golden file and compare its answers.

    Floats must be within `atol + rtol * |expected|` and have the same largest output; all else must be equal.
    A model that cannot be loaded or run, and a golden file that is damaged, do not hold; nothing is raised for them.
    """
    try:
        found = arrays.read(path)
        model_path = onnx_model.find(folder, main)
        if model_path is None:
            raise UsageError(f"{main} is no ONNX file")
        if f"{_OUTPUT}{variant}" not in found or "rows" not in found or "judged" not in found:
            raise FormatError("golden", f"it has no answers of {variant or 'the original'}")
        expected, rows = found[f"{_OUTPUT}{variant}"], int(found["rows"])
        model = onnx_model.Model(model_path)
        inputs = {name.removeprefix(_INPUT): array for name, array in found.items() if name.startswith(_INPUT)}
        answer = _answers(model, _data(path.name, inputs, rows), {}, model.output(str(found["judged"])))
    except (LeptonError, OSError, TypeError, ValueError) as error:
        return Check(False, str(error))
    return _compare(answer, expected, rtol, atol)


def _compare(answer: Array, expected: Array, rtol: float, atol: float) -> Check:
    import numpy as np

    rows = len(expected)
    if answer.shape != expected.shape:
        return Check(False, f"the answers have shape {list(answer.shape)} instead of {list(expected.shape)}", rows)
    if expected.dtype.kind != "f":
        holds = bool((answer == expected).all())
        return Check(holds, f"{rows} answers are {'equal' if holds else 'not all equal'}", rows)
    if not answer.size or np.isnan(answer).any():
        return Check(False, "the model answers NaN" if answer.size else "the model answers nothing", rows)
    difference = np.abs(answer.astype("float64") - expected)
    error = float(difference.max())
    agreement = None
    if answer.ndim > 1 and answer.shape[1] > 1:
        largest = (found.reshape(rows, -1).argmax(axis=1) for found in (answer, expected))
        agreement = float(np.equal(*largest).mean())
    close = bool((difference <= atol + rtol * np.abs(expected)).all())
    if close and agreement in {None, 1.0}:
        return Check(True, f"{rows} answers are within tolerance", rows, error, agreement)
    reason = f"answers differ by up to {error:.3g}"
    if agreement is not None and agreement < 1:
        reason += f"; {round((1 - agreement) * rows)} of {rows} predictions changed"
    return Check(False, reason, rows, error, agreement)


def _build(data: Data, rule: GateRule, models: Mapping[str, Folder], count: int) -> bytes:
    import numpy as np

    chosen = sample(data.rows, count)
    picked = {
        name: array[chosen] if array.ndim and len(array) == data.rows else array for name, array in data.arrays.items()
    }
    few = Data(data.name, picked, len(chosen), None, None, (), data.beside)
    found: dict[str, Array] = {"rows": np.array(len(chosen))}
    for variant, folder in models.items():
        path = onnx_model.find(folder.path, folder.main)
        if path is None:
            raise UsageError(f"{folder.main} is no ONNX file: a golden file needs one")
        model = onnx_model.Model(path, frugal=True)
        output = model.output(rule.output)
        found["judged"] = np.array(output)
        for source in model.sources(few, rule.inputs):
            values = source.values.astype(str) if source.values.dtype.kind == "O" else source.values
            found.setdefault(f"{_INPUT}{source.slot.name}", values)
        found[f"{_OUTPUT}{variant}"] = _answers(model, few, rule.inputs, output)
        del model  # before the next one is loaded
    stream = io.BytesIO()
    arrays.write(stream, found)
    return stream.getvalue()


def _answers(model: onnx_model.Model, data: Data, names: Mapping[str, str], output: str) -> Array:
    answer, _ = model.run(model.sources(data, names), data.rows, data.rows, output)
    return answer


def _data(name: str, inputs: Mapping[str, Array], rows: int) -> Data:
    return Data(name, inputs, rows, None, None, (), frozenset())
