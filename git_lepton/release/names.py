"""Names of models, channels and versions, and the refs that they make (docs/releases.md, "Refs").

refs/tags/<model>@v<semver>         a version: annotated, never moved
refs/tags/<model>@<channel>         a channel: annotated, moves
refs/lepton/log/<model>@<channel>   every move of the channel, as a chain of commits
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from git_lepton.errors import UsageError

TAGS: Final = "refs/tags/"
LOGS: Final = "refs/lepton/log/"
LIKE_VERSION: Final = re.compile(r"v[0-9]")
"""How versions begin, and channels do not."""

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
# Semantic Versioning 2.0.0, section 2, 9 and 10; numbers are capped so that they fit any reader's integers.
_NUMBER: Final = r"(0|[1-9][0-9]{0,8})"
_PART: Final = r"(?:0|[1-9][0-9]{0,17}|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_SEMVER: Final = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_PART}(?:\.{_PART})*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?"
)
_MAX_VERSION: Final = 64


def check_name(name: str, what: str) -> str:
    """The name itself. `what` is "model" or "channel".

    Raises:
        UsageError: it is not of the grammar `[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?`, or git or a reader could take it
            for something else.
    """
    if not _NAME.fullmatch(name) or ".." in name or name.endswith(".lock"):
        raise UsageError(
            f"not a {what} name: {name!r}", hint="small letters, digits, '.', '_' and '-', at most 64, no '..'"
        )
    if what == "channel" and LIKE_VERSION.match(name):
        raise UsageError(f"a channel cannot be called {name!r}: it looks like a version")
    return name


@dataclass(frozen=True, slots=True)
class Version:
    """A semantic version. Ordered as section 11 of the specification says; build metadata count for nothing."""

    major: int
    minor: int
    patch: int
    pre: tuple[str, ...] = ()
    build: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `1.2.0` or `v1.2.0-rc.1`. Raises UsageError for anything else."""
        found = _SEMVER.fullmatch(text.removeprefix("v")) if len(text) <= _MAX_VERSION else None
        if found is None:
            raise UsageError(f"not a semantic version: {text!r}", hint="such as 1.4.0 or 2.0.0-rc.1")
        major, minor, patch, pre, build = found.groups()
        return cls(int(major), int(minor), int(patch), tuple(pre.split(".")) if pre else (), build or "")

    def __str__(self) -> str:
        pre = f"-{'.'.join(self.pre)}" if self.pre else ""
        return f"{self.major}.{self.minor}.{self.patch}{pre}" + (f"+{self.build}" if self.build else "")

    def __lt__(self, other: Self) -> bool:
        return self._key() < other._key()

    def bump(self, part: str) -> Version:
        """The next version: `part` is "major", "minor" or "patch". A pre-release becomes what it led to."""
        if self.pre and part == "patch":
            return Version(self.major, self.minor, self.patch)
        if part == "major":
            return Version(self.major + 1, 0, 0)
        if part == "minor":
            return Version(self.major, self.minor + 1, 0)
        if part == "patch":
            return Version(self.major, self.minor, self.patch + 1)
        raise UsageError(f"cannot bump {part!r}", hint="major, minor or patch")

    def _key(self) -> tuple[object, ...]:
        # A version without pre-release comes after those with one; numbers before words, a longer list after.
        parts = tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in self.pre)
        return (self.major, self.minor, self.patch, not self.pre, parts)


def version_ref(model: str, version: Version) -> str:
    """The tag of a version."""
    return f"{TAGS}{check_name(model, 'model')}@v{version}"


def channel_ref(model: str, channel: str) -> str:
    """The tag of a channel."""
    return f"{TAGS}{check_name(model, 'model')}@{check_name(channel, 'channel')}"


def log_ref(model: str, channel: str) -> str:
    """The log of a channel."""
    return f"{LOGS}{check_name(model, 'model')}@{check_name(channel, 'channel')}"


def split_spec(text: str) -> tuple[str, str]:
    """`digits@prod` or `digits@v1.2.0` into model and the rest; `digits` alone has an empty rest.

    Raises:
        UsageError: a malformed model, channel or version.
    """
    model, _, rest = text.partition("@")
    check_name(model, "model")
    if rest:
        if LIKE_VERSION.match(rest):
            Version.parse(rest)
        else:
            check_name(rest, "channel")
    elif text.endswith("@"):
        raise UsageError(f"{text!r} names no version and no channel")
    return model, rest
