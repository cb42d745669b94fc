"""Moving weights out: manifests become the raw files that they stand for, in git itself.

Only raw blobs are written, never git-lfs pointers: from there `git lfs migrate import` goes wherever one likes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from git_lepton import atomic
from git_lepton.errors import MissingError, RaceLostError
from git_lepton.git.packfile import PackWriter, temporary_folder
from git_lepton.git.refs import list_refs
from git_lepton.git.repo import Repo
from git_lepton.migrate.content import LARGE, Content
from git_lepton.migrate.engine import Workshop, execute, make_plan
from git_lepton.migrate.plan import Missing, Plan, Report, Request, some
from git_lepton.progress import Progress, Silent
from git_lepton.store.manifest import Manifest
from git_lepton.store.names import MODELS
from git_lepton.store.store import Store
from git_lepton.values import Hash, Oid


def plan_export(repo: Repo, request: Request) -> Plan:
    """Find out what an export will do; reads only. `Plan.missing` lists weights that have to be fetched before.

    Raises:
        UsageError: the request makes no sense here, attributes contradict it, or a work tree is dirty.
        MissingError: objects are not here (partial clone).
    """
    stored = {ref.removeprefix(MODELS) for ref in list_refs(repo, MODELS)}

    def missing(contents: Iterator[tuple[bytes, Content]]) -> tuple[Missing, ...]:
        found = {
            content.manifest.blake3: Missing(os.fsdecode(path), content.manifest.blake3, content.size)
            for path, content in contents
            if content.manifest is not None and content.manifest.blake3 not in stored
        }
        return tuple(sorted(found.values(), key=lambda item: (-item.size, item.path)))

    return make_plan(repo, "export", request, missing)


def execute_export(
    store: Store, plan: Plan, *, progress: Progress | None = None, object_map: Path | None = None
) -> Report:
    """Carry out a plan of `plan_export`.

    Args:
        store: of the repository that was planned for.
        plan: what to do.
        progress: told of the bytes that came out; give the store a silent one then.
        object_map: as for `execute_import`.

    Raises:
        MissingError: weights are not in this repository; nothing was changed.
        CorruptError: weights do not restore to their hash; nothing was changed.
        RaceLostError: a ref moved since the plan was made, or meanwhile; no ref was changed.
        UsageError: a work tree is dirty; nothing was changed.
    """
    absent = [m for m in plan.missing if not store.has(Hash(m.digest))]
    if absent:
        raise MissingError(
            f"the weights of {len(absent)} versions are not in this repository: {some([m.path for m in absent])}",
            hint="git lepton fetch --all, then make the plan again",
        )
    reporter = progress or Silent()
    reporter.start("exporting", plan.bytes)
    try:
        return execute(store, plan, lambda shop, pack: _Exporter(store, shop, pack, reporter), object_map=object_map)
    finally:
        reporter.finish()


class _Exporter:
    """Restores each version once; a `Converter`."""

    def __init__(self, store: Store, shop: Workshop, pack: PackWriter, progress: Progress) -> None:
        self.versions = 0
        self.total_bytes = 0
        self.skipped: tuple[Missing, ...] = ()
        self._store = store
        self._shop = shop
        self._pack = pack
        self._progress = progress
        self._done: dict[Hash, Oid] = {}
        self._large: set[Oid] = set()

    def __call__(self, path: bytes, oid: Oid, content: Content) -> Oid:
        """The raw blob that a manifest stands for."""
        manifest = content.manifest
        assert manifest is not None
        if manifest.blake3 not in self._done:
            self._done[manifest.blake3] = self._restore(manifest)
            self.versions += 1
            self.total_bytes += manifest.size
            self._progress.advance(manifest.size)
        return self._done[manifest.blake3]

    def check(self) -> None:
        """What git wrote for us is not protected like our pack: look whether a gc took it."""
        if self._large - self._shop.reader.objects.contains(self._large):
            raise RaceLostError("another process removed objects that were just written", hint="run it again")

    def _restore(self, manifest: Manifest) -> Oid:
        if manifest.size <= LARGE:
            buffer = bytearray()
            self._store.restore_to(manifest.blake3, buffer.extend)
            return self._pack.add("blob", [buffer], compress=True)
        # git streams what is large; in our pack it would have to be in memory whole.
        with atomic.temporary(temporary_folder(self._store.repo), ".blob") as path:
            self._store.restore_file(manifest.blake3, path)
            output = self._store.repo.git("hash-object", "-w", "--no-filters", "--", path).stdout
        oid = Oid(output.decode("ascii").strip())
        self._large.add(oid)
        return oid
