"""Pushing versions: pairs that are absent, broken, foreign, refused or large; two pushers; a push that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from git_lepton.errors import GitError, MissingError
from git_lepton.git.repo import discover
from git_lepton.store.manifest import Manifest
from git_lepton.store.names import index_ref, model_ref
from git_lepton.store.store import Store
from git_lepton.transfer.fetch import bring
from git_lepton.transfer.need import NeedFinder, RefUpdate
from git_lepton.transfer.places import HEADS, advertised
from git_lepton.transfer.probe import HEADS_PRICE
from git_lepton.transfer.push import PART_SIZE_KEY, push_for_updates, push_needed, push_versions
from git_lepton.values import Oid
from tests.support import git, model_bytes, safetensors_bytes, weights
from tests.transfer.kit import Received, add, clone, commit, restored, top
from tests.transfer.servers import HEADS_AND_TAGS_ONLY, hook, make_bare


def refs(bare: Path, prefix: str = "refs/") -> set[str]:
    return set(git(bare, "for-each-ref", "--format=%(refname)", prefix).splitlines())


def assert_whole(bare: Path, tmp_path: Path, manifest: Manifest, data: bytes) -> None:
    """A fresh clone gets the version, and the server is sound."""
    git(bare, "fsck", "--strict", "--connectivity-only")
    number = len(list(tmp_path.glob("check*")))
    fresh = clone(tmp_path / f"check{number}", origin=bare.as_uri())
    assert bring(fresh, [manifest.blake3]).missing == {}
    assert restored(fresh, manifest.blake3) == data


def test_a_dry_run_tells_the_cost_and_sends_nothing(store: Store, bare: Path) -> None:
    data = model_bytes(rows=300)
    manifest = add(store, data)
    report = push_versions(store, "origin", [manifest.blake3], dry_run=True)
    assert report.pushed == (manifest.blake3,)
    assert report.cost.versions == 1
    assert report.cost.raw_bytes == len(data)
    assert refs(bare) == set()
    with Received(bare) as received:
        push_versions(store, "origin", [manifest.blake3])
    assert 0.9 * report.cost.bytes < received.bytes <= report.cost.bytes


def test_only_parents_that_the_remote_has_are_named(store: Store, bare: Path, tmp_path: Path) -> None:
    """A version that was added and never committed stays here, though the pushed one was made from it."""
    one = add(store, model_bytes(rows=300))
    data = model_bytes(rows=300, layer_1=7)
    two = add(store, data, one)
    assert store.index(two.blake3).parents
    with Received(bare) as received:
        push_versions(store, "origin", [two.blake3])
    assert received.bytes < 1.01 * store.index(two.blake3).stored_bytes + 16_384
    assert refs(bare) == {model_ref(two.blake3), index_ref(two.blake3)}
    assert_whole(bare, tmp_path, two, data)


def test_many_versions_go_in_one_push_each_after_its_bases(
    store: Store, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = [add(store, model_bytes(rows=100))]
    for n in range(11, 16):
        manifests.append(add(store, model_bytes(rows=100, layer_1=n), manifests[-1]))
    trace = tmp_path / "trace"
    monkeypatch.setenv("GIT_TRACE", str(trace))
    report = push_versions(store, "origin", [m.blake3 for m in reversed(manifests)])
    monkeypatch.delenv("GIT_TRACE")
    assert len(report.pushed) == 6
    assert trace.read_text().count("trace: built-in: git pack-objects") == 2  # one is the probe's
    assert len(refs(bare)) == 12
    assert_whole(bare, tmp_path, manifests[-1], model_bytes(rows=100, layer_1=15))


def test_bases_that_lie_under_another_path_over_there_are_not_sent_again(store: Store, bare: Path) -> None:
    """A chunk of the old tensor becomes a base of the new one: git's default, sparse walk would send it again."""
    old = weights(1, 700_000)
    new = bytearray(old)
    for at in range(1_300_000, 1_700_000, 4):
        new[at] ^= 1
    one, two = (safetensors_bytes({"a": ("F32", (700_000,), data)}) for data in (old, bytes(new)))
    base = add(store, one)
    push_versions(store, "origin", [base.blake3])
    tuned = add(store, two, base)
    index = store.index(tuned.blake3)
    assert index.bases
    known = {c.oid for c in store.index(base.blake3).chunks}
    with Received(bare) as received:
        push_versions(store, "origin", [tuned.blake3])
    assert received.bytes <= 1.01 * sum(c.stored_length for c in index.chunks if c.oid not in known) + 16_384


