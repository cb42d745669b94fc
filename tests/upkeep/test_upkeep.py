"""Accounting, checking and pruning on real repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_lepton.errors import RaceLostError
from git_lepton.git.repo import Repo
from git_lepton.store.manifest import Manifest
from git_lepton.store.names import model_ref
from git_lepton.store.source import BytesSource
from git_lepton.store.store import Store
from git_lepton.transfer.need import NeedFinder
from git_lepton.upkeep.check import check_versions
from git_lepton.upkeep.prune import execute_prune, plan_prune
from git_lepton.upkeep.usage import usage
from tests.support import git, model_bytes


@pytest.fixture
def top(repo: Repo) -> Path:
    assert repo.work_tree is not None
    return repo.work_tree


def commit(store: Store, top: Path, data: bytes, *bases: Manifest, message: str = "m") -> Manifest:
    """Commit the manifest of `data` without any filter."""
    manifest = store.add(BytesSource(data), "m.safetensors", candidates=bases)
    (top / "m.safetensors").write_bytes(manifest.to_bytes())
    git(top, "add", "m.safetensors")
    git(top, "commit", "-q", "-m", message)
    return manifest


def test_usage_tells_what_each_version_added(repo: Repo, top: Path) -> None:
    with Store(repo) as store:
        first = commit(store, top, model_bytes(layers=4, rows=256))
        second = commit(store, top, model_bytes(layers=4, rows=256, layer_1=9), first)
        store.add(BytesSource(model_bytes(seed=7)), "loose.safetensors")
        rows = usage(store, NeedFinder(repo, store.objects).for_all())
        assert [row.hash for row in rows[1:]] == [first.blake3, second.blake3]
        assert rows[0].paths == ()
        assert rows[1].paths == ("m.safetensors",)
        assert rows[1].added == rows[1].stored
        assert rows[2].added is not None
        assert rows[2].stored is not None
        assert rows[2].added < 0.35 * rows[2].stored


def test_fsck_names_file_tensor_and_chunk(repo: Repo, top: Path) -> None:
    with Store(repo) as store:
        manifest = commit(store, top, model_bytes(rows=1024))
        needs = NeedFinder(repo, store.objects).for_tree("HEAD")
        assert list(check_versions(store, needs)) == []
        pack = max((repo.object_dir / "pack").glob("*.pack"), key=lambda p: p.stat().st_size)
        damaged = bytearray(pack.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(damaged)
        store.close()
        (finding,) = check_versions(store, needs)
        assert (finding.kind, finding.path, finding.chunk) == ("corrupt", "m.safetensors", 0)
        assert finding.tensor in {t.name for t in manifest.tensors}
        git(top, "update-ref", "-d", model_ref(manifest.blake3))
        (finding,) = check_versions(store, needs)
        assert finding.kind == "missing"


def test_a_manifest_that_lies_is_found(repo: Repo, top: Path) -> None:
    with Store(repo) as store:
        true = store.add(BytesSource(model_bytes()), "m.safetensors")
        lie = Manifest(true.format, true.size, true.blake3, true.other_hash, true.other_size, true.tensors[::-1])
        (top / "m.safetensors").write_bytes(lie.to_bytes())
        git(top, "add", "m.safetensors")
        git(top, "commit", "-q", "-m", "lie")
        (finding,) = check_versions(store, NeedFinder(repo, store.objects).for_tree("HEAD"))
        assert finding.kind == "lie"


def test_whatever_git_can_still_show_is_alive(repo: Repo, top: Path) -> None:
    with Store(repo) as store:
        old = commit(store, top, model_bytes(seed=1))
        git(top, "tag", "v1")
        reset = commit(store, top, model_bytes(seed=2))
        git(top, "reset", "-q", "--hard", "v1")  # only the reflog has it now
        stashed = store.add(BytesSource(model_bytes(seed=3)), "m.safetensors")
        (top / "m.safetensors").write_bytes(stashed.to_bytes())
        git(top, "stash", "-q")
        git(top, "worktree", "add", "-q", "--detach", str(top.parent / "tree"))
        elsewhere = store.add(BytesSource(model_bytes(seed=4)), "m.safetensors")
        (top.parent / "tree" / "m.safetensors").write_bytes(elsewhere.to_bytes())
        git(top.parent / "tree", "add", "m.safetensors")
        staged = store.add(BytesSource(model_bytes(seed=5)), "m.safetensors")
        (top / "m.safetensors").write_bytes(staged.to_bytes())
        git(top, "add", "m.safetensors")
        dead = store.add(BytesSource(model_bytes(seed=6)), "m.safetensors")
        assert plan_prune(store).young == (dead.blake3,)
        plan = plan_prune(store, grace_days=0)
        assert set(plan.dead) == {dead.blake3}
        assert plan.alive == 5
        assert {m.blake3 for m in (old, reset, stashed, elsewhere, staged)} <= set(store.versions())


def test_prune_takes_a_version_and_leaves_the_others_whole(repo: Repo, top: Path) -> None:
    with Store(repo) as store:
        dead = store.add(BytesSource(model_bytes(layers=4, rows=256)), "m.safetensors")
        data = model_bytes(layers=4, rows=256, layer_2=9)
        kept = commit(store, top, data, dead)
        assert len(git(top, "rev-parse", f"{model_ref(kept.blake3)}^@").split()) == 2
        plan = plan_prune(store, grace_days=0)
        assert plan.freed > 0
        execute_prune(store, plan)
        assert list(store.versions()) == [kept.blake3]
        assert len(git(top, "rev-parse", f"{model_ref(kept.blake3)}^@").split()) == 1
        git(top, "gc", "-q", "--prune=now")
        store.close()
        with store.restore_temporary(kept.blake3) as file:
            assert file.read() == data
        git(top, "fsck", "--strict")
        execute_prune(store, plan_prune(store, grace_days=0))


def test_a_plan_that_is_out_of_date_changes_nothing(repo: Repo, top: Path) -> None:
    with Store(repo) as store:
        first = store.add(BytesSource(model_bytes(seed=1)), "m.safetensors")
        second = store.add(BytesSource(model_bytes(seed=2)), "m.safetensors")
        plan = plan_prune(store, grace_days=0)
        git(top, "update-ref", model_ref(first.blake3), git(top, "rev-parse", model_ref(second.blake3)))
        with pytest.raises(RaceLostError):
            execute_prune(store, plan)
        assert store.has(second.blake3)
