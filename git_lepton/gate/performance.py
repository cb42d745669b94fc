"""How long a call takes beside another model's, and how much memory a model needs.

Times are taken in turns, A B B A, on the same values in one process, so that whatever slows the machine slows both;
the figure is the ratio of the medians and its interval comes from resampling the pairs. Memory is what the process
holds at its highest, less what it held before the model was loaded.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from git_lepton.config.values import GateRule
from git_lepton.errors import UsageError
from git_lepton.gate import onnx_model, statistics
from git_lepton.gate.data import Data
from git_lepton.gate.tasks import Clock, Clocked, Weigh, Weighed
from git_lepton.gate.values import Folder, Interval

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

_WARM_UP: Final = 3
_LEAST_PAIRS: Final = 12
_MOST_PAIRS: Final = 400
_SECONDS: Final = 2.0
_WEIGHED_ROWS: Final = 256
_RESAMPLES: Final = 400
_SEED: Final = 1
_STATUS: Final = Path("/proc/self/status")


class Caller:
    """A model with the values of one call: the first example, or a whole batch where the graph fixes its size."""

    def __init__(self, folder: Folder, rule: GateRule, data: Data) -> None:
        self._model = load(folder)
        self._output = self._model.output(rule.output)
        sources = self._model.sources(data, rule.inputs)
        self._feed, _ = next(self._model.feeds(sources, data.rows, rule.batch or 1))

    def __call__(self) -> float:
        """Seconds that one call takes."""
        began = time.perf_counter()
        self._model.call(self._feed, self._output)
        return time.perf_counter() - began


def load(folder: Folder) -> onnx_model.Model:
    """The model of a bundle. Raises UsageError when it is no ONNX file."""
    path = onnx_model.find(folder.path, folder.main)
    if path is None:
        raise UsageError(f"{folder.main} is no ONNX file: time and memory can be measured for ONNX only")
    return onnx_model.Model(path)


def clock(task: Clock, data: Data) -> Clocked:
    """Time both models in turns for about two seconds; at least a dozen pairs."""
    import numpy as np

    own, other = (Caller(folder, task.rule, data) for folder in (task.model, task.other))
    for _ in range(_WARM_UP):
        own(), other()
    pairs: list[tuple[float, float]] = []
    began = time.perf_counter()
    while len(pairs) < _MOST_PAIRS and (len(pairs) < _LEAST_PAIRS or time.perf_counter() - began < _SECONDS):
        if len(pairs) % 2:
            second = other()
            pairs.append((own(), second))
        else:
            pairs.append((own(), other()))
    times = np.array(pairs)
    chosen = np.random.default_rng(_SEED).integers(0, len(times), (_RESAMPLES, len(times)))
    medians = np.median(times[chosen], axis=1)
    low, high = np.quantile(medians[:, 0] / medians[:, 1], [1 - statistics.LEVEL, statistics.LEVEL])
    ratio = float(np.median(times[:, 0]) / np.median(times[:, 1]))
    return Clocked(ratio, Interval(float(low), float(high), statistics.LEVEL), len(pairs))


def weigh(task: Weigh, data: Data) -> Weighed:
    """Load the model and run it on up to 256 examples, in a process that loaded no model before."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    before = _resident()
    model = load(task.weighed)
    sources = model.sources(data, task.rule.inputs)
    model.run(sources, min(data.rows, _WEIGHED_ROWS), task.rule.batch, model.output(task.rule.output))
    return Weighed(max(0, _peak() - before))


def _peak() -> int:
    """Most bytes that were resident. Linux: not `ru_maxrss`, which a child inherits from its parent."""
    if (found := _status("VmHWM")) is not None:
        return found
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def _resident() -> int:
    found = _status("VmRSS")
    return found if found is not None else _peak()


def _status(field: str) -> int | None:
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:")), None)
