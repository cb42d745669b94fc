"""Moving weights in: raw files and git-lfs pointers become manifests, and their bytes go to the store."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from git_lepton.errors import MissingError
from git_lepton.git.packfile import PackWriter
from git_lepton.git.repo import Repo
from git_lepton.migrate import lfs
from git_lepton.migrate.content import Content, blob_source
from git_lepton.migrate.engine import Workshop, execute, make_plan
from git_lepton.migrate.plan import Missing, Plan, Report, Request, some
from git_lepton.migrate.pointer import Pointer
from git_lepton.progress import Progress, Silent
from git_lepton.store import manifest as manifests
from git_lepton.store.manifest import Manifest
from git_lepton.store.source import FileSource, Source
from git_lepton.store.store import Store
from git_lepton.store.tidying import MANY_PACKS, tidy
from git_lepton.values import Oid

_CANDIDATES: Final = 4
"""Earlier versions of a path that a new one may be a delta of."""


def plan_import(repo: Repo, request: Request) -> Plan:
    """Find out what an import will do; reads only.

    Raises:
        UsageError: the request makes no sense here, attributes contradict it, or a work tree is dirty.
        MissingError: objects are not here (partial clone).
    """
    objects = lfs.LfsObjects(repo)

    def missing(contents: Iterator[tuple[bytes, Content]]) -> tuple[Missing, ...]:
        found = {
            content.pointer.sha256: Missing(os.fsdecode(path), content.pointer.sha256, content.size)
            for path, content in contents
            if content.pointer is not None and objects.find(content.pointer) is None
        }
        return tuple(sorted(found.values(), key=lambda item: (-item.size, item.path)))

    return make_plan(repo, "import", request, missing)


def execute_import(
    store: Store,
    plan: Plan,
    *,
    progress: Progress | None = None,
    object_map: Path | None = None,
    skip_missing: bool = False,
) -> Report:
    """Carry out a plan of `plan_import`.

    Args:
        store: of the repository that was planned for.
        plan: what to do.
        progress: told of the bytes that went in; give the store a silent one then.
        object_map: file to write the lines `<old id> <new id>` to, for every commit and annotated tag that changed.
        skip_missing: leave pointers alone whose content is not to be had.

    Raises:
        MissingError: content that git-lfs tracks is absent, and git-lfs cannot get it; nothing was changed.
        RaceLostError: a ref moved since the plan was made, or meanwhile; no ref was changed.
        UsageError: a work tree is dirty; nothing was changed.
    """
    objects = lfs.LfsObjects(store.repo)
    objects.bring((Pointer(m.digest, m.size) for m in plan.missing), (move.ref for move in plan.moves))
    absent = {m.digest: m for m in plan.missing if objects.find(Pointer(m.digest, m.size)) is None}
    if absent and not skip_missing:
        raise MissingError(
            f"{len(absent)} files that git-lfs tracks are not to be had: {some([m.path for m in absent.values()])}",
            hint="git lfs fetch --all, or leave them as pointers with --skip-missing",
        )
    reporter = progress or Silent()
    reporter.start("importing", plan.bytes)
    try:
        return execute(
            store,
            plan,
            lambda shop, pack: _Importer(store, shop, pack, objects, absent, reporter),
            object_map=object_map,
        )
    finally:
        reporter.finish()


class _Importer:
    """Stores each version once; a `Converter`."""

    def __init__(
        self,
        store: Store,
        shop: Workshop,
        pack: PackWriter,
        objects: lfs.LfsObjects,
        absent: dict[str, Missing],
        progress: Progress,
    ) -> None:
        self.versions = 0
        self.total_bytes = 0
        self.skipped = tuple(absent.values())
        self._store = store
        self._shop = shop
        self._pack = pack
        self._objects = objects
        self._absent = absent
        self._progress = progress
        self._done: dict[tuple[Oid, bytes], tuple[Oid, Manifest | None]] = {}
        self._recent: dict[bytes, deque[Manifest]] = {}

    def __call__(self, path: bytes, oid: Oid, content: Content) -> Oid:
        """The blob of the manifest of what `oid` is or points to; `oid` itself when it stays."""
        key = (oid, path.rpartition(b"/")[2].rpartition(b".")[2])  # the suffix has a say in how a file is parsed
        recent = self._recent.setdefault(path, deque(maxlen=_CANDIDATES))
        if key not in self._done:
            self._done[key] = self._convert(path, oid, content, recent)
        new, manifest = self._done[key]
        if manifest is not None and manifest not in recent:
            recent.appendleft(manifest)
        return new

    def check(self) -> None:
        """Stored versions are kept alive by their own refs, of which there may be many now."""
        if self.versions > MANY_PACKS:
            self._store.repo.git("pack-refs", "--all")

    def _convert(self, path: bytes, oid: Oid, content: Content, recent: deque[Manifest]) -> tuple[Oid, Manifest | None]:
        if content.pointer is not None and content.pointer.sha256 in self._absent:
            return oid, None
        if content.size == 0:
            return self._pack.add("blob", [b""]), None
        with self._source(oid, content) as source:
            if manifests.looks_like(source.view()[: len(manifests.PREFIX)]):
                return oid, None  # a manifest too long to be looked at before
            manifest = self._store.add(source, os.fsdecode(path), candidates=tuple(recent))
        self.versions += 1
        if self.versions % (MANY_PACKS + 1) == 0:  # each version leaves a pack
            tidy(self._store.repo)
        self.total_bytes += content.size
        self._progress.advance(content.size)
        return self._pack.add("blob", [manifest.to_bytes()], compress=True), manifest

    @contextmanager
    def _source(self, oid: Oid, content: Content) -> Iterator[Source]:
        if content.pointer is None:
            with blob_source(self._shop.repo, self._shop.reader, oid, content.size) as source:
                yield source
            return
        path = self._objects.find(content.pointer)
        if path is None:
            raise MissingError(f"the git-lfs object {content.pointer.sha256[:12]} went away meanwhile")
        lfs.verify(path, content.pointer)
        with FileSource(path) as file:
            yield file