@pytest.mark.parametrize("lost", ["index", "models"])
def test_half_a_pair_is_mended(store: Store, bare: Path, tmp_path: Path, lost: str) -> None:
    data = model_bytes()
    manifest = add(store, data)
    push_versions(store, "origin", [manifest.blake3])
    git(bare, "update-ref", "-d", f"refs/lepton/{lost}/{manifest.blake3}")
    assert push_versions(store, "origin", [manifest.blake3]).pushed == (manifest.blake3,)
    assert len(refs(bare)) == 2
    assert_whole(bare, tmp_path, manifest, data)


def two_encodings(tmp_path: Path, bare: Path) -> tuple[Store, Store, Manifest, bytes]:
    """The same file in two clones, once with another version to reuse chunks of and once without."""
    base = safetensors_bytes({"a": ("F32", (400, 100), weights(1, 40_000)), "b": ("F32", (9,), weights(2, 9))})
    tuned = bytearray(weights(1, 40_000))
    for at in range(0, len(tuned), 4):
        tuned[at] ^= 1
    data = safetensors_bytes({"a": ("F32", (400, 100), bytes(tuned)), "b": ("F32", (9,), weights(2, 9))})
    first, second = (clone(tmp_path / name, origin=bare.as_uri()) for name in ("first", "second"))
    ours = add(first, data, add(first, base))
    assert add(second, data) == ours
    assert first.index_commit_of(ours.blake3) != second.index_commit_of(ours.blake3)
    return first, second, ours, data


def test_an_index_of_another_encoding_is_replaced(bare: Path, tmp_path: Path) -> None:
    first, second, manifest, data = two_encodings(tmp_path, bare)
    push_versions(first, "origin", [manifest.blake3])
    git(top(second), "push", "-q", "-f", "origin", index_ref(manifest.blake3))
    assert push_versions(first, "origin", [manifest.blake3]).pushed == (manifest.blake3,)
    assert advertised(first.repo, "origin").pair(manifest.blake3).index == first.index_commit_of(manifest.blake3)
    assert_whole(bare, tmp_path, manifest, data)


def test_a_pair_of_another_encoding_is_there_already(bare: Path, tmp_path: Path) -> None:
    first, second, manifest, data = two_encodings(tmp_path, bare)
    push_versions(first, "origin", [manifest.blake3])
    with Received(bare) as received:
        report = push_versions(second, "origin", [manifest.blake3])
    assert report.present == (manifest.blake3,)
    assert received.objects == 0
    assert_whole(bare, tmp_path, manifest, data)


def test_a_mixed_pair_is_replaced_by_one_that_belongs_together(bare: Path, tmp_path: Path) -> None:
    first, second, manifest, data = two_encodings(tmp_path, bare)
    push_versions(first, "origin", [manifest.blake3])
    git(top(second), "push", "-q", "-f", "origin", index_ref(manifest.blake3))
    third = clone(tmp_path / "third", origin=bare.as_uri())
    add(third, data)  # encodes as `second` did: the index is its own, the commit is not
    assert push_versions(third, "origin", [manifest.blake3]).pushed == (manifest.blake3,)
    assert_whole(bare, tmp_path, manifest, data)


def test_two_clones_push_the_same_file_at_once(bare: Path, tmp_path: Path) -> None:
    first, second, manifest, data = two_encodings(tmp_path, bare)
    hook(bare, "pre-receive", "sleep 0.3\n")  # both have listed before either is done
    errors: list[BaseException] = []

    def run(store: Store) -> None:
        try:
            push_versions(Store(store.repo), "origin", [manifest.blake3])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(s,)) for s in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert_whole(bare, tmp_path, manifest, data)


def test_a_refusal_is_reported_with_the_servers_reason(store: Store, bare: Path) -> None:
    manifest = add(store, model_bytes())
    push_versions(store, "origin", [manifest.blake3])
    later = add(store, model_bytes(layer_1=5), manifest)
    hook(bare, "pre-receive", "echo quota exceeded >&2\nexit 1\n")
    with pytest.raises(GitError, match="hook declined"):
        push_versions(store, "origin", [later.blake3])


def test_a_remote_without_atomic_pushes_is_served(store: Store, bare: Path, tmp_path: Path) -> None:
    git(bare, "config", "receive.advertiseAtomic", "false")
    manifest = add(store, model_bytes())
    push_versions(store, "origin", [manifest.blake3])
    assert_whole(bare, tmp_path, manifest, model_bytes())


