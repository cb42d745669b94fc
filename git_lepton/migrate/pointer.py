r"""git-lfs pointers: the text that git-lfs tracks instead of a file (git-lfs, docs/spec.md, "The Pointer").

    version https://git-lfs.github.com/spec/v1\n
    oid sha256:<64 hex>\n
    size <bytes>\n

`parse` takes the canonical spelling only, since anything else is a file that merely resembles a pointer: keys in this
order, single spaces, "\n" at every end, nothing after. The two older version lines that git-lfs still reads are taken.
Pointers with `ext-` lines describe content that a program transformed on its way in, which only that program undoes:
they are no pointers here, and stay as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MIN_BYTES: Final = 100
MAX_BYTES: Final = 1024
"""git-lfs takes nothing as long as this for a pointer."""

_VERSION: Final = b"https://git-lfs.github.com/spec/v1"
_POINTER: Final = re.compile(
    rb"version (?:https://git-lfs\.github\.com/spec/v1|http://git-media\.io/v/2|https://hawser\.github\.com/spec/v1)\n"
    rb"oid sha256:([0-9a-f]{64})\n"
    rb"size (0|[1-9][0-9]{0,18})\n"
)


@dataclass(frozen=True, slots=True)
class Pointer:
    """What a pointer says: `sha256` of the content as 64 hexadecimal digits, and its bytes."""

    sha256: str
    size: int

    def to_bytes(self) -> bytes:
        """The canonical text."""
        return b"version %b\noid sha256:%b\nsize %d\n" % (_VERSION, self.sha256.encode("ascii"), self.size)


def parse(data: bytes) -> Pointer | None:
    """The pointer that `data` is, or None."""
    if not MIN_BYTES <= len(data) < MAX_BYTES:
        return None
    match = _POINTER.fullmatch(data)
    return None if match is None else Pointer(match[1].decode("ascii"), int(match[2]))
