"""Making a version a stored one: its last objects, then one ref transaction (docs/git-protocol.md, "Writing")."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from git_lepton.errors import MissingError, RaceLostError
from git_lepton.git.packfile import PackWriter
from git_lepton.git.refs import Transaction
from git_lepton.store.catalog import Catalog
from git_lepton.store.index import VersionIndex
from git_lepton.store.index import parse as parse_index
from git_lepton.store.names import index_ref, model_ref
from git_lepton.store.trees import VersionObjects, build, commit
from git_lepton.values import Hash, Oid


def write_objects(pack: PackWriter, objects: VersionObjects, skip: Collection[Oid] = ()) -> None:
    """Write everything of a version but its chunks; children before parents. `skip` names trees that are here."""
    pack.add("blob", [objects.index.data], compress=True)
    for tree in objects.trees:
        if tree.oid not in skip:
            pack.add("tree", [tree.data], compress=True)
    for made in (objects.own, objects.index_commit):
        pack.add("commit", [made.data], compress=True)


def publish(
    catalog: Catalog,
    pack: PackWriter,
    index: VersionIndex,
    objects: VersionObjects,
    *,
    relied: Mapping[Hash, Oid],
    parents: tuple[Oid, ...],
) -> None:
    """Finish the pack and create the pair of refs; every version in `relied` must still stand at its W.

    Args:
        catalog: where.
        pack: holds every object of the version that no version in `relied` holds.
        index: of the version.
        objects: what `build` made of it.
        relied: versions whose chunks or trees are reused, with their W.
        parents: commits O(B) that W names beside O(H); all must be here.

    Raises:
        RaceLostError: a version relied upon went, or this one came, meanwhile. The objects written are left to gc.
    """
    algo = catalog.repo.object_format
    wrap = commit(objects.tree, (objects.own.oid, *parents), algo)
    pack.add("commit", [wrap.data], compress=True)
    with pack.finish() as pending:
        pending.publish()
        digest = index.file_hash
        transaction = Transaction(catalog.repo)
        for version, oid in relied.items():
            transaction.verify(model_ref(version), oid)
        transaction.create(model_ref(digest), wrap.oid)
        known = catalog.index_commit_of(digest)
        if known != objects.index_commit.oid:
            transaction.update(index_ref(digest), objects.index_commit.oid, known)
        transaction.commit()
    catalog.lookup.add(index, wrap.oid)


def anchor(catalog: Catalog, index_bytes: bytes) -> None:
    """Store a version whose chunks were fetched by object id: its trees and commits are remade from the index.

    The chunks were not reachable until now, so a gc may have taken some between their arrival and the refs: they are
    looked for again afterwards, and the refs go when one is gone.

    Raises:
        FrameError: the bytes are no index.
        MissingError: chunks are not here.
    """
    index = parse_index(index_bytes)
    digest = index.file_hash
    if catalog.has(digest):
        return
    _require(catalog, index)
    objects = build(index, catalog.repo.object_format)
    here = catalog.objects.contains(index.parents)
    parents = tuple(p for p in index.parents if p in here)
    with PackWriter(catalog.repo) as pack:
        write_objects(pack, objects)
        try:
            publish(catalog, pack, index, objects, relied={}, parents=parents)
        except RaceLostError:
            if not catalog.has(digest):
                raise
            # another process anchored the same version: as good
    wrap = catalog.wrap_of(digest)
    if wrap is None:
        raise RaceLostError(f"version {digest[:12]} was deleted by another process while it was stored")
    try:
        _require(catalog, index)
    except MissingError:
        Transaction(catalog.repo).delete(model_ref(digest), wrap).commit()
        raise


def _require(catalog: Catalog, index: VersionIndex) -> None:
    gone = catalog.missing(index)
    if gone:
        raise MissingError(
            f"{len(gone)} of {len(index.chunks)} chunks of version {index.file_hash[:12]} are not here, the first is "
            f"{gone[0]}",
            hint="git lepton pull",
        )