def test_an_unreachable_remote_is_missing(store: Store, tmp_path: Path) -> None:
    git(top(store), "remote", "set-url", "origin", str(tmp_path / "nowhere.git"))
    with pytest.raises(MissingError, match="cannot be reached"):
        push_versions(store, "origin", [add(store, model_bytes()).blake3])


class TestHeadsAndTagsOnly:
    """A host that refuses refs/lepton gets the same commits under refs/heads/lepton."""

    def test_versions_go_to_heads_at_a_stated_price(self, store: Store, bare: Path, tmp_path: Path) -> None:
        hook(bare, "update", HEADS_AND_TAGS_ONLY)
        one = add(store, model_bytes())
        assert HEADS_PRICE in push_versions(store, "origin", [one.blake3]).notes
        assert refs(bare) == {HEADS.model(one.blake3), HEADS.index(one.blake3)}
        two = add(store, model_bytes(layer_1=5), one)
        assert HEADS_PRICE in push_versions(store, "origin", [two.blake3], dry_run=True).notes
        push_versions(store, "origin", [two.blake3])
        assert_whole(bare, tmp_path, two, model_bytes(layer_1=5))
        assert push_versions(store, "origin", [one.blake3, two.blake3]).pushed == ()

    def test_what_the_probe_found_is_remembered(self, store: Store, bare: Path) -> None:
        push_versions(store, "origin", [add(store, model_bytes()).blake3])
        assert git(top(store), "config", f"lepton.{bare.as_uri()}.refs") == "lepton"
        assert not {r for r in refs(bare) if "probe" in r}

    def test_a_host_that_refuses_both_is_an_error(self, store: Store, bare: Path) -> None:
        hook(bare, "update", "echo read only >&2\nexit 1\n")
        with pytest.raises(GitError, match="accepts neither"):
            push_versions(store, "origin", [add(store, model_bytes()).blake3])


class TestNeeded:
    """What the pre-push hook does."""

    def test_weights_that_nobody_has_are_named_with_their_author(self, store: Store, bare: Path) -> None:
        manifest = add(store, model_bytes())
        commit(store, "models/a b.safetensors", manifest)
        git(top(store), "update-ref", "-d", model_ref(manifest.blake3))
        git(top(store), "update-ref", "-d", index_ref(manifest.blake3))
        needs = NeedFinder(store.repo, store.objects).for_all()
        with pytest.raises(MissingError, match=r"models/a b\.safetensors \(.* bytes, commit [0-9a-f]+ by A U Thor\)"):
            push_needed(store, "origin", needs)

    def test_weights_of_another_remote_are_fetched_first(self, store: Store, bare: Path, tmp_path: Path) -> None:
        data = model_bytes()
        manifest = add(store, data)
        push_versions(store, "origin", [manifest.blake3])
        empty = make_bare(tmp_path / "srv" / "second.git")
        later = clone(tmp_path / "later", origin=bare.as_uri(), backup=empty.as_uri())
        commit(later, "m.safetensors", manifest)
        push_needed(later, "backup", NeedFinder(later.repo, later.objects).for_tree("HEAD"))
        assert_whole(empty, tmp_path, manifest, data)

    def test_the_hook_pushes_what_the_commits_bring(self, store: Store, bare: Path, tmp_path: Path) -> None:
        first = add(store, model_bytes())
        old = commit(store, "m.safetensors", first)
        assert push_for_updates(store, "origin", [update(store, old)]) is not None
        git(top(store), "push", "-q", "origin", "main")
        second = add(store, model_bytes(layer_1=9), first)
        tip = commit(store, "m.safetensors", second)
        git(top(store), "update-ref", "-d", model_ref(first.blake3))  # not needed: the remote has that commit
        report = push_for_updates(store, "origin", [update(store, tip)])
        assert report is not None
        assert report.pushed == (second.blake3,)
        assert_whole(bare, tmp_path, second, model_bytes(layer_1=9))

    def test_old_versions_that_were_pruned_there_do_not_stop_a_new_branch(self, store: Store, bare: Path) -> None:
        first = add(store, model_bytes())
        commit(store, "m.safetensors", first)
        tip = commit(store, "m.safetensors", add(store, model_bytes(layer_1=9), first))
        push_for_updates(store, "origin", [update(store, tip)])
        git(top(store), "push", "-q", "origin", "main")
        for repository in (bare, top(store)):
            for ref in (model_ref(first.blake3), index_ref(first.blake3)):
                git(repository, "update-ref", "-d", ref)
        report = push_for_updates(store, "origin", [update(store, tip)])
        assert report is not None
        assert report.pushed == ()

    def test_a_push_of_code_asks_nobody(self, store: Store, tmp_path: Path) -> None:
        git(top(store), "remote", "set-url", "origin", str(tmp_path / "nowhere.git"))
        (top(store) / "code.py").write_text("print()\n" * 100)
        git(top(store), "add", "code.py")
        git(top(store), "commit", "-q", "-m", "code")
        tip = git(top(store), "rev-parse", "HEAD")
        assert push_for_updates(store, "origin", [update(store, tip)]) is None


