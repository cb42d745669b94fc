"""`git lepton demo`: the whole story with a small real model, in a folder of its own.

Every line that begins with `$` is a command that really runs, with the git on PATH, a bare repository as the remote
and a second clone. All claims are checked; the status is 0 only when all hold.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from git_lepton.cli.context import say
from git_lepton.cli.verb import Verb
from git_lepton.demo import gating, merging, releasing, storing
from git_lepton.demo.stage import Stage
from git_lepton.errors import EXIT_DIFFERS, EXIT_OK, UsageError
from git_lepton.git.repo import require_git


@click.command(
    "demo",
    cls=Verb,
    exits=(EXIT_DIFFERS,),
    examples=(
        ("git lepton demo", "Play the story in a temporary folder, and leave nothing behind."),
        ("git lepton demo --keep /tmp/demo", "Keep the repositories, to look around in them."),
    ),
)
@click.option(
    "--keep",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Play in this new folder and keep it.",
)
def command(keep: Path | None) -> int:
    """Play the whole story with a small real model.

    Trains a classifier of handwritten digits, commits and pushes it to a bare repository, fine-tunes it, shows what
    changed, clones, and goes back to the first version. Then a gate lets a good model in and refuses a broken one; two
    branches merge; and a tag deploys a model that an agent takes back by itself when it fails. Every claim is checked.
    It takes a minute. Your own repositories and settings are not touched.
    """
    return run(keep=keep)


def run(*, keep: Path | None) -> int:
    """Play the demo in `keep`, a folder that must not exist yet, or in a temporary one.

    Returns:
        0 when every claim of the story held, else 1.

    Raises:
        UsageError: `keep` is there already, or git is too old.
        CommandError: a command of the story failed.
    """
    require_git()
    with _folder(keep) as root:
        stage = Stage(root, say)
        stage.prepare()
        team = storing.play(stage)
        gating.play(stage, team)
        merging.play(stage, team)
        releasing.play(stage, team)
        say("\nEvery claim held." if stage.holds else "\nNOT every claim held: see the lines that say NO.")
        if keep is not None:
            say(f"\nEverything is in {keep}. To play on, in a shell of its own:\n   $ . {keep}/environment")
    return EXIT_OK if stage.holds else EXIT_DIFFERS


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="git-lepton-demo-") as name:
            yield Path(name).resolve()
        return
    try:
        keep.mkdir(parents=True)
    except FileExistsError as error:
        raise UsageError(f"{keep} is there already", hint="name a folder that does not exist yet") from error
    yield keep.resolve()
