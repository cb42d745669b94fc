"""What `git add` calls: a weight file in, its manifest out (docs/filter-and-hooks.md, "Clean").

    empty                      stays empty: nothing is to be kept elsewhere, and no store is needed to restore it
    text of a valid manifest   itself: the weights were not fetched, or the file is cleaned twice
    a newer manifest           itself, but only where the index has it at this path already
    text that only begins so   an error: storing conflict markers as a model would lose the model
    a file stored before       its manifest; nothing is encoded
    anything else              is stored, then its manifest

If the index has a manifest of the very same content at this path, that text is returned byte for byte: a parser that
learned to see more in a file must not make it modified.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from git_lepton.drivers.graphs import external_cuts
from git_lepton.drivers.intake import Intake
from git_lepton.drivers.kin import Kin
from git_lepton.errors import ManifestError
from git_lepton.git.objectid import hash_object
from git_lepton.store import manifest
from git_lepton.store.manifest import Manifest
from git_lepton.store.source import FileSource
from git_lepton.store.store import Store
from git_lepton.store.survey import Surveyor


@dataclass(slots=True)
class Cleaner:
    """Answers clean commands of one repository.

    Attributes:
        warn: is told, in a sentence, what is odd about a file, once it was stored: `git status` cleans it again.
        stored: whether a version was stored that was not there before.
    """

    store: Store
    warn: Callable[[str], None]
    kin: Kin = field(init=False)
    stored: bool = False
    _odd: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kin = Kin(self.store)
        self.store.warn = self._odd.append

    def intake(self, path: bytes) -> Intake:
        """Where the content of `path` goes as it arrives."""
        self._odd.clear()
        top = self.store.repo.work_tree
        twin = None if top is None else top / os.fsdecode(path)

        def surveyor(source: FileSource) -> Surveyor:
            # What is here already mostly comes again, or changes little: then little is to be encoded early.
            new = self.kin.staged_blob(path) is None
            candidates = self.kin.relatives(path) if new else None
            return self.store.surveyor(source, os.fsdecode(path), cuts=self._cuts(path), candidates=candidates)

        return Intake(twin, spool_folder(self.store), surveyor)

    def clean(self, path: bytes, content: Intake) -> bytes:
        """The bytes that git is to track for this content.

        Raises:
            LeptonError: of any kind; nothing may be tracked then.
            OSError: the disk is full.
        """
        content.finish()
        text = content.text
        if text is not None:
            return self._clean_text(path, text)
        if content.size == 0:
            return b""
        digest = content.hash
        staged = self.kin.staged(path)
        known = self.store.has(digest)
        if known and staged is not None and staged.blake3 == digest and self.store.agrees(staged):
            return staged.to_bytes()
        candidates = () if known else self.kin.relatives(path)
        with content.source() as source:
            added = self.store.add(
                source,
                os.fsdecode(path),
                file_hash=digest,
                candidates=candidates,
                cuts=() if content.surveyed else self._cuts(path),
                surveyed=content.surveyed,
            )
        if not known:
            self.stored = True
            for line in dict.fromkeys(self._odd):
                self.warn(line)
        return added.to_bytes()

    def _cuts(self, path: bytes) -> tuple[int, ...]:
        top = self.store.repo.work_tree
        return () if top is None else external_cuts(top / os.fsdecode(path))

    def _clean_text(self, path: bytes, text: bytes) -> bytes:
        if manifest.is_newer(text):
            blob = hash_object("blob", [text], self.store.repo.object_format)
            if self.kin.staged_blob(path) == blob:
                return text
        return read_manifest(text).to_bytes()


def spool_folder(store: Store) -> Path:
    """Where unlinked temporary files go: the file system of the repository."""
    return store.repo.lepton_dir / "tmp"


def read_manifest(text: bytes) -> Manifest:
    """Parse a manifest; one whose line ends were all turned into CRLF (an editor, `core.autocrlf`) is the same one.

    Raises:
        ManifestError: it is none.
    """
    try:
        return manifest.parse(text)
    except ManifestError:
        if b"\r\n" not in text:
            raise
        return manifest.parse(text.replace(b"\r\n", b"\n"))