def update(store: Store, tip: str) -> RefUpdate:
    return RefUpdate("refs/heads/main", Oid(tip), "refs/heads/main", store.repo.null_oid)


class TestParts:
    """Versions larger than one push."""

    @pytest.fixture
    def large(self, store: Store) -> tuple[Manifest, bytes]:
        git(top(store), "config", PART_SIZE_KEY, "200k")
        store.repo._config.clear()
        data = model_bytes(layers=12, rows=400)
        return add(store, data), data

    def test_each_chunk_is_sent_once_and_nothing_stays(
        self, store: Store, bare: Path, tmp_path: Path, large: tuple[Manifest, bytes]
    ) -> None:
        manifest, data = large
        with Received(bare) as received:
            push_versions(store, "origin", [manifest.blake3])
        stored = store.index(manifest.blake3).stored_bytes
        assert stored > 4 * 200 * 1024
        assert received.bytes < 1.02 * stored + 16_384
        assert refs(bare) == {model_ref(manifest.blake3), index_ref(manifest.blake3)}
        git(bare, "gc", "-q", "--prune=now")
        assert_whole(bare, tmp_path, manifest, data)

    def test_a_killed_push_goes_on_where_it_was(
        self, store: Store, bare: Path, tmp_path: Path, large: tuple[Manifest, bytes]
    ) -> None:
        manifest, data = large
        hook(bare, "post-receive", "sleep 0.3\n")
        code = (
            "import sys; from git_lepton.git.repo import discover; from git_lepton.store.store import Store;"
            "from git_lepton.transfer.push import push_versions; from pathlib import Path;"
            "push_versions(Store(discover(Path(sys.argv[1]))), 'origin', [sys.argv[2]])"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(top(store)), manifest.blake3], start_new_session=True, cwd=Path.cwd()
        )
        for _ in range(500):
            if len(refs(bare, "refs/lepton/tmp")) >= 3:
                break
            time.sleep(0.02)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        arrived = refs(bare, "refs/lepton/tmp")
        assert len(arrived) >= 3
        assert model_ref(manifest.blake3) not in refs(bare)
        (bare / "hooks" / "post-receive").unlink()
        with Received(bare) as received:
            push_versions(store, "origin", [manifest.blake3])
        assert received.bytes < store.index(manifest.blake3).stored_bytes - 2 * 190 * 1024
        assert refs(bare) == {model_ref(manifest.blake3), index_ref(manifest.blake3)}
        assert_whole(bare, tmp_path, manifest, data)

    def test_two_clones_push_the_same_parts_at_once(
        self, store: Store, bare: Path, tmp_path: Path, large: tuple[Manifest, bytes]
    ) -> None:
        manifest, data = large
        hook(bare, "pre-receive", "sleep 0.1\n")
        errors: list[BaseException] = []

        def run() -> None:
            try:
                push_versions(Store(discover(top(store))), "origin", [manifest.blake3])
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert {r for r in refs(bare) if "tmp" not in r} == {model_ref(manifest.blake3), index_ref(manifest.blake3)}
        assert_whole(bare, tmp_path, manifest, data)

    def test_leftovers_of_a_finished_version_go_with_the_next_push(
        self, store: Store, bare: Path, large: tuple[Manifest, bytes]
    ) -> None:
        manifest, _ = large
        push_versions(store, "origin", [manifest.blake3])
        git(bare, "update-ref", f"refs/lepton/tmp/{manifest.blake3}/0007", model_ref(manifest.blake3))
        later = add(store, model_bytes(layers=12, rows=400, layer_1=9), manifest)
        push_versions(store, "origin", [later.blake3])
        assert not {r for r in refs(bare) if "tmp" in r}
