"""Entry point of `git-lepton`, `git lepton` and `python -m git_lepton`."""

from __future__ import annotations

import sys

from git_lepton.cli.boundary import run
from git_lepton.cli.main import cli


def main() -> None:
    """Run the command line and exit with its status."""
    sys.exit(run(cli, sys.argv[1:]))


if __name__ == "__main__":
    main()
