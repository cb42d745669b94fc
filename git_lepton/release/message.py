"""The text of a channel's tag: what is to run, as a person wrote it and an agent reads it (docs/releases.md, "Move").

    digits prod: promote 1.4.0

    Better on small digits; A/B in staging since Monday.

    Lepton-Format: 1
    Lepton-Model: digits
    …

First the subject, then why, then one block of keys, each once, all with the prefix `Lepton-`, in a fixed order. A
signature follows the whole message, so that git's own trailer parser finds nothing; this reader takes the last
paragraph, and refuses what is unknown, missing, repeated or malformed: an agent acts on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, cast, get_args

from git_lepton.errors import UsageError, VerificationError
from git_lepton.release.names import Version, check_name
from git_lepton.values import Hash, Oid

FORMAT: Final = 1
MAX_BYTES: Final = 64 << 10
MAX_SEQ: Final = (1 << 53) - 1
"""The largest number that every JSON reader keeps exact."""

Action = Literal["promote", "rollback", "pin", "halt"]

PREFIX: Final = "Lepton-"
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_OID: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_RING: Final = re.compile(r"(?:100|[1-9]?[0-9])%")
_STAMP: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_VARIANT: Final = re.compile(r"[a-z0-9][a-z0-9.:+_-]{0,63}")
_LINE: Final = re.compile(r"Lepton-([A-Z][A-Za-z]*): (\S(?:.*\S)?)")


@dataclass(frozen=True, slots=True)
class Move:
    """One move of a channel.

    Attributes:
        model, channel: which.
        seq: 1 for the first move, then one more each time; the order of moves, whatever clocks say.
        action: promote and pin name a version that is new to the channel or fixed there, rollback an older one, halt
            asks agents to keep what they have.
        version: what is to run; None for a halt before the first promotion.
        commit: the commit that holds it.
        bundle: BLAKE3 of the bundle text of the variant that is to run.
        record: BLAKE3 of the record, or None where the model has none.
        prev: the tag object of the move before, or None for the first.
        variant: recipe, or "" for the original.
        ring: share of agents that follow, 1 to 100.
        by: who asked for it, as configured in git; who signed is what an agent trusts.
        expires: "2026-12-31T00:00:00Z", after which agents no longer follow this move, or None.
        why: free text of any lines.
    """

    model: str
    channel: str
    seq: int
    action: Action
    version: Version | None
    commit: Oid
    bundle: Hash
    record: Hash | None = None
    prev: Oid | None = None
    variant: str = ""
    ring: int = 100
    by: str = ""
    expires: str | None = None
    why: str = ""

    @property
    def subject(self) -> str:
        """The first line of the tag."""
        what = f" {self.version}" if self.version else ""
        ring = f" for {self.ring}% of agents" if self.ring < 100 else ""
        return f"{self.model} {self.channel}: {self.action}{what}{ring}"


_FIELDS: Final[dict[str, Callable[[Move], str]]] = {
    "Format": lambda _: str(FORMAT),
    "Model": lambda m: m.model,
    "Channel": lambda m: m.channel,
    "Seq": lambda m: str(m.seq),
    "Prev": lambda m: m.prev or "none",
    "Action": lambda m: m.action,
    "Version": lambda m: str(m.version) if m.version else "none",
    "Commit": lambda m: m.commit,
    "Bundle": lambda m: m.bundle,
    "Record": lambda m: m.record or "none",
    "Variant": lambda m: m.variant or "original",
    "Ring": lambda m: f"{m.ring}%",
    "By": lambda m: m.by or "unknown",
    "Expires": lambda m: m.expires or "never",
}


def render(move: Move) -> str:
    """The message of the tag.

    Raises:
        UsageError: a field that the reader would not take back, such as a reason that looks like the block of keys.
    """
    why = tidy(move.why)
    text = write_block({key: write(move) for key, write in _FIELDS.items()}, move.subject, why)
    try:
        if parse(text) != _normal(move, why):
            raise UsageError("this move cannot be written as a tag")
    except VerificationError as error:
        raise UsageError(f"this move cannot be written as a tag: {error.message}") from error
    return text


def _normal(move: Move, why: str) -> Move:
    return Move(
        *(move.model, move.channel, move.seq, move.action, move.version, move.commit, move.bundle, move.record),
        *(move.prev, move.variant, move.ring, move.by or "unknown", move.expires, why),
    )


def parse(text: str) -> Move:
    """Read the message of a tag, its signature already cut off.

    Raises:
        VerificationError: it is not exactly what `render` writes (the subject's own words aside).
    """
    return _read(*read_block(text, _FIELDS))


def read_block(text: str, keys: Collection[str]) -> tuple[dict[str, str], str]:
    """The values of the block of keys that a message ends with, and what stands between subject and block.

    Raises:
        VerificationError: a key is unknown, missing, repeated or malformed, or there is another block.
    """
    if len(text.encode("utf-8", "surrogateescape")) > MAX_BYTES:
        raise VerificationError(f"the message of the tag has more than {MAX_BYTES} bytes", reason="malformed")
    head, _, block = text.rstrip("\n").rpartition("\n\n")
    values: dict[str, str] = {}
    for line in block.split("\n"):
        found = _LINE.fullmatch(line)
        if found is None or found[1] not in keys or found[1] in values or not line.isprintable():
            raise VerificationError(f"not a line of a release's tag: {line[:80]!r}", reason="malformed")
        values[found[1]] = found[2]
    missing = set(keys) - values.keys()
    if missing:
        raise VerificationError(f"the tag lacks {PREFIX}{min(missing)}", reason="malformed")
    subject, _, why = head.partition("\n\n")
    if any(line.startswith(PREFIX) for line in head.splitlines()) or "\n" in subject:
        raise VerificationError("the tag has more than one block of keys", reason="malformed")
    if values["Format"] != str(FORMAT):
        raise VerificationError(
            f"the tag has format {values['Format']}, this git-lepton knows {FORMAT}", reason="malformed"
        )
    return values, why


def write_block(values: Mapping[str, str], subject: str, why: str) -> str:
    """A message of a subject, a reason and a block of keys, as `read_block` takes it back.

    Raises:
        UsageError: the reason looks like a block of keys or a signature.
    """
    if any(line.startswith((PREFIX, "-----BEGIN ")) for line in why.splitlines()):
        raise UsageError(f"a reason cannot have a line that begins with {PREFIX!r} or a signature")
    block = "\n".join(f"{PREFIX}{key}: {value}" for key, value in values.items())
    return "\n\n".join(part for part in (subject, why, block) if part) + "\n"


def tidy(why: str) -> str:
    """A reason without space at its ends and at the ends of its lines."""
    return "\n".join(line.rstrip() for line in why.strip().splitlines())


def _read(values: dict[str, str], why: str) -> Move:
    seq = values["Seq"]
    if not re.fullmatch(r"[1-9][0-9]{0,15}", seq) or int(seq) > MAX_SEQ:
        raise _malformed("Seq", seq)
    if values["Action"] not in get_args(Action):
        raise _malformed("Action", values["Action"])
    try:
        version = None if values["Version"] == "none" else Version.parse(values["Version"])
        model, channel = check_name(values["Model"], "model"), check_name(values["Channel"], "channel")
    except UsageError as error:
        raise VerificationError(error.message, reason="malformed") from error
    if version is None and values["Action"] != "halt":
        raise _malformed("Version", "none")
    ring = _checked("Ring", values, _RING)
    variant = _checked("Variant", values, _VARIANT)
    expires = None if values["Expires"] == "never" else _checked("Expires", values, _STAMP)
    record = None if values["Record"] == "none" else Hash(_checked("Record", values, _HASH))
    prev = None if values["Prev"] == "none" else Oid(_checked("Prev", values, _OID))
    if expires is not None and not _is_date(expires):
        raise _malformed("Expires", expires)
    if int(ring[:-1]) == 0:
        raise _malformed("Ring", ring)
    return Move(
        model,
        channel,
        int(seq),
        cast("Action", values["Action"]),
        version,
        Oid(_checked("Commit", values, _OID)),
        Hash(_checked("Bundle", values, _HASH)),
        record,
        prev,
        "" if variant == "original" else variant,
        int(ring[:-1]),
        values["By"],
        expires,
        why,
    )


def _is_date(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return False
    return True


def _checked(key: str, values: dict[str, str], form: re.Pattern[str]) -> str:
    if not form.fullmatch(values[key]):
        raise _malformed(key, values[key])
    return values[key]


def _malformed(key: str, value: str) -> VerificationError:
    return VerificationError(f"{PREFIX}{key} of the tag is malformed: {value[:80]!r}", reason="malformed")
