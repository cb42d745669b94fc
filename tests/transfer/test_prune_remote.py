"""Versions go from a remote one by one, their bytes with them, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_lepton.errors import GitError, RaceLostError
from git_lepton.store.manifest import Manifest
from git_lepton.store.names import model_ref
from git_lepton.store.store import Store
from git_lepton.transfer.fetch import bring
from git_lepton.transfer.places import advertised
from git_lepton.transfer.prune_remote import execute, plan
from git_lepton.transfer.push import push_versions
from tests.support import git, model_bytes
from tests.transfer.kit import add, clone, restored
from tests.transfer.servers import hook


@pytest.fixture
def chain(store: Store) -> list[Manifest]:
    made = [add(store, model_bytes(rows=200))]
    for n in (11, 12, 13):
        made.append(add(store, model_bytes(rows=200, layer_1=n), made[-1]))
    push_versions(store, "origin", [m.blake3 for m in made])
    return made


def size(bare: Path) -> int:
    git(bare, "gc", "-q", "--prune=now")
    return sum(p.stat().st_size for p in (bare / "objects" / "pack").glob("*.pack"))


@pytest.mark.parametrize("where", ["author", "fresh clone"])
def test_a_pruned_version_frees_its_bytes_and_harms_no_other(
    store: Store, chain: list[Manifest], bare: Path, tmp_path: Path, where: str
) -> None:
    pruner = store if where == "author" else clone(tmp_path / "pruner", origin=bare.as_uri())
    before = size(bare)
    planned = plan(pruner, "origin", [chain[1].blake3])
    assert planned.versions == (chain[1].blake3,)
    assert len(planned.deletes) == 2
    assert [r.ref for r in planned.rewraps] == [model_ref(chain[2].blake3)]
    assert planned.opaque == ()
    execute(pruner.repo, planned)
    layer = 200 * 64 * 4
    assert size(bare) < before - 0.7 * layer
    git(bare, "fsck", "--strict")
    fresh = clone(tmp_path / "fresh", origin=bare.as_uri())
    report = bring(fresh, [m.blake3 for m in chain])
    assert set(report.missing) == {chain[1].blake3}
    assert restored(fresh, chain[2].blake3) == model_bytes(rows=200, layer_1=12)


def test_a_rewrapped_version_is_still_recognised(store: Store, chain: list[Manifest]) -> None:
    execute(store.repo, plan(store, "origin", [chain[0].blake3, chain[1].blake3]))
    assert push_versions(store, "origin", [m.blake3 for m in chain[2:]]).pushed == ()
    assert set(advertised(store.repo, "origin").models()) == {m.blake3 for m in chain[2:]}


def test_a_plan_for_what_is_not_there_is_empty(store: Store, chain: list[Manifest]) -> None:
    planned = plan(store, "origin", [add(store, model_bytes(seed=5)).blake3])
    assert (planned.versions, planned.deletes, planned.rewraps) == ((), {}, ())
    execute(store.repo, planned)


def test_a_ref_that_moved_since_the_plan_is_not_deleted(store: Store, chain: list[Manifest], bare: Path) -> None:
    planned = plan(store, "origin", [chain[3].blake3])
    git(bare, "update-ref", model_ref(chain[3].blake3), model_ref(chain[0].blake3))
    with pytest.raises(RaceLostError, match="changed meanwhile"):
        execute(store.repo, planned)
    assert git(bare, "rev-parse", model_ref(chain[3].blake3)) == git(bare, "rev-parse", model_ref(chain[0].blake3))


def test_a_server_that_refuses_deletions_says_so(store: Store, chain: list[Manifest], bare: Path) -> None:
    hook(bare, "update", 'case "$3" in *[!0]*) exit 0;; esac\nexit 1\n')
    with pytest.raises(GitError, match="refuses to change"):
        execute(store.repo, plan(store, "origin", [chain[3].blake3]))


def test_the_documented_hook_keeps_weights_on_a_server(store: Store, chain: list[Manifest], bare: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "git-protocol.md").read_text(encoding="utf-8")
    hook(bare, "update", text.split("```sh\n")[1].split("```")[0])
    with pytest.raises(GitError, match="refuses to change"):
        execute(store.repo, plan(store, "origin", [chain[3].blake3]))
    push_versions(store, "origin", [add(store, model_bytes(rows=200, layer_1=99), chain[3]).blake3])
    assert len(advertised(store.repo, "origin").models()) == 5
