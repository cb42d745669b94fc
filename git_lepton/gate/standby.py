"""A child of the gate that is started early: it loads numpy and onnxruntime while its parent is still reading git.

This module imports next to nothing, so that a hook can start the child before it loads the rest of the program. What
the child loads comes from the installation, never from the repository: it runs nothing of that before its job comes.
"""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from git_lepton import proc

MODULE: Final = "git_lepton.gate.worker"
_MEMORY: Final = {"MALLOC_TRIM_THRESHOLD_": "1000000"}
"""glibc gives a model's memory back when the next one is loaded; elsewhere this means nothing."""
_PACKAGE: Final = Path(__file__).parent.parent.parent
_SETTINGS: Final = "lepton.toml"
_SIGNS: Final = (b".gate]]", b".onnx")


class Standby:
    """The child, until somebody takes it. Leaving the context ends it if nobody did."""

    def __init__(self, top: Path) -> None:
        """Start it in `top`. Raises CommandError when it cannot be started."""
        self.top = top
        self._process: proc.Process | None = start(top, "--warm")

    def take(self) -> proc.Process | None:
        """The child, once; then None."""
        process, self._process = self._process, None
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if (process := self.take()) is not None:
            process.kill()
            process.close()


def expected(top: Path | None) -> AbstractContextManager[Standby | None]:
    """A child where lepton.toml of the work tree looks as if one will be wanted, else None: a guess that costs a read.

    Raises:
        CommandError: it cannot be started.
    """
    try:
        text = b"" if top is None else (top / _SETTINGS).read_bytes()
    except OSError:
        text = b""
    return Standby(top) if top is not None and all(sign in text for sign in _SIGNS) else nullcontext()


def start(top: Path, *options: str) -> proc.Process:
    """Start a child in `top`; see `gate.worker` for what it reads and writes. Raises CommandError."""
    paths = os.pathsep.join(filter(None, (str(_PACKAGE), os.environ.get("PYTHONPATH"))))
    # -P: nothing is imported from the folder that it runs in, which a stranger may have filled
    argv = [sys.executable, "-P", "-m", MODULE, *options]
    return proc.spawn(argv, cwd=top, env={"PYTHONPATH": paths, **_MEMORY}, own_group=True)
