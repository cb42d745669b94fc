"""What `git checkout` calls: a manifest in, the weight file out (docs/filter-and-hooks.md, "Smudge").

Smudge never fails over content. With `required=true` a failure makes git leave later files deleted and a clone exit
128, so whatever cannot be restored (weights missing, remote unreachable, damaged, a newer manifest, no manifest at
all) is answered with what came in, and one line on standard error names the command that heals it.

Three things decide how a manifest is answered:

* `GIT_LEPTON_SKIP_SMUDGE=1`: with itself, at once.
* `lepton.smudgeLimit` (git keeps a whole answer in memory): a larger file is answered with its manifest, and written
  to the work tree after git closed the pipe, while it waits for us to end.
* git can wait: all files of a checkout whose weights are not here are collected, these come in one transfer, then they
  are given out. What is here is answered at once: git crashes over a delay in `git checkout -m PATH`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from git_lepton.drivers.clean import read_manifest
from git_lepton.errors import LeptonError, ManifestError
from git_lepton.git.filterproto import Command
from git_lepton.git.repo import config_int
from git_lepton.store import manifest
from git_lepton.store.manifest import Manifest
from git_lepton.store.store import Store
from git_lepton.transfer.fetch import bring
from git_lepton.values import Hash

SKIP_VARIABLE: Final = "GIT_LEPTON_SKIP_SMUDGE"
LIMIT_KEY: Final = "lepton.smudgeLimit"
DEFAULT_LIMIT: Final = 512 << 20
_BLOCK: Final = 1 << 20
_NAMED: Final = 5
"""Files that are named one by one when their weights are missing; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The content to send: a restored file when there is one, else `text`."""

    text: bytes = b""
    file: BinaryIO | None = None

    def blocks(self) -> Iterator[bytes]:
        """The content in order; closes the file."""
        if self.file is None:
            if self.text:
                yield self.text
            return
        with self.file:
            while block := self.file.read(_BLOCK):
                yield block


@dataclass(frozen=True, slots=True)
class Delayed:
    """git shall ask for this path again."""


@dataclass(slots=True)
class Smudger:
    """Answers smudge commands of one repository.

    Attributes:
        late: files answered with their manifest because of their size, to be written when git has closed the pipe.
    """

    store: Store
    say: Callable[[str], None]
    late: dict[str, Manifest] = field(default_factory=dict)
    _waiting: dict[bytes, tuple[Manifest, bytes]] = field(default_factory=dict)
    _refused: dict[Hash, str] = field(default_factory=dict)
    _left: int = 0

    def smudge(self, command: Command, text: bytes) -> Answered | Delayed:
        """Answer one command whose input was `text`, no longer than a manifest may be."""
        waiting = self._waiting.pop(command.pathname, None)
        if waiting is not None:
            found, text = waiting
            return self._restore(command.pathname, found, text)
        if not manifest.looks_like(text):
            return Answered(text)
        try:
            found = read_manifest(text)
        except ManifestError as error:
            self._leave(command.pathname, error)
            return Answered(text)
        if os.environ.get(SKIP_VARIABLE, "0") not in {"", "0"}:
            return Answered(text)
        if found.size > config_int(self.store.repo, LIMIT_KEY, default=DEFAULT_LIMIT):
            self.late[os.fsdecode(command.pathname)] = found
            return Answered(text)
        if command.can_delay and not self.store.has(found.blake3):
            self._waiting[command.pathname] = (found, text)
            return Delayed()
        self._bring([found.blake3])
        return self._restore(command.pathname, found, text)

    def available(self) -> tuple[bytes, ...]:
        """Paths that can be asked for again: all that wait, once everything that can be fetched was."""
        self._bring([found.blake3 for found, _ in self._waiting.values()])
        return tuple(self._waiting)

    def summarise(self) -> None:
        """Say how many more files were left as manifests than were named."""
        if self._left > _NAMED:
            self.say(f"and {self._left - _NAMED} more files were left as manifests")

    def _bring(self, wanted: Iterable[Hash]) -> None:
        missing = [h for h in dict.fromkeys(wanted) if h not in self._refused and not self.store.has(h)]
        if not missing:
            return
        try:
            report = bring(self.store, missing)
        except (LeptonError, OSError) as error:
            self._refused.update(dict.fromkeys(missing, str(error)))
        else:
            self._refused.update(report.missing)

    def _restore(self, path: bytes, found: Manifest, text: bytes) -> Answered:
        reason = self._refused.get(found.blake3)
        if reason is not None:
            self._leave(path, reason)
            return Answered(text)
        self.store.progress.start(f"restoring {os.fsdecode(path)}", found.size)
        try:
            return Answered(file=self.store.restore_temporary(found.blake3))
        except (LeptonError, OSError) as error:
            self._leave(path, error)
            return Answered(text)
        finally:
            self.store.progress.finish()

    def _leave(self, path: bytes, reason: LeptonError | OSError | str) -> None:
        self._left += 1
        if self._left <= _NAMED:
            why = reason.message if isinstance(reason, LeptonError) else str(reason)
            name = os.fsencode(path).decode(errors="replace")
            self.say(f"{name} was left as its manifest: {why} (to try again: git lepton pull)")
