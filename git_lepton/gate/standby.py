"""The gate's child process, started: at once, or early, to load numpy and onnxruntime while its parent reads git.

This module imports next to nothing, so that a hook can start the child before it loads the rest of the program. What
the child loads comes from the installation, never from the repository: it runs nothing of that before its job comes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from git_lepton import proc

MODULE: Final = "git_lepton.gate.worker"
_PACKAGE: Final = Path(__file__).parent.parent.parent


class Standby(proc.Spare):
    """A child that was started early in `top`."""

    def __init__(self, top: Path) -> None:
        """Start it. Raises CommandError when it cannot be started."""
        super().__init__(start(top, "--warm"))
        self.top = top


def start(top: Path, *options: str) -> proc.Process:
    """Start a child in `top`; see `gate.worker` for what it reads and writes. Raises CommandError."""
    paths = os.pathsep.join(filter(None, (str(_PACKAGE), os.environ.get("PYTHONPATH"))))
    # -P: nothing is imported from the folder that it runs in, which a stranger may have filled
    argv = [sys.executable, "-P", "-m", MODULE, *options]
    return proc.spawn(argv, cwd=top, env={"PYTHONPATH": paths, **proc.FRUGAL}, own_group=True)
