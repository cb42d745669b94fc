"""`git lepton hook NAME`: what the hook files run once they know that weights are concerned; nobody types it.

The shell scripts decide whether Python starts at all. Every status but 0 becomes 1 on the way out (see `boundary`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Final

import click

from git_lepton.cli.context import repository
from git_lepton.cli.verb import Verb
from git_lepton.drivers import hooks
from git_lepton.drivers.hooks import to_stderr
from git_lepton.errors import UsageError
from git_lepton.git.repo import Repo


def _pre_push(repo: Repo, arguments: Sequence[str]) -> int:
    if not arguments:
        raise UsageError("the pre-push hook gets the name of the remote from git")
    return hooks.pre_push(repo, to_stderr, arguments[0], sys.stdin.buffer.read())


HOOKS: Final[dict[str, Callable[[Repo, Sequence[str]], int]]] = {
    "pre-commit": lambda repo, _: hooks.pre_commit(repo, to_stderr),
    "pre-merge-commit": lambda repo, _: hooks.pre_commit(repo, to_stderr),
    "post-commit": lambda repo, _: hooks.post_commit(repo, to_stderr),
    "post-merge": lambda repo, arguments: hooks.post_merge(repo, to_stderr, arguments),
    "post-checkout": lambda repo, arguments: hooks.post_checkout(repo, to_stderr, arguments),
    "pre-push": _pre_push,
}


@click.command("hook", cls=Verb, hidden=True, context_settings={"ignore_unknown_options": True})
@click.argument("name", type=click.Choice(list(HOOKS)))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(name: str, arguments: tuple[str, ...]) -> int:
    """Run a hook as git does, with its arguments and standard input."""
    return run(repository(), name=name, arguments=arguments)


def run(repo: Repo, *, name: str, arguments: Sequence[str]) -> int:
    """Run the hook `name`, a key of `HOOKS`."""
    return HOOKS[name](repo, arguments)
