"""Proving from ids alone that a remote is complete, and finding each way in which it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_lepton.store.manifest import Manifest
from git_lepton.store.names import index_ref, model_ref
from git_lepton.store.store import Store
from git_lepton.transfer.check import remote_complete
from git_lepton.transfer.push import push_versions
from tests.support import git, model_bytes
from tests.transfer.kit import add, clone, commit, top
from tests.transfer.servers import packs


@pytest.fixture
def pushed(store: Store) -> list[Manifest]:
    """Three versions, each made from the one before; the last two are committed and pushed."""
    made = [add(store, model_bytes(rows=200))]
    for n in (11, 12):
        made.append(add(store, model_bytes(rows=200, layer_1=n), made[-1]))
        commit(store, f"m{n}.safetensors", made[-1])
    push_versions(store, "origin", [m.blake3 for m in made[1:]])
    return made[1:]


def flaws(store: Store) -> list[str]:
    return [p.flaw for p in remote_complete(store, "origin", "HEAD")[1]]


def test_what_was_pushed_is_complete(store: Store, pushed: list[Manifest]) -> None:
    assert remote_complete(store, "origin", "HEAD") == (2, [])


def test_a_clone_without_weights_can_tell(store: Store, pushed: list[Manifest], bare: Path, tmp_path: Path) -> None:
    git(top(store), "push", "-q", "origin", "main")
    other = clone(tmp_path / "other", origin=bare.as_uri())
    git(top(other), "fetch", "-q", "origin", "main")
    assert remote_complete(other, "origin", "origin/main") == (2, [])
    assert sum(p.stat().st_size for p in packs(other.repo.common_dir)) < 10_000


def test_versions_that_were_never_pushed(store: Store, pushed: list[Manifest]) -> None:
    commit(store, "new.safetensors", add(store, model_bytes(seed=4)))
    (problem,) = remote_complete(store, "origin", "HEAD")[1]
    assert (problem.flaw, problem.need.path) == ("absent", "new.safetensors")


def test_a_missing_index(store: Store, pushed: list[Manifest], bare: Path) -> None:
    git(bare, "update-ref", "-d", index_ref(pushed[0].blake3))
    assert flaws(store) == ["no index"]


def test_a_missing_model(store: Store, pushed: list[Manifest], bare: Path) -> None:
    git(bare, "update-ref", "-d", model_ref(pushed[0].blake3))
    assert flaws(store) == ["absent"]


def test_refs_of_different_versions(store: Store, pushed: list[Manifest], bare: Path) -> None:
    git(bare, "update-ref", model_ref(pushed[0].blake3), model_ref(pushed[1].blake3))
    assert flaws(store) == ["mismatch"]


def test_a_commit_that_only_has_the_index(store: Store, pushed: list[Manifest], bare: Path) -> None:
    """A forged W whose tree holds the index, and no chunk."""
    git(bare, "update-ref", model_ref(pushed[0].blake3), index_ref(pushed[0].blake3))
    assert flaws(store) == ["mismatch"]
