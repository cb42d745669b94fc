"""What a model answers on the examples of a gate: by onnxruntime, by a command, or by a function of the repository.

A command runs in a shell, with `{model}` (the bundle's folder), `{main}` (what a loader opens) and `{data}` replaced
by variables of its environment, so that no path can become part of the command whatever it is called. It prints a
line of JSON, the last one that makes sense: `{"value": 0.97}`, or the metric's name instead of "value", or
`{"per_example": [1, 0, …]}`, where the list may also be the path of a JSON file that holds it.

A function whose first parameter is called `model` is an evaluator too: it gets the path of what a loader opens and the
arrays of the data, and returns a number, or one for each example. Any other function is a metric and waits for the
outputs of onnxruntime.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from git_lepton import atomic, proc
from git_lepton.config.values import GateRule
from git_lepton.errors import CommandError, FormatError, LeptonError, UsageError
from git_lepton.gate import arrays, metrics, onnx_model
from git_lepton.gate.data import Data
from git_lepton.gate.values import Folder

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

MAX_PRINTED: Final = 32 << 20
_PLACES: Final[Mapping[str, str]] = {"model": "LEPTON_MODEL", "main": "LEPTON_MAIN", "data": "LEPTON_DATA"}
_SAID: Final = 400


@dataclass(frozen=True, slots=True)
class Outputs:
    """What one model answered. Exactly one of the first three is there.

    Attributes:
        raw: the judged output [n, …].
        each: the metric for each example [n], from an evaluator that tells.
        value: the metric, from one that does not.
        classes: names of the classes, where the model tells them.
    """

    raw: Array | None = None
    each: Array | None = None
    value: float | None = None
    classes: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """Write to a .npz that appears whole or not at all."""
        import numpy as np

        found: dict[str, Any] = {"raw": self.raw, "each": self.each, "value": self.value}
        if self.classes:
            found["classes"] = np.array(self.classes)
        with atomic.writer(path, durable=False) as stream:
            arrays.write(stream, {name: np.asarray(item) for name, item in found.items() if item is not None})


def saved(path: Path) -> Outputs | None:
    """What `Outputs.save` wrote, or None when it is not there or damaged."""
    try:
        found = arrays.read(path)
        return Outputs(
            found.get("raw"),
            found.get("each"),
            float(found["value"]) if "value" in found else None,
            tuple(found["classes"].tolist()) if "classes" in found else (),
        )
    except (OSError, LeptonError, TypeError, ValueError):
        return None


def evaluate(rule: GateRule, model: Folder, data: Data | None, data_path: Path | None, top: Path) -> Outputs:
    """Evaluate a model that needs no session of onnxruntime; see `onnx_outputs` for one that does.

    Raises:
        LeptonError: the evaluator failed; the message says how, in its own last words.
    """
    if rule.command is not None:
        return _command(rule, model, data_path, top)
    function = metrics.load_function(rule.metric)
    found = function(model.path / model.main, dict(data.arrays) if data else {})
    return _told(found, rule.metric)


def is_evaluator(name: str) -> bool:
    """Whether this function of the repository evaluates models itself: its first parameter is called `model`.

    Raises:
        UsageError: there is no such function.
    """
    return _first_parameter(metrics.load_function(name)) == "model"


def onnx_outputs(rule: GateRule, model: onnx_model.Model, data: Data) -> Outputs:
    """Answers of the output that the rule judges. Raises UsageError when data and model do not fit each other."""
    output = model.output(rule.output)
    raw, classes = model.run(model.sources(data, rule.inputs), data.rows, rule.batch, output)
    return Outputs(raw=raw, classes=classes)


def _command(rule: GateRule, model: Folder, data: Path | None, top: Path) -> Outputs:
    assert rule.command is not None
    text = rule.command
    for place, variable in _PLACES.items():
        text = text.replace(f"{{{place}}}", f'"${variable}"')
    env = {
        "LEPTON_MODEL": str(model.path),
        "LEPTON_MAIN": str(model.path / model.main),
        "LEPTON_DATA": None if data is None else str(data),
    }
    process = proc.spawn(["/bin/sh", "-c", text], cwd=top, env=env)
    with process:
        process.stdin.close()
        printed = _tail(process.stdout)
        done = process.close()
    said = done.stderr.decode(errors="replace").strip()[-_SAID:]
    if done.status:
        why = f"signal {-done.status}" if done.status < 0 else f"exit status {done.status}"
        last = said.rpartition("\n")[2].strip()  # of a traceback the line that says what went wrong
        raise CommandError([rule.command], done.status, f"{why}: {last}" if last else why)
    return _parse(printed.decode(errors="replace"), rule, top, said)


def _tail(stream: IO[bytes]) -> bytes:
    """The last bytes of a stream, read to its end."""
    kept = bytearray()
    while piece := stream.read(1 << 16):
        kept += piece
        del kept[:-MAX_PRINTED]
    return bytes(kept)


def _parse(printed: str, rule: GateRule, top: Path, said: str) -> Outputs:
    for text in (*reversed(printed.splitlines()), printed):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if not isinstance(found, dict):
            continue
        if isinstance(path := found.get("per_example"), str):
            return _told(_list_of(top / path), rule.metric)
        for key in ("per_example", "value", rule.metric):
            if key in found:
                return _told(found[key], rule.metric)
    last = printed.strip()[-_SAID:] or said or "nothing"
    raise UsageError(
        f"the command printed no result, but: {last}",
        hint=f'let it print a line of JSON: {{"value": 0.97}}, {{"{rule.metric}": 0.97}} or {{"per_example": [1, 0]}}',
    )


def _list_of(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"the values for each example cannot be read: {error}") from error


def _told(found: object, name: str) -> Outputs:
    """The number or numbers that an evaluator told."""
    import numpy as np

    try:
        values = np.asarray(found, dtype="float64")
    except (TypeError, ValueError) as error:
        raise FormatError("result", f"{name} is {found!r:.80}, and must be a number or a list of numbers") from error
    if values.ndim == 0:
        value = float(values)
        return Outputs(value=value if math.isfinite(value) else math.nan)
    if values.ndim != 1 or not len(values):
        raise FormatError("result", f"{name} has shape {list(values.shape)}, and must have one number an example")
    return Outputs(each=values)


def _first_parameter(function: Callable[..., Any]) -> str:
    try:
        return next(iter(inspect.signature(function).parameters), "")
    except (TypeError, ValueError):  # functions of C tell no parameters
        return ""
