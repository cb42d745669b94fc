"""`git lepton merge-driver`: what git calls for a weight file that both sides of a merge changed; nobody types it."""

from __future__ import annotations

from pathlib import Path

import click

from git_lepton.cli.context import repository
from git_lepton.cli.verb import Verb
from git_lepton.drivers import merging
from git_lepton.drivers.hooks import to_stderr

_FILE = click.Path(path_type=Path)


@click.command("merge-driver", cls=Verb, hidden=True, context_settings={"ignore_unknown_options": True})
@click.argument("base", type=_FILE)
@click.argument("ours", type=_FILE)
@click.argument("theirs", type=_FILE)
@click.argument("marker_size", type=int)
@click.argument("path", type=click.UNPROCESSED)
def command(base: Path, ours: Path, theirs: Path, marker_size: int, path: str) -> int:
    """Merge three manifests, the arguments of git's %O %A %B %L %P; the result is in the second file."""
    return merging.run(repository(), base, ours, theirs, marker_size, path, to_stderr)
