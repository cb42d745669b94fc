"""`git lepton hook NAME`: what the hook files run once they know that weights are concerned; nobody types it.

The shell scripts decide whether Python starts at all. Every status but 0 becomes 1 on the way out (see `boundary`).
Before a commit of a model, `__main__` has started the children that build and evaluate: they load their libraries while
this process loads the rest of the program, by name, and reads git.
"""

from __future__ import annotations

import importlib
from typing import Final

import click

from git_lepton.cli.boundary import Session
from git_lepton.cli.verb import Verb
from git_lepton.drivers.children import Children
from git_lepton.git.repo import discover

MODULE: Final = "git_lepton.drivers.hooks"
HOOKS: Final = ("pre-commit", "pre-merge-commit", "post-commit", "post-merge", "post-checkout", "pre-push")


@click.command("hook", cls=Verb, hidden=True, context_settings={"ignore_unknown_options": True})
@click.argument("name", type=click.Choice(HOOKS))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(name: str, arguments: tuple[str, ...]) -> int:
    """Run a hook as git does, with its arguments and standard input."""
    session = click.get_current_context().ensure_object(Session)
    repo = discover()  # its version was looked at when the hooks were installed
    session.report_folder = repo.lepton_dir
    children = session.children or Children()
    return int(importlib.import_module(MODULE).run(repo, name, arguments, children))
