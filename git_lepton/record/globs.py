"""The globs of lepton.toml that say which files belong to a model, or made it.

`*` and `?` stay within one folder, `**` as a whole part of a pattern means any folders; a pattern without a slash
matches directly below the root.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from git_lepton.errors import UsageError


def matcher(globs: Iterable[str]) -> Callable[[str], bool]:
    """A test of paths against globs, see the module's text.

    Raises:
        UsageError: one of them is none.
    """
    wanted = list(globs)
    try:
        pattern = re.compile("|".join(f"(?:{_translate(glob)})" for glob in wanted) or r"(?!)")
    except re.error as error:
        raise UsageError(f"not a glob: {' '.join(wanted)!r}: {error}") from error
    return lambda path: pattern.fullmatch(path) is not None


def _translate(glob: str) -> str:
    """One glob as a regular expression. `**` as a whole part spans folders; at the end it means everything below."""
    parts = glob.removeprefix("./").split("/")
    text = ""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            text += ".+" if last else "(?:[^/]+/)*"
        else:
            text += _translate_part(part) + ("" if last else "/")
    return text


def _translate_part(part: str) -> str:
    text, at = "", 0
    while at < len(part):
        char = part[at]
        at += 1
        if char == "*":
            text += "" if text.endswith("[^/]*") else "[^/]*"
        elif char == "?":
            text += "[^/]"
        elif char == "[" and (close := part.find("]", at + 1 + (part[at : at + 1] == "!"))) > 0:
            body = re.sub(r"([\\\[\]^&~|])", r"\\\1", part[at:close].removeprefix("!")).replace("--", r"-\-")
            text += f"[{'^/' if part[at] == '!' else ''}{body}]"
            at = close + 1
        else:
            text += re.escape(char)
    return text
