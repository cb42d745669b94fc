"""`lepton.toml`, the committed settings of a repository: text in, values out (docs/lepton-toml.md).

Every key is checked, and one that nobody knows is an error: a rule with a slip of the pen must not pass for no rule.
Nothing here touches a file: the text may come from a work tree, the index or a commit. The text may be hostile: its
size and the parts of a key are capped before the standard library's reader, which takes the square of the latter as
time, sees it.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

from git_lepton.config import checks, lines
from git_lepton.config.kinds import Place, Table
from git_lepton.config.store import FILE_NAME, MAX_BYTES
from git_lepton.config.tables import TOP
from git_lepton.config.values import Config
from git_lepton.errors import UsageError

MAX_KEY_PARTS: Final = 64

_WHERE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def parse(data: bytes, *, name: str = FILE_NAME) -> Config:
    """Read the settings.

    Args:
        data: content of the file; empty for none.
        name: how to call it in messages.

    Raises:
        UsageError: naming file, line and key, with a suggestion where there is one.
    """
    if not data:
        return Config()
    config: Config
    config, place = read_table(data, TOP, name=name)
    checks.check(config, place)
    return config


def read_table(data: bytes, table: Table, *, name: str) -> tuple[Any, Place]:
    """Read any document of ours by its table of keys; also its place, for checks of what no single key can tell.

    Raises:
        UsageError: as `parse`.
    """
    if len(data) > MAX_BYTES:
        raise UsageError(f"{name}: {len(data)} bytes are more than {MAX_BYTES}")
    try:
        text = data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{name}:{line}: not UTF-8 at byte {error.start}") from error
    place = Place(name, text)
    return table.read(_values(text, name), place), place


def _values(text: str, name: str) -> dict[str, Any]:
    """The text as TOML has it. Raises UsageError."""
    if any(line.count(".") >= MAX_KEY_PARTS for line in text.split("\n")):
        parts, where = lines.longest_key(text)
        if parts > MAX_KEY_PARTS:
            raise UsageError(f"{name}:{where}: a key of {parts} parts is longer than {MAX_KEY_PARTS}")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise UsageError(f"{name}: nested too deeply") from error
    except ValueError as error:  # TOMLDecodeError is one; a number of thousands of digits is refused by `int`
        reason = str(error)
        found = _WHERE.search(reason)
        if found is None:
            raise UsageError(f"{name}: not valid TOML: {reason.partition(':')[0]}") from error
        line = found[1] or str(text.count("\n") + 1)
        column = f" at column {found[2]}" if found[2] else " at the end of the file"
        raise UsageError(f"{name}:{line}: not valid TOML: {reason[: found.start()]}{column}") from error
