"""Which stored versions some commits need: every manifest that they bring, found by content, and what records name.

Attributes say which paths are tracked today, not which blobs of the history are manifests, so they are not looked at.
git names the blobs that the commits bring and their sizes; only blobs that could be manifests are read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Final

from git_lepton.errors import ManifestError, MissingError, UsageError
from git_lepton.git.lstree import blobs_in_history, rev_parse
from git_lepton.git.objectid import check_oid
from git_lepton.git.objects import ObjectReader
from git_lepton.git.refs import list_refs
from git_lepton.git.repo import Repo
from git_lepton.store import manifest, named
from git_lepton.store.tracked import files_at, manifest_text
from git_lepton.transfer.places import OURS
from git_lepton.values import Hash, Oid

_BATCH: Final = 50_000
"""Blobs asked for at once: bounds memory when a whole history is pushed."""
_SMALL: Final = 256 << 10
"""Blobs up to this size are read many at once; of larger ones, first only the beginning."""
_GROUP_BYTES: Final = 32 << 20


@dataclass(frozen=True, slots=True)
class RefUpdate:
    """One line of what git tells the pre-push hook. An oid of zeros means "no ref"."""

    local_ref: str
    local_oid: Oid
    remote_ref: str
    remote_oid: Oid


@dataclass(frozen=True, slots=True)
class Need:
    """A manifest that was found.

    Attributes:
        hash: the version that it names.
        size: bytes of the weight file.
        path: where it lies; lone surrogates stand for bytes that are not UTF-8.
        blob: git's id of the manifest.
    """

    hash: Hash
    size: int
    path: str
    blob: Oid


Needs = dict[Hash, list[Need]]
"""Versions, each with the places that name it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The commit that brought a manifest: abbreviated id, author's name and date (YYYY-MM-DD)."""

    commit: str
    author: str
    date: str


def parse_updates(data: bytes) -> list[RefUpdate]:
    """Read the standard input of a pre-push hook.

    Raises:
        UsageError: it is something else.
    """
    updates = []
    for line in data.splitlines():
        words = os.fsdecode(line).split(" ")
        if len(words) != 4:
            raise UsageError(f"not a line that git gives to a pre-push hook: {line!r}")
        check_oid(words[1])
        check_oid(words[3])
        updates.append(RefUpdate(words[0], Oid(words[1]), words[2], Oid(words[3])))
    return updates


