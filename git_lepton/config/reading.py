"""`lepton.toml`, the committed settings of a repository: text in, values out (docs/cli.md, "lepton.toml").

Only the tables that this version knows are read and every key in them is checked; other top-level tables belong to
other features and are passed over. Nothing here touches a file: the text may come from a work tree or a commit.
"""

from __future__ import annotations

import re
import tomllib
from typing import Final

from git_lepton.config.values import Config, StoreSettings
from git_lepton.errors import UsageError

FILE_NAME: Final = "lepton.toml"
MAX_BYTES: Final = 1 << 20

_STORE_KEYS: Final = frozenset({"url"})
# ssh may also be spelled as git's short form, [user@]host:path. A password has no place in a committed file.
_STORE_URL: Final = re.compile(
    r"ssh://[^\s/:@-][^\s]*|https://[^\s/@]+(?:/[^\s]*)?|file:///[^\s]*|(?:[\w.-]+@)?[A-Za-z0-9][\w.-]+:(?!:|//)[^\s-][^\s]*"
)
_PASSWORD: Final = re.compile(r"[a-z]+://[^/@]*:[^/@]*@")


def parse(data: bytes, *, name: str = FILE_NAME) -> Config:
    """Read the settings.

    Args:
        data: content of the file; empty for none.
        name: how to call it in messages.

    Raises:
        UsageError: naming file, line (where TOML gives one) and key.
    """
    if len(data) > MAX_BYTES:
        raise UsageError(f"{name}: {len(data)} bytes are more than {MAX_BYTES}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{name}:{line}: not UTF-8 at byte {error.start}") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{name}: nested too deeply") from error
    store = values.get("store", {})
    if not isinstance(store, dict):
        raise UsageError(f"{name}:{_line(text, 'store')}: store must be a table: write [store]")
    for key in store:
        if key not in _STORE_KEYS:
            raise UsageError(f"{name}:{_line(text, key)}: unknown key store.{key}", hint="known in [store]: url")
    return Config(StoreSettings(_store_url(store.get("url"), name, text)))


def _store_url(value: object, name: str, text: str) -> str | None:
    if value is None:
        return None
    where = f"{name}:{_line(text, 'url')}: store.url"
    if not isinstance(value, str):
        raise UsageError(f"{where} must be a string")
    if _PASSWORD.match(value):
        raise UsageError(f"{where} holds a password, which everyone can read", hint="use a git credential helper")
    if not _STORE_URL.fullmatch(value) or not value.isprintable():
        raise UsageError(f"{where} must be an ssh, https or file address: {value!r}")
    return value


def _line(text: str, key: str) -> int:
    """The line that sets `key` in [store]: a help for the reader, exact for any usual spelling."""
    head = re.search(r"^[ \t]*\[[ \t]*[\"']?store[\"']?[ \t]*\]", text, re.MULTILINE)
    found = re.compile(rf"[\"']?\b{re.escape(key)}\b[\"']?[ \t]*[=.]", re.MULTILINE).search(
        text, head.end() if head else 0
    )
    at = found or head
    return text.count("\n", 0, at.start()) + 1 if at else 1
