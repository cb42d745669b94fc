"""`[store]` of lepton.toml alone, for whoever moves weights: the filter asks at every checkout, and must not wait.

Everything else in the file is for others to check; this reads one table and imports next to nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from git_lepton.errors import UsageError

FILE_NAME: Final = "lepton.toml"
MAX_BYTES: Final = 1 << 20

# ssh may also be spelled as git's short form, [user@]host:path. A password has no place in a committed file.
_URL: Final = re.compile(
    r"ssh://[^\s/:@-][^\s]*|https://[^\s/@]+(?:/[^\s]*)?|file:///[^\s]*|(?:[\w.-]+@)?[A-Za-z0-9][\w.-]+:(?!:|//)[^\s-][^\s]*"
)
_PASSWORD: Final = re.compile(r"[a-z]+://[^/@]*:[^/@]*@")


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """`[store]`: where the weights live when they are not in the remote that holds the code.

    Attributes:
        url: an ssh, https or file address, or None: weights travel with the code.
    """

    url: str | None = None


def url_problem(value: object) -> str | None:
    """Why git may not be given this address, or None; a password in it is not repeated."""
    if not isinstance(value, str):
        return "must be a string"
    if _PASSWORD.match(value):
        return "holds a password, which everyone can read"
    if not _URL.fullmatch(value) or not value.isprintable():
        return f"must be an ssh, https or file address: {value[:200]!r}"
    return None


def store_settings(data: bytes, *, name: str = FILE_NAME) -> StoreSettings:
    """Read `[store]` of a lepton.toml.

    Raises:
        UsageError: the file is no TOML, or its table is not valid.
    """
    if b"store" not in data:
        return StoreSettings()
    import tomllib

    if len(data) > MAX_BYTES:
        raise UsageError(f"{name}: {len(data)} bytes are more than {MAX_BYTES}")
    try:
        table = tomllib.loads(data.decode("utf-8")).get("store", {})
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name}: not valid TOML: {error}", hint="git lepton doctor") from error
    if not isinstance(table, dict) or table.keys() - {"url"}:
        raise UsageError(f"{name}: [store] is not valid", hint="known in [store]: url")
    problem = None if table.get("url") is None else url_problem(table["url"])
    if problem is not None:
        raise UsageError(f"{name}: store.url {problem}")
    return StoreSettings(table.get("url"))
