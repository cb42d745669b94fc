"""Packs are rolled up, and nothing is lost by it."""

from __future__ import annotations

from git_lepton.git.repo import Repo
from git_lepton.store.source import BytesSource
from git_lepton.store.store import Store
from git_lepton.store.tidying import MANY_PACKS, tidy
from tests.support import git, model_bytes


def test_many_packs_become_few(repo: Repo) -> None:
    manifests = []
    with Store(repo) as store:
        for seed in range(MANY_PACKS + 1):
            manifests.append(store.add(BytesSource(model_bytes(seed, rows=8)), "m.safetensors"))
        packs = repo.object_dir / "pack"
        stale = packs / f"pack-{'0' * 40}.keep"
        stale.write_text("someone else's\n")
        promised = packs / f"pack-{'0' * 40}.promisor"
        promised.touch()
        assert not tidy(repo), "the packs of a partial clone are left alone"
        promised.unlink()
        assert tidy(repo)
        assert len(list(packs.glob("*.pack"))) < MANY_PACKS
        assert stale.exists()
        assert not tidy(repo)
        for seed, manifest in enumerate(manifests):
            with store.restore_temporary(manifest.blake3) as file:
                assert file.read() == model_bytes(seed, rows=8)
    assert repo.work_tree is not None
    git(repo.work_tree, "fsck", "--strict")
