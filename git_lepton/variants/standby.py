"""The child process of a build, started: at once, or early, to load the quantizers while its parent reads git.

This module imports next to nothing, so that a hook can start the child before it loads the rest of the program.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from git_lepton import proc

MODULE: Final = "git_lepton.variants.worker"
_PACKAGE: Final = Path(__file__).parent.parent.parent


def start(*options: str) -> proc.Process:
    """Start a child; see `variants.worker` for what it reads and writes. Raises CommandError."""
    env = {
        **proc.FRUGAL,
        # What tools print in an order of hashes, and where they look for our own package.
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(_PACKAGE), os.environ.get("PYTHONPATH")))),
        "PYTHONWARNINGS": "ignore",
        "OPENBLAS_NUM_THREADS": "1",  # numpy's, which is not asked for any product here; each thread costs memory
    }
    # -P: the folder that it runs in must never stand in for a package
    return proc.spawn([sys.executable, "-P", "-m", MODULE, *options], env=env, own_group=True)
