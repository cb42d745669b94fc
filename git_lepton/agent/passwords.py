"""Who may ask the agent's web server: a file of `name:hash` lines, and how such a line is made.

    alice:scrypt:16384:8:1:<salt, hex>:<key, hex>

The hash is scrypt (RFC 7914), which is slow on purpose, so a password that was right is remembered for as long as its
line stays as it is: as a keyed hash under a key that nobody else has, gone with the process.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import threading
from pathlib import Path
from typing import Final

from git_lepton.errors import UsageError

_COST, _BLOCK, _LANES = 1 << 14, 8, 1
_MAX_COST: Final = 1 << 17
_MEMORY: Final = 256 << 20
_MAX_FILE: Final = 1 << 20
_NAME: Final = re.compile(r"[^\s:]{1,100}")
_LINE: Final = re.compile(r"([^\s:]{1,100}):scrypt:(\d{1,6}):(\d{1,2}):(\d{1,2}):([0-9a-f]{16,128}):([0-9a-f]{64})")


def make_line(name: str, password: str) -> str:
    """A line for the file. Raises UsageError for a name that no line can have."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a user: no spaces, no colon, at most 100 characters")
    salt = secrets.token_bytes(16)
    key = _derive(password, salt, _COST, _BLOCK, _LANES)
    return f"{name}:scrypt:{_COST}:{_BLOCK}:{_LANES}:{salt.hex()}:{key.hex()}"


class Users:
    """The users of one file, which is read again at every question: it may change while the agent runs."""

    def __init__(self, path: Path) -> None:
        """Read the file once, to find mistakes early. Raises UsageError."""
        self._path = path
        self._secret = secrets.token_bytes(32)
        self._known: dict[str, bytes] = {}
        self._one_at_a_time = threading.Lock()
        self._nobody = make_line("nobody", "")
        self._lines()

    def allow(self, authorization: str | None) -> bool:
        """Whether the value of an `Authorization` header is that of a user. From any thread; raises nothing."""
        found = _credentials(authorization)
        if found is None:
            return False
        name, password = found
        try:
            line = self._lines().get(name)
        except UsageError:
            return False
        # Whoever is unknown costs as much as whoever is wrong, so that names cannot be found out.
        return self._matches(line or self._nobody, password) and line is not None

    def _matches(self, line: str, password: str) -> bool:
        token = hmac.digest(self._secret, f"{line}\0{password}".encode(), "sha256")
        if hmac.compare_digest(self._known.get(line, b""), token):
            return True
        match = _LINE.fullmatch(line)
        assert match
        cost, block, lanes = (int(match[i]) for i in (2, 3, 4))
        with self._one_at_a_time:
            key = _derive(password, bytes.fromhex(match[5]), cost, block, lanes)
        if not hmac.compare_digest(key, bytes.fromhex(match[6])):
            return False
        self._known = {line: token} if len(self._known) > 100 else {**self._known, line: token}
        return True

    def _lines(self) -> dict[str, str]:
        """Name -> line."""
        try:
            with self._path.open(encoding="utf-8", errors="replace") as stream:
                text = stream.read(_MAX_FILE)
        except OSError as error:
            raise UsageError(f"{self._path}: {error.strerror}") from error
        found: dict[str, str] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                match = _LINE.fullmatch(line.strip())
                if match is None or not _is_fair(int(match[2]), int(match[3]), int(match[4])):
                    raise UsageError(
                        f"{self._path}:{number}: not a line of a name and a hash", hint="git lepton agent password NAME"
                    )
                found[match[1]] = match[0]
        return found


def _is_fair(cost: int, block: int, lanes: int) -> bool:
    """Whether scrypt takes these numbers, and a question does not cost too much."""
    return 1 < cost <= _MAX_COST and cost & (cost - 1) == 0 and 1 <= block <= 8 and 1 <= lanes <= 4


def _derive(password: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=block, p=lanes, maxmem=_MEMORY, dklen=32)


def _credentials(authorization: str | None) -> tuple[str, str] | None:
    """Name and password of RFC 7617, or None."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if colon else None