class NeedFinder:
    """Finds manifests, and remembers by blob id what it has read."""

    def __init__(self, repo: Repo, objects: ObjectReader) -> None:
        self._repo = repo
        self._objects = objects
        self._seen: dict[Oid, tuple[tuple[Hash, int], ...]] = {}

    def for_updates(self, updates: Iterable[RefUpdate], advertised: Iterable[Oid] = ()) -> Needs:
        """What a push of `updates` brings to a remote.

        Args:
            updates: the lines of the hook; deletions and our own refs are passed over.
            advertised: what the remote's refs point to; commits reachable from these are there already.

        Raises:
            GitError: a tip is not here.
        """
        null = self._repo.null_oid
        wanted = [u for u in updates if u.local_oid != null and not u.remote_ref.startswith(OURS)]
        known = {u.remote_oid for u in wanted if u.remote_oid != null} | set(advertised)
        return self._in_history([u.local_oid for u in wanted], known)

    def for_history(self, revs: Sequence[str], known: Iterable[Oid] = ()) -> Needs:
        """What the commits reachable from `revs`, and from none of `known`, bring.

        Raises:
            UsageError: one of `revs` names no commit.
        """
        return self._in_history([rev_parse(self._repo, rev, kind="commit") for rev in revs], known)

    def for_all(self) -> Needs:
        """What all refs but our own need, and HEAD where it is detached."""
        refs = list_refs(self._repo, "refs/")
        tips = [oid for name, oid in refs.items() if not name.startswith(OURS)]
        head = self._repo.git("rev-parse", "--verify", "--quiet", "HEAD^{commit}", check=False).stdout
        return self._in_history([*tips, *(Oid(oid) for oid in head.decode("ascii").split())], ())

    def for_tree(self, rev: str) -> Needs:
        """What a checkout of `rev` needs.

        Raises:
            UsageError: `rev` leads to no tree.
        """
        needs: Needs = {}
        for file in files_at(self._repo, self._objects, rev).files:
            found = Need(file.manifest.blake3, file.manifest.size, file.path, file.blob)
            needs.setdefault(found.hash, []).append(found)
        return needs

    def _in_history(self, tips: Iterable[Oid], known: Iterable[Oid]) -> Needs:
        return self.for_blobs(blobs_in_history(self._repo, dict.fromkeys(tips), known))

    def for_blobs(self, blobs: Iterator[tuple[Oid, bytes]]) -> Needs:
        """What those of these (blob, path) that are manifests need, or records of models."""
        needs: Needs = {}
        while batch := list(islice(blobs, _BATCH)):
            self._read_records({blob for blob, path in batch if named.is_record(path)} - self._seen.keys())
            self._read({blob for blob, _ in batch} - self._seen.keys())
            for blob, path in batch:
                for digest, size in self._seen.get(blob, ()):
                    needs.setdefault(digest, []).append(Need(digest, size, os.fsdecode(path), blob))
        return needs

    def _read_records(self, blobs: Iterable[Oid]) -> None:
        for blob in blobs:
            with suppress(MissingError):
                if self._objects.size(blob) <= named.MAX_RECORD:
                    self._seen[blob] = named.versions_in(bytes(self._objects.read(blob)[1]))

    def _read(self, blobs: Iterable[Oid]) -> None:
        """Look into the blobs that are here; what a partial clone lacks came from a remote, with its weights."""
        wanted = sorted(blobs)
        self._seen.update(dict.fromkeys(wanted, ()))
        group: list[Oid] = []
        total = 0
        for blob, size in self._sizes(wanted):
            if size > _SMALL:
                with suppress(MissingError):
                    self._note(blob, manifest_text(self._repo, self._objects, blob, size))
                continue
            if total + size > _GROUP_BYTES:
                self._read_group(group)
                group, total = [], 0
            group.append(blob)
            total += size
        self._read_group(group)

    def _sizes(self, blobs: Sequence[Oid]) -> Iterator[tuple[Oid, int]]:
        for line in self._cat_file("--batch-check=%(objectname) %(objectsize)", blobs).splitlines():
            oid, _, size = line.decode("ascii").partition(" ")
            if size.isdigit():
                yield Oid(oid), int(size)

    def _read_group(self, blobs: Sequence[Oid]) -> None:
        """Read many small blobs through one process: those just committed are loose, and slow to read one by one."""
        output = memoryview(self._cat_file("--batch=%(objectsize)", blobs))
        at = 0
        for blob in blobs:
            head = bytes(output[at : at + 80]).partition(b"\n")[0]
            start = at + len(head) + 1
            if not head.isdigit():  # "<id> missing": it went meanwhile
                at = start
                continue
            at = start + int(head) + 1
            text = output[start : at - 1]
            self._note(blob, bytes(text) if manifest.looks_like(text) else None)

    def _note(self, blob: Oid, text: bytes | None) -> None:
        with suppress(ManifestError):  # text that only begins like a manifest names no version
            if text is not None:
                found = manifest.parse(text)
                self._seen[blob] = ((found.blake3, found.size),)

    def _cat_file(self, mode: str, blobs: Sequence[Oid]) -> bytes:
        if not blobs:
            return b""
        questions = "".join(f"{b}\n" for b in blobs).encode()
        return self._repo.git("--no-replace-objects", "cat-file", "--buffer", mode, input=questions).stdout


def origin(repo: Repo, need: Need, tips: Sequence[Oid] = ()) -> Origin | None:
    """Who brought this manifest: the oldest commit reachable from `tips` (default: all refs) that has it.

    Walks history: for messages only.
    """
    command = (
        "-c",
        "log.showRoot=true",
        "log",
        "--no-show-signature",
        "--no-color",
        "--format=%h%x00%an%x00%as",
        f"--find-object={need.blob}",
    )
    done = repo.git(*command, *(tips or ("--all",)), "--", check=False)
    lines = done.stdout.decode(errors="replace").splitlines()
    fields = lines[-1].split("\0") if done.status == 0 and lines else []
    return Origin(*fields) if len(fields) == 3 else None
