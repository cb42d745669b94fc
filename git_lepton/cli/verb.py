"""What every verb has in common: help with examples and exit codes, `--json`, the repository, a progress bar."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any, Final

import click

from git_lepton import errors

Command = Callable[..., int]
Option = Callable[[Command], Command]

EXITS: Final[dict[int, str]] = {
    errors.EXIT_OK: "success",
    errors.EXIT_DIFFERS: "the answer is no, or something failed that is listed",
    errors.EXIT_USAGE: "wrong usage, or not a git repository",
    errors.EXIT_INCONCLUSIVE: "undecided: too few examples to tell, where lepton.toml wants it decided",
    errors.EXIT_RACE_LOST: "another process or person was faster: run it again",
    errors.EXIT_REFUSED: "verification refused: bytes are corrupt, or a file is not what it claims",
    errors.EXIT_NOT_MEASURED: "it could not be measured, or a file changed while it was read",
    errors.EXIT_MISSING: "weights are missing, or a remote cannot be reached",
    errors.EXIT_INTERNAL: "git failed, or git-lepton has a bug (a report file is named)",
    errors.EXIT_INTERRUPTED: "interrupted",
}
"""What an exit status means; every command's help lists those that it can return."""


class Verb(click.Command):
    """A click command whose help ends with examples and exit codes.

    Attributes:
        examples: pairs of a command line and what it does.
        exits: statuses besides 0, 2, 70 and 130, which every verb can return.
    """

    def __init__(
        self,
        *args: Any,
        examples: tuple[tuple[str, str], ...] = (),
        exits: tuple[int, ...] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.exits = tuple(
            sorted({errors.EXIT_OK, errors.EXIT_USAGE, errors.EXIT_INTERNAL, errors.EXIT_INTERRUPTED, *exits})
        )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples and the exit codes."""
        if self.examples:
            with formatter.section("Examples"):
                for line, meaning in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
                    indent = " " * (formatter.current_indent + 4)
                    formatter.write(
                        textwrap.fill(meaning, formatter.width, initial_indent=indent, subsequent_indent=indent) + "\n"
                    )
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), EXITS[code]) for code in self.exits])


class PathVerb(Verb):
    """A verb that takes paths after `--`, as git's commands do; its function gets them as `paths`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Cut the paths off, then parse the rest."""
        from pathlib import Path

        paths: list[str] = []
        if "--" in args:
            at = args.index("--")
            args, paths = args[:at], args[at + 1 :]
        rest = super().parse_args(ctx, args)
        ctx.params["paths"] = tuple(map(Path, paths))
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Say so in the usage line."""
        return [*super().collect_usage_pieces(ctx), "[-- PATH...]"]


class VerbGroup(Verb, click.Group):
    """A verb with verbs of its own, such as `migrate info`."""

    command_class = Verb

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the commands."""
        click.Group.format_options(self, ctx, formatter)


def collect(into: type[Any], *options: Option) -> Option:
    """Options whose values a command gets as one, before its arguments.

    Args:
        into: a dataclass; it takes the values that its fields are named after, the others reach the command as usual.
        options: in the order of the help.
    """
    names = [field.name for field in fields(into)]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def collected(**given: Any) -> int:
            return command(into(**{name: given.pop(name) for name in names}), **given)

        decorated: Command = collected
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, with a schema version, instead of text."
)
offline_option = click.option(
    "--offline", is_flag=True, help="Ask nobody: what the remote said when it was last asked."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Show no progress bar.")
