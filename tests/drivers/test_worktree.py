"""What the work tree holds, and writing weights where a manifest stands in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from git_lepton.drivers.statcache import StatCache
from git_lepton.drivers.worktree import checkout_paths, materialise, status
from git_lepton.errors import UsageError
from git_lepton.store import manifest
from git_lepton.values import Hash
from tests.drivers.conftest import Work
from tests.support import model_bytes

NAME = "m.safetensors"
OTHER = "sub/b.safetensors"


@pytest.fixture
def hollow(work: Work, make: Callable[..., Work], model: bytes) -> Work:
    """A clone with manifests only, and a remote that has the weights."""
    work.commit("one", {NAME: model, OTHER: model_bytes(layer_0=3)})
    copy = make("hollow", clone=work.folder, options=("--no-checkout",))
    copy.git("checkout", "-q", "main", env={"GIT_LEPTON_SKIP_SMUDGE": "1"})
    return copy


def states(work: Work) -> dict[str, str]:
    with work.store() as store:
        return {file.path: file.state for file in status(work.repo, store)}


def test_every_state_is_told(work: Work, model: bytes) -> None:
    names = ("present", "modified", "manifest", "deleted", "touched", "linked")
    work.commit("one", {f"{name}.safetensors": model_bytes(seed=n, layers=1) for n, name in enumerate(names, 1)})
    work.write("modified.safetensors", model)
    work.write("manifest.safetensors", work.blob("manifest.safetensors"))
    (work.folder / "deleted.safetensors").unlink()
    os.utime(work.folder / "touched.safetensors", (7, 7))
    (work.folder / "linked.safetensors").unlink()
    (work.folder / "linked.safetensors").symlink_to("present.safetensors")
    expected = {f"{name}.safetensors": name for name in names}
    expected |= {"touched.safetensors": "present", "linked.safetensors": "modified"}
    assert states(work) == expected
    work.forget()
    assert states(work)["manifest.safetensors"] == "missing"


def test_conflicts_and_sparse_files_are_no_business_of_ours(work: Work, model: bytes) -> None:
    work.commit("one", {NAME: model, OTHER: model_bytes(layer_0=3)})
    work.git("update-index", "--skip-worktree", OTHER)
    (work.folder / OTHER).unlink()
    assert states(work) == {NAME: "present", OTHER: "sparse"}
    work.git("update-index", "--no-skip-worktree", OTHER)
    work.git("checkout", "-q", ".")
    work.git("checkout", "-qb", "side")
    work.commit("side", {NAME: model_bytes(layer_0=11)})
    work.git("checkout", "-q", "main")
    work.commit("main", {NAME: model_bytes(layer_1=12)})
    work.run("merge", "side")
    text = work.read(NAME)
    assert states(work)[NAME] == "conflict"
    with work.store() as store:
        assert materialise(work.repo, store).written == ()
    assert work.read(NAME) == text


def test_pull_writes_what_is_missing_and_git_sees_no_change(hollow: Work, model: bytes) -> None:
    with hollow.store() as store:
        done = materialise(hollow.repo, store)
    assert set(done.written) == {NAME, OTHER}
    assert done.size == 2 * len(model)
    assert hollow.read(NAME) == model
    assert hollow.cleans("status", "--porcelain") == []
    assert hollow.is_clean()


def test_only_the_paths_asked_for_are_written(hollow: Work) -> None:
    with hollow.store() as store:
        assert materialise(hollow.repo, store, ["sub"]).written == (OTHER,)
        assert materialise(hollow.repo, store, [NAME], fetch=False).missing == {NAME: "not in this repository"}
    assert manifest.looks_like(hollow.read(NAME))


def test_files_that_a_person_changed_are_left_alone(hollow: Work) -> None:
    hollow.write(NAME, b"mine")
    (hollow.folder / OTHER).unlink()
    with hollow.store() as store:
        assert materialise(hollow.repo, store).written == ()
    assert hollow.read(NAME) == b"mine"
    assert not (hollow.folder / OTHER).exists()


def test_a_file_that_changes_while_its_weights_are_restored_is_left_alone(
    hollow: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hollow.store() as store:
        restore = store.restore_to

        def slow(digest: Hash, write: Callable[[memoryview], object]) -> None:
            restore(digest, write)
            hollow.write(NAME, b"mine")

        monkeypatch.setattr(store, "restore_to", slow)
        done = materialise(hollow.repo, store, [NAME])
    assert done.kept == (NAME,)
    assert hollow.read(NAME) == b"mine"
    assert sorted(p.name for p in hollow.folder.iterdir()) == [".git", ".gitattributes", NAME, "sub"]


def test_nothing_is_written_through_a_link(hollow: Work, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (hollow.folder / "sub").rename(outside)
    (hollow.folder / "sub").symlink_to(outside)
    with hollow.store() as store:
        done = materialise(hollow.repo, store, [])
    assert done.written == (NAME,)
    assert manifest.looks_like((outside / "b.safetensors").read_bytes())


def test_an_index_that_we_do_not_understand_is_refreshed_by_git(hollow: Work, model: bytes) -> None:
    hollow.git("update-index", "--split-index")
    with hollow.store() as store:
        assert len(materialise(hollow.repo, store).written) == 2
    assert hollow.read(NAME) == model
    assert hollow.is_clean()


def test_checkout_of_a_revision_writes_and_stages_it(work: Work, model: bytes) -> None:
    work.commit("one", {NAME: model, OTHER: model_bytes(layer_0=3)})
    work.commit("two", {NAME: model_bytes(layer_0=9)})
    with work.store() as store:
        done = checkout_paths(work.repo, store, "HEAD~1", [NAME])
    assert done.written == (NAME,)
    assert work.read(NAME) == model
    assert work.git("status", "--porcelain") == f"M  {NAME}"


def test_checkout_of_the_index_restores_deleted_files(work: Work, model: bytes) -> None:
    work.commit("one", {NAME: model, OTHER: model_bytes(layer_0=3)})
    (work.folder / OTHER).unlink()
    (work.folder / "sub").rmdir()
    with work.store() as store:
        assert checkout_paths(work.repo, store).written == (OTHER,)
    assert OTHER not in work.cleans("status", "--porcelain")  # git may distrust the other one, as young as the index
    assert work.is_clean()


def test_checkout_refuses_to_lose_changes_unless_forced(work: Work, model: bytes) -> None:
    first = work.commit("one", {NAME: model, "x.safetensors": model})
    work.git("rm", "-q", "x.safetensors")
    work.commit("two", {NAME: model_bytes(layer_0=9)})
    with work.store() as store:
        work.write("x.safetensors", b"untracked")
        with pytest.raises(UsageError, match=r"x\.safetensors"):
            checkout_paths(work.repo, store, first)
        (work.folder / "x.safetensors").unlink()
        work.write(NAME, b"mine")
        with pytest.raises(UsageError, match=r"m\.safetensors"):
            checkout_paths(work.repo, store, first)
        assert set(checkout_paths(work.repo, store, first, force=True).written) == {NAME, "x.safetensors"}
        with pytest.raises(UsageError, match="no weight files"):
            checkout_paths(work.repo, store, first, ["nothing"])
    assert work.read(NAME) == model


def test_checkout_of_missing_weights_changes_nothing(work: Work, model: bytes) -> None:
    first = work.commit("one", {NAME: model})
    work.forget()
    work.commit("two", {NAME: model_bytes(layer_0=9)})
    work.commit("none", {"code.py": b""})
    with work.store() as store:
        done = checkout_paths(work.repo, store, first)
        assert (done.written, list(done.missing)) == ((), [NAME])
    assert work.is_clean()


def test_bare_repositories_have_no_work_tree(work: Work, make: Callable[..., Work], model: bytes) -> None:
    work.commit("one", {NAME: model})
    bare = make("bare", clone=work.folder, options=("--bare",))
    with bare.store() as store, pytest.raises(UsageError, match="bare"):
        materialise(bare.repo, store)


def test_the_stat_cache_tells_hashes_and_notices_changes(work: Work) -> None:
    path = work.write("file", b"one")
    with StatCache(work.repo) as cache:
        first = cache.hash_of(path)
        path.write_bytes(b"two")
        assert cache.hash_of(path) != first
        cache.put(path.stat(), first)
        assert cache.hash_of(path) == first  # believed, since the stat data is the same
        os.utime(path, (3, 3))
        assert cache.hash_of(path) != first


def test_a_stat_cache_that_cannot_be_opened_only_costs_time(work: Work) -> None:
    path = work.write("file", b"one")
    work.repo.lepton_dir.mkdir(exist_ok=True)
    (work.repo.lepton_dir / "stat.sqlite").write_bytes(b"no database " * 100)
    with StatCache(work.repo) as cache:
        assert cache.hash_of(path) == cache.hash_of(path)
