"""Entry point of `git-lepton`, `git lepton` and `python -m git_lepton`.

A hook that may judge a model starts the children that it will want before anything else is loaded, which is why the
command line itself is imported by name.
"""

from __future__ import annotations

import gc
import importlib
import sys
from typing import Any


def main() -> None:
    """Run the command line and exit with its status."""
    # What modules make while they load lives until the end: looking for garbage in it cost a tenth of every start.
    gc.set_threshold(50_000)
    arguments = sys.argv[1:]
    if arguments[:1] != ["hook"]:
        sys.exit(_run(arguments))
    with importlib.import_module("git_lepton.drivers.children").of_hook(arguments[1:]) as children:
        sys.exit(_run(arguments, children))


def _run(*arguments: Any) -> int:
    boundary, table = (importlib.import_module(f"git_lepton.cli.{name}") for name in ("boundary", "main"))
    return int(boundary.run(table.cli, *arguments))


if __name__ == "__main__":
    main()
