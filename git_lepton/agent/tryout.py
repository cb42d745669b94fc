"""The warm-up's child process: `python -m git_lepton.agent.tryout`, with a job as JSON on standard input.

It limits its own memory and processor time before it imports anything large, opens the model as a server would, and
where there is a golden file compares the answers. Exit status 0: all is well; 1: it is not, and standard output says
why. Anything else is the end of a process that went wrong.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from git_lepton.errors import LeptonError, UsageError
from git_lepton.formats import PARSERS, detect
from git_lepton.gate import golden, onnx_model

_PARSED: Final = frozenset({"safetensors", "gguf", "npz"})


def main() -> int:
    """Do the job; returns the exit status."""
    job = json.load(sys.stdin)
    _limit(resource.RLIMIT_AS, int(job["memory"]))
    _limit(resource.RLIMIT_CPU, math.ceil(job["seconds"]) * (os.cpu_count() or 1) + 1)
    _limit(resource.RLIMIT_CORE, 0)
    answer, sys.stdout = sys.stdout, sys.stderr
    holds, message = try_out(job)
    print(message, file=answer, flush=True)  # the answer to the parent
    return 0 if holds else 1


def try_out(job: dict[str, Any]) -> tuple[bool, str]:
    """Whether the release of a job works, and one sentence."""
    folder = Path(job["folder"])
    try:
        model = onnx_model.find(folder, job["main"])
        if model is not None and job["golden"] is not None:
            tolerance = {"rtol": job["rtol"], "atol": job["atol"]}
            check = golden.check(Path(job["golden"]), folder, job["main"], job["variant"], **tolerance)
            return check.holds, check.reason
        if model is not None:
            return _run_once(onnx_model.Model(model))
        count = sum(1 for _ in _parsed(folder))
        return True, f"{count} weight files are what they claim"
    except MemoryError:
        return False, "it takes more memory than it may"
    except Exception as error:  # whatever a runtime raises for a model is the model's fault
        return False, error.message if isinstance(error, LeptonError) else f"{type(error).__name__}: {error}"


def _run_once(model: onnx_model.Model) -> tuple[bool, str]:
    """Call a model with zeros, since some that load at once take all memory when they run.

    That zeros make no sense to a model is no fault of it; only a golden file can tell whether it answers well.
    """
    import numpy as np

    if any(slot.dtype not in np.sctypeDict for slot in model.slots):
        return True, "the model can be loaded"
    shapes = ([size if isinstance(size, int) and size > 0 else 1 for size in slot.shape] for slot in model.slots)
    feed = {slot.name: np.zeros(shape, slot.dtype) for slot, shape in zip(model.slots, shapes, strict=True)}
    try:
        model.call(feed, model.output(None))
    except UsageError as error:
        if "alloc" in error.message.lower():
            return False, f"it takes more memory than it may: {error.message}"
        return True, "the model can be loaded"
    return True, "the model can be loaded and answers"


def _parsed(folder: Path) -> Iterator[Path]:
    """Every file whose format has a header that a loader relies on, read strictly. Raises FormatError."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size:
            with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                with memoryview(mapped) as view:
                    kind = detect(view, path.name)
                    if kind in _PARSED:
                        PARSERS[kind](view)
                if kind in _PARSED:
                    yield path


def _limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (wanted, wanted))


if __name__ == "__main__":
    sys.exit(main())
