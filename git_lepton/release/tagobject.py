"""The bytes of an annotated tag (gitformat-signature(5)): headers, message, signature.

git prints and checks tags by their names, and a name is not what is signed: who puts an old tag under another ref gets
past `git verify-tag`. So the object itself is read here, and its inner name compared with the ref by whoever uses it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from git_lepton.errors import VerificationError
from git_lepton.values import Oid

MAX_TAG: Final = 1 << 20
"""Bytes of a tag that is read; whoever may push may make one of any size."""

_HEAD: Final = re.compile(
    rb"object ([0-9a-f]{40}(?:[0-9a-f]{24})?)\ntype (commit|tag|tree|blob)\ntag ([^\n\0]+)\ntagger ([^\n\0]*)\n"
)
_TAGGER: Final = re.compile(r"(.*) <([^<>]*)> (-?[0-9]{1,12}) ([+-][0-9]{4})")
_SIGNATURES: Final = tuple(
    b"-----BEGIN " + kind + b"-----" for kind in (b"SSH SIGNATURE", b"PGP SIGNATURE", b"PGP MESSAGE", b"SIGNED MESSAGE")
)


@dataclass(frozen=True, slots=True)
class TagObject:
    """One annotated tag.

    Attributes:
        target, target_type: what it points to.
        name: the name inside, without `refs/tags/`; the one that was signed.
        tagger: name and address; free text, whoever signed.
        time: seconds since 1970 as the tagger's clock had it; free as well.
        message: without the signature.
        signed: whether a signature follows; whether it is good is git's to say.
    """

    target: Oid
    target_type: str
    name: str
    tagger: str
    time: int
    message: str
    signed: bool


def parse_tag(content: bytes) -> TagObject:
    """Read the content of a tag object.

    Raises:
        VerificationError: it is no tag that git writes today; headers that we do not know are refused too.
    """
    found = _HEAD.match(content)
    if found is None or content[found.end() : found.end() + 1] != b"\n":
        raise VerificationError("not an annotated tag: it lacks headers that git writes", reason="malformed")
    tagger = _TAGGER.fullmatch(found[4].decode("utf-8", "surrogateescape"))
    if tagger is None:
        raise VerificationError("not an annotated tag: the tagger line is malformed", reason="malformed")
    body = content[found.end() + 1 :]
    # As git does: the signature begins at the last line that begins like one.
    starts = [m.start() for mark in _SIGNATURES for m in re.finditer(rb"^" + re.escape(mark), body, re.MULTILINE)]
    end = max(starts, default=len(body))
    return TagObject(
        Oid(found[1].decode("ascii")),
        found[2].decode("ascii"),
        found[3].decode("utf-8", "surrogateescape"),
        f"{tagger[1]} <{tagger[2]}>",
        int(tagger[3]),
        body[:end].decode("utf-8", "surrogateescape"),
        bool(starts),
    )
