"""Entry point of `git-lepton`, `git lepton` and `python -m git_lepton`.

A hook that may judge a model starts the children that it will want before anything else is loaded, which is why the
command line itself is imported by name. In the end everything is closed, and git is not kept waiting while Python takes
the program apart object by object.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from typing import Any, Final

_KEPT: Final = 24 << 20
_AWAITED: Final = (["hook"], ["filter-process"])
"""What git waits for until it has ended."""
_WITHOUT_PRODUCTS: Final = (["filter-process"], ["merge-driver"])
"""What may load numpy and never uses its linear algebra, whose idle threads spin for a tenth of a second."""


def main() -> None:
    """Run the command line and exit with its status."""
    arguments = sys.argv[1:]
    tune(arguments)
    if arguments[:1] == ["hook"]:
        with importlib.import_module("git_lepton.drivers.children").of_hook(arguments[1:]) as children:
            status = _run(arguments, children)
    else:
        status = _run(arguments)
    if arguments[:1] in _AWAITED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    gc.freeze()
    sys.exit(status)


def tune(arguments: list[str]) -> None:
    """Set up this process, which has loaded nothing large yet, for a command line."""
    # What modules make lives until the end: looking for garbage in it, while they load and in the end, cost a fifth.
    gc.set_threshold(50_000)
    if arguments[:1] in _WITHOUT_PRODUCTS:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if arguments[:1] != ["agent"]:  # which idles most of its life
        # Freed chunks of weights are to be kept for the next ones. glibc gives back, and faults in again page by page,
        # what is more than twice the largest block that was ever freed (mallopt(3), M_TRIM_THRESHOLD): this one, which
        # nobody touches.
        bytes(_KEPT)


def _run(*arguments: Any) -> int:
    boundary, table = (importlib.import_module(f"git_lepton.cli.{name}") for name in ("boundary", "main"))
    return int(boundary.run(table.cli, *arguments))


if __name__ == "__main__":
    main()
