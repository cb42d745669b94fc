"""The gate's child process: `python -m git_lepton.gate.worker`, which runs models and code of the repository.

A job comes as one line of JSON on standard input, which stays open: when it closes the parent is gone, and this
process ends with everything it started. Events go to standard output as lines of JSON; libraries that print find
standard error in its place. A task that raises is told as failed and the next one begins; a task that takes the
process down, or hangs, is the parent's to notice: it starts another child with what is left.

One model is loaded at a time and kept for the tasks that follow, and so are the examples of one file.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, TextIO

from git_lepton.config.values import GateRule
from git_lepton.errors import LeptonError, UsageError
from git_lepton.gate import data as examples
from git_lepton.gate import dissect, evaluators, golden, metrics, onnx_model, performance
from git_lepton.gate.assess import assess
from git_lepton.gate.data import Data
from git_lepton.gate.tasks import (
    Assess,
    Clock,
    Dissect,
    Evaluate,
    Evaluated,
    Event,
    Failed,
    Job,
    Result,
    Shine,
    Shone,
    Task,
    Weigh,
)
from git_lepton.gate.values import Folder
from git_lepton.record.plain import from_plain, to_plain

MAX_JOB: Final = 64 << 20
_TOLD: Final = 2000


class Worker:
    """Does tasks, one after the other, and keeps what the next one may need."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._model: tuple[Path, onnx_model.Model] | None = None
        self._data: tuple[tuple[Path, GateRule], Data] | None = None

    def do(self, task: Task) -> Result:
        """The result of one task. Raises whatever the code of the repository raises, and LeptonError."""
        if metrics.is_function(task.rule.metric) and str(self._top) not in sys.path:
            # Not before: else an optional import of any library would find a file that nobody trusted.
            sys.path.append(str(self._top))
        match task:
            case Evaluate():
                return self._evaluate(task)
            case Assess():
                return assess(task)
            case Clock():
                return performance.clock(task, self._load_data(task.data, task.rule))
            case Weigh():
                return performance.weigh(task, self._load_data(task.data, task.rule))
            case Shine():
                data = self._load_data(task.data, task.rule)
                models = dict(zip(task.variants, task.models, strict=True))
                return Shone(golden.write(task.golden, data, task.rule, models, task.count))
            case Dissect():
                return dissect.dissect(task, self._load_data(task.data, task.rule))

    def _evaluate(self, task: Evaluate) -> Evaluated:
        if evaluators.saved(task.target) is not None:
            return Evaluated(0.0)
        began = time.perf_counter()
        rule = task.rule
        data = self._load_data(task.data, rule) if task.data is not None and rule.command is None else None
        if rule.command is not None or (metrics.is_function(rule.metric) and evaluators.is_evaluator(rule.metric)):
            found = evaluators.evaluate(rule, task.model, data, task.data, self._top)
        else:
            if data is None:
                raise UsageError(f"gate {rule.name!r} names no data and no command")
            found = evaluators.onnx_outputs(rule, self._load_model(task.model), data)
        found.save(task.target)
        return Evaluated(time.perf_counter() - began)

    def _load_model(self, folder: Folder) -> onnx_model.Model:
        path = onnx_model.find(folder.path, folder.main)
        if path is None:
            raise UsageError(
                f"{folder.main} is no ONNX file, so that git-lepton cannot run it",
                hint='write an evaluator: command = "python eval.py {model}"',
            )
        if self._model is None or self._model[0] != path:
            self._model = None  # the one before goes first: two would need twice the memory
            self._model = path, onnx_model.Model(path, frugal=True)
        return self._model[1]

    def _load_data(self, path: Path, rule: GateRule) -> Data:
        if self._data is None or self._data[0] != (path, rule):
            self._data = None
            self._data = (path, rule), examples.load(path, rule)
        return self._data[1]


def main() -> int:
    """Read the job, do it, and return 0. With `--warm`, load what it will need before it comes."""
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if "--warm" in sys.argv:
        with suppress(ImportError):
            import numpy  # noqa: F401
            import onnxruntime  # noqa: F401
    line = sys.stdin.buffer.readline(MAX_JOB)
    if not line:
        return 0
    job = from_plain(Job, json.loads(line))
    threading.Thread(target=_end_with_parent, name="lifeline", daemon=True).start()
    sys.dont_write_bytecode = True  # a gate leaves no files in the work tree
    worker = Worker(job.top)
    for number, task in enumerate(job.tasks):
        _tell(told, Event(number))
        _tell(told, _attempt(worker, task, number))
    return 0


def _tell(stream: TextIO, event: Event) -> None:
    stream.write(json.dumps(to_plain(event)) + "\n")
    stream.flush()


def _attempt(worker: Worker, task: Task, number: int) -> Event:
    try:
        return Event(number, worker.do(task))
    except LeptonError as error:
        return Event(number, failed=Failed(error.message[:_TOLD], error.hint or ""))
    except MemoryError:
        return Event(number, failed=Failed("there is not enough memory", "set batch = 1, or sample fewer rows"))
    except OSError as error:
        return Event(number, failed=Failed(str(error)[:_TOLD]))
    except Exception as error:  # functions of the repository raise what they like
        return Event(number, failed=Failed(f"{type(error).__name__}: {error}"[:_TOLD]))


def _end_with_parent() -> None:
    while os.read(0, 1 << 12):
        continue
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
