"""`git lepton export`: a weight file of any revision, or some of its tensors, to anywhere."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import click

from git_lepton.api import Model, Repository
from git_lepton.cli.context import note, progress, repository
from git_lepton.cli.verb import Verb, quiet_option
from git_lepton.errors import EXIT_MISSING, EXIT_OK, EXIT_REFUSED, UsageError
from git_lepton.git.repo import Repo
from git_lepton.report.table import safe
from git_lepton.report.units import counted, size


@click.command(
    "export",
    cls=Verb,
    exits=(EXIT_REFUSED, EXIT_MISSING),
    examples=(
        ("git lepton export v1.0 model.safetensors -o /srv/model.safetensors", "One file of a tag, byte for byte."),
        (
            "git lepton export HEAD~3 model.onnx -o head.safetensors -t 'head.*' -t '*.bias'",
            "Only some tensors, as a safetensors file; only their chunks are fetched.",
        ),
    ),
)
@click.argument("rev")
@click.argument("path")
@click.option(
    "-o", "--output", required=True, metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write here."
)
@click.option(
    "-t", "--tensor", "tensors", metavar="GLOB", multiple=True, help="Only tensors whose names match; may be repeated."
)
@quiet_option
def command(rev: str, path: str, output: Path, tensors: tuple[str, ...], quiet: bool) -> int:
    """Write the weight file PATH of REV to a file, without touching the work tree or the index.

    PATH counts from the top of the work tree. The file appears whole, verified, or not at all.
    """
    return run(repository(), rev=rev, path=path, output=output, tensors=tensors, quiet=quiet)


def run(repo: Repo, *, rev: str, path: str, output: Path, tensors: tuple[str, ...], quiet: bool) -> int:
    """Write one weight file, or those of its tensors that match one of `tensors`.

    Raises:
        UsageError: no such revision or file, or no tensor matches.
        MissingError: weights are not here and cannot be fetched.
    """
    if not output.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {output.parent}", hint="make it first")
    with Repository(repo, progress=progress(quiet)) as opened:
        model = opened.model(path, rev)
        names = matching(model, tensors) if tensors else None
        model.save(output, names)
    what = safe(path) if names is None else f"{counted(len(names), 'tensor')} of {safe(path)}"
    note(f"{what}: {size(output.stat().st_size)} written to {output}")
    return EXIT_OK


def matching(model: Model, globs: tuple[str, ...]) -> list[str]:
    """The tensors whose names match one of `globs`, in file order.

    Raises:
        UsageError: one of the globs matches nothing.
    """
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in model):
            raise UsageError(
                f"no tensor of {model.path} matches {glob!r}", hint="git lepton ls-files --tensors lists their names"
            )
    return [name for name in model if any(fnmatchcase(name, glob) for glob in globs)]
