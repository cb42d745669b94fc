"""Types of options that several verbs share, and the question before something is changed."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final

import click

from git_lepton.errors import UsageError

_SIZE: Final = re.compile(r"([0-9]{1,15})\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


# Subscripting the class at run time needs a click newer than the oldest one supported.
if TYPE_CHECKING:
    _IntType = click.ParamType[int]
else:
    _IntType = click.ParamType


class SizeType(_IntType):
    """A number of bytes, with git's suffixes: 500, 100k, 10m, 2g (powers of 1024; a following b or ib is allowed)."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the text."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a size such as 500k, 10m or 2g", param, ctx)
        return int(match[1]) * _UNITS[match[2].lower()]


dry_run_option = click.option("-n", "--dry-run", is_flag=True, help="Only print the plan.")
yes_option = click.option("-y", "--yes", is_flag=True, help="Carry the plan out without asking.")


def agreed(question: str, *, yes: bool, dry_run: bool) -> bool:
    """Whether the plan that was printed shall be carried out: by option, or by the answer of the person.

    Raises:
        UsageError: neither option was given, and there is nobody to ask.
    """
    if dry_run:
        return False
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("nothing was changed: there is nobody to ask", hint="--yes carries the plan out")
    return click.confirm(question, err=True)
