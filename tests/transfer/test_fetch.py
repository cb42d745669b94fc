"""Bringing versions: partial presence, broken transfers, damaged and incomplete remotes, forks, single tensors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from git_lepton.errors import MissingError, UsageError
from git_lepton.git.remote import fetch_oids
from git_lepton.git.repo import discover
from git_lepton.store.manifest import Manifest
from git_lepton.store.names import index_ref, model_ref
from git_lepton.store.store import Store
from git_lepton.transfer import fetch, remotes
from git_lepton.transfer.fetch import bring, bring_indexes, bring_or_fail, bring_streams
from git_lepton.transfer.places import HEADS
from git_lepton.transfer.push import push_versions
from git_lepton.values import Hash, Oid
from tests.support import git, model_bytes
from tests.transfer.kit import Received, add, clone, commit, restored, top
from tests.transfer.servers import http_server, make_bare, packs

DATA = model_bytes(layers=6, rows=300)


@pytest.fixture
def manifest(tmp_path: Path, bare: Path) -> Manifest:
    """A version on `bare`, pushed from the clone `author`."""
    author = clone(tmp_path / "author", origin=bare.as_uri())
    made = add(author, DATA)
    push_versions(author, "origin", [made.blake3])
    return made


def chunks(store: Store, manifest: Manifest) -> list[Oid]:
    return list(dict.fromkeys(c.oid for c in store.index(manifest.blake3).chunks))


def lose(bare: Path, oid: Oid) -> None:
    """Make a server lose an object: its pack is unpacked and the object's file deleted."""
    for pack in packs(bare):
        data = pack.read_bytes()
        for suffix in (".idx", ".pack", ".rev", ".keep"):
            pack.with_suffix(suffix).unlink(missing_ok=True)
        git(bare, "unpack-objects", "-q", data=data)
    (bare / "objects" / oid[:2] / oid[2:]).unlink()


def test_a_version_that_is_stored_costs_no_connection(store: Store, tmp_path: Path) -> None:
    manifest = add(store, DATA)
    git(top(store), "remote", "set-url", "origin", str(tmp_path / "nowhere.git"))
    assert bring(store, [manifest.blake3]).missing == {}


def test_what_is_not_there_is_reported_by_remote(store: Store, manifest: Manifest, tmp_path: Path) -> None:
    git(top(store), "remote", "add", "gone", str(tmp_path / "gone.git"))
    absent = Hash("0" * 64)
    report = bring(store, [manifest.blake3, absent])
    assert report.brought == (manifest.blake3,)
    why = report.missing[absent]
    assert "origin: never pushed there" in why
    assert "gone: remote gone cannot be reached" in why
    with pytest.raises(MissingError, match=r"big\.safetensors \(version 000000000000\)") as caught:
        bring_or_fail(store, {absent: "big.safetensors"})
    assert caught.value.exit_code == 8


def test_a_repository_without_remotes_says_so(repo_without_remote: Store) -> None:
    assert list(bring(repo_without_remote, [Hash("1" * 64)]).missing.values()) == ["no remote to ask"]


@pytest.fixture
def repo_without_remote(tmp_path: Path, env: dict[str, str]) -> Store:
    return clone(tmp_path / "alone")


def test_chunks_that_arrived_before_are_not_fetched_again(store: Store, manifest: Manifest, bare: Path) -> None:
    bring_indexes(store, [manifest.blake3])
    some = chunks(store, manifest)[:4]
    fetch_oids(store.repo, "origin", some)
    sizes = {c.oid: c.stored_length for c in store.index(manifest.blake3).chunks}
    report = bring(store, [manifest.blake3])
    assert report.bytes == sum(sizes.values()) - sum(sizes[oid] for oid in some)
    assert restored(store, manifest.blake3) == DATA


def test_a_version_whose_chunks_are_all_here_needs_no_remote(store: Store, manifest: Manifest) -> None:
    bring_indexes(store, [manifest.blake3])
    fetch_oids(store.repo, "origin", chunks(store, manifest))
    git(top(store), "remote", "remove", "origin")
    assert bring(store, [manifest.blake3]).brought == (manifest.blake3,)
    assert restored(store, manifest.blake3) == DATA


def test_large_versions_come_in_groups_and_keep_what_arrived(
    store: Store, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "GROUP_BYTES", 100_000)
    calls: list[int] = []
    real = fetch_oids

    def cut_off(repo: object, remote: str, oids: list[Oid]) -> None:
        if len(calls) == 3:
            raise MissingError("the line was cut")
        calls.append(len(oids))
        real(store.repo, remote, oids)

    monkeypatch.setattr(fetch, "fetch_oids", cut_off)
    assert "the line was cut" in bring(store, [manifest.blake3]).missing[manifest.blake3]
    assert not store.has(manifest.blake3)
    bring_indexes(store, [manifest.blake3])
    left = len(store.missing(store.index(manifest.blake3)))
    assert left == len(chunks(store, manifest)) - sum(calls)
    calls.clear()
    monkeypatch.setattr(fetch, "fetch_oids", real)
    assert bring(store, [manifest.blake3]).brought == (manifest.blake3,)
    assert restored(store, manifest.blake3) == DATA


def test_a_killed_fetch_leaves_a_sound_repository(store: Store, manifest: Manifest, tmp_path: Path) -> None:
    code = (
        "import sys; from git_lepton.git.repo import discover; from git_lepton.store.store import Store;"
        "from git_lepton.transfer import fetch; from pathlib import Path; fetch.GROUP_BYTES = 60_000;"
        "fetch.bring(Store(discover(Path(sys.argv[1]))), [sys.argv[2]])"
    )
    command = [sys.executable, "-c", code, str(top(store)), manifest.blake3]
    child = subprocess.Popen(command, start_new_session=True, cwd=Path.cwd())
    pack_folder = store.repo.common_dir / "objects" / "pack"
    for _ in range(500):
        if len(list(pack_folder.glob("*.idx"))) >= 3:
            break
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    git(top(store), "fsck", "--connectivity-only")
    fresh = Store(store.repo)
    assert bring(fresh, [manifest.blake3]).missing == {}
    assert restored(fresh, manifest.blake3) == DATA
    git(top(store), "gc", "-q", "--prune=now")


class TestDamagedRemotes:
    def test_a_lost_chunk_is_named_and_other_versions_still_come(
        self, store: Store, manifest: Manifest, bare: Path, tmp_path: Path
    ) -> None:
        author = clone(tmp_path / "again", origin=bare.as_uri())
        other = add(author, model_bytes(seed=9, layers=2))
        push_versions(author, "origin", [other.blake3])
        bring_indexes(store, [manifest.blake3])
        gone = chunks(store, manifest)[2]
        lose(bare, gone)
        report = bring(store, [manifest.blake3, other.blake3])
        assert report.brought == (other.blake3,)
        assert gone in report.missing[manifest.blake3]

    def test_the_next_remote_gives_what_the_first_has_lost(
        self, store: Store, manifest: Manifest, bare: Path, tmp_path: Path
    ) -> None:
        backup = make_bare(tmp_path / "srv" / "backup.git")
        author = clone(tmp_path / "y", origin=bare.as_uri(), backup=backup.as_uri())
        bring(author, [manifest.blake3])
        push_versions(author, "backup", [manifest.blake3])
        lose(bare, chunks(author, manifest)[0])
        git(top(store), "remote", "add", "backup", backup.as_uri())
        assert bring(store, [manifest.blake3]).missing == {}
        assert restored(store, manifest.blake3) == DATA

    def test_a_remote_without_the_index_serves_by_ref(self, store: Store, manifest: Manifest, bare: Path) -> None:
        git(bare, "update-ref", "-d", index_ref(manifest.blake3))
        assert bring(store, [manifest.blake3]).brought == (manifest.blake3,)
        assert store.index_commit_of(manifest.blake3) is not None
        assert restored(store, manifest.blake3) == DATA

    def test_an_index_that_is_none_falls_back_to_the_version_itself(
        self, store: Store, manifest: Manifest, bare: Path
    ) -> None:
        blob = git(bare, "hash-object", "-w", "--stdin", data=b"LPIX nonsense")
        tree = git(bare, "mktree", data=f"100644 blob {blob}\tindex\n".encode())
        made = git(bare, "-c", "user.name=x", "-c", "user.email=x", "commit-tree", tree, "-m", "x")
        git(bare, "update-ref", index_ref(manifest.blake3), made)
        assert bring(store, [manifest.blake3]).brought == (manifest.blake3,)
        assert restored(store, manifest.blake3) == DATA

    def test_another_versions_refs_are_refused(
        self, store: Store, manifest: Manifest, bare: Path, tmp_path: Path
    ) -> None:
        fake = Hash("f" * 64)
        for ref in (model_ref, index_ref):
            git(bare, "update-ref", ref(fake), ref(manifest.blake3))
        report = bring(store, [fake])
        assert report.brought == ()
        assert "another version" in report.missing[fake]
        assert not store.has(fake)


class TestForks:
    def test_an_index_here_and_the_chunks_there(
        self, store: Store, manifest: Manifest, bare: Path, tmp_path: Path
    ) -> None:
        """A fork got the index, the weights are in the repository it was forked from."""
        fork = make_bare(tmp_path / "srv" / "fork.git")
        git(bare, "push", "-q", fork.as_uri(), index_ref(manifest.blake3))
        git(top(store), "remote", "set-url", "origin", fork.as_uri())
        git(top(store), "remote", "add", "upstream", bare.as_uri())
        assert bring(store, [manifest.blake3]).brought == (manifest.blake3,)

    def test_the_upstream_of_the_branch_is_asked_first(self, store: Store, tmp_path: Path) -> None:
        for name in ("aaa", "zzz"):
            git(top(store), "remote", "add", name, str(tmp_path))
        assert remotes.candidates(store.repo) == ["origin", "aaa", "zzz"]
        git(top(store), "config", "branch.main.remote", "zzz")
        store.repo._config.clear()
        assert remotes.candidates(store.repo) == ["zzz", "origin", "aaa"]

    def test_any_address_can_be_asked(self, store: Store, manifest: Manifest, bare: Path) -> None:
        git(top(store), "remote", "remove", "origin")
        assert bring(store, [manifest.blake3], remotes=[bare.as_uri()]).brought == (manifest.blake3,)

    def test_versions_under_heads_are_found(self, store: Store, manifest: Manifest, bare: Path) -> None:
        for there, ours in ((HEADS.model, model_ref), (HEADS.index, index_ref)):
            git(bare, "update-ref", there(manifest.blake3), ours(manifest.blake3))
            git(bare, "update-ref", "-d", ours(manifest.blake3))
        assert bring(store, [manifest.blake3]).brought == (manifest.blake3,)


class TestParts:
    def test_an_index_alone_makes_no_version(self, store: Store, manifest: Manifest) -> None:
        report = bring_indexes(store, [manifest.blake3])
        assert report.brought == (manifest.blake3,)
        assert not store.has(manifest.blake3)
        assert store.index(manifest.blake3).size == len(DATA)
        assert bring_indexes(store, [manifest.blake3]).bytes == 0

    def test_one_tensor_is_fetched_alone(self, store: Store, manifest: Manifest) -> None:
        wanted = manifest.tensors[3].hash
        sent = bring_streams(store, manifest.blake3, [wanted])
        assert 0 < sent < len(DATA) / 5
        at = DATA.index(store.read_stream(manifest.blake3, wanted))
        assert at > 0
        assert bring_streams(store, manifest.blake3, [wanted]) == 0
        assert not store.has(manifest.blake3)
        git(top(store), "fsck")

    def test_a_delta_comes_with_its_bases(self, store: Store, bare: Path, tmp_path: Path, env: dict[str, str]) -> None:
        author = clone(tmp_path / "author", origin=bare.as_uri())
        base = model_bytes(rows=300)
        tuned = bytearray(base)
        for at in range(len(base) - 60_000, len(base), 4):
            tuned[at] ^= 1
        two = add(author, bytes(tuned), add(author, base))
        index = author.index(two.blake3)
        assert index.bases
        push_versions(author, "origin", [two.blake3])
        bring_streams(store, two.blake3, [two.tensors[2].hash])
        data = store.read_stream(two.blake3, two.tensors[2].hash)
        assert bytes(tuned).endswith(data)

    def test_version_0_brings_all_of_it(self, manifest: Manifest, tmp_path: Path) -> None:
        with http_server(tmp_path / "srv", forward_protocol=False) as server:
            store = clone(tmp_path / "old", origin=server.url(tmp_path / "srv" / "code.git"))
            assert bring_streams(store, manifest.blake3, [manifest.tensors[0].hash]) > 0
            assert restored(store, manifest.blake3) == DATA


class TestStoreUrl:
    """`[store] url` names another repository for the weights."""

    @pytest.fixture
    def weights(self, tmp_path: Path, store: Store) -> Path:
        made = make_bare(tmp_path / "srv" / "weights.git")
        (top(store) / "lepton.toml").write_text(f'[store]\nurl = "{made.as_uri()}"\n')
        return made

    def test_it_counts_only_after_it_was_confirmed(self, store: Store, weights: Path) -> None:
        assert remotes.candidates(store.repo) == ["origin"]
        missing = bring(store, [Hash("1" * 64)]).missing
        assert "was not confirmed here: git config lepton.storeUrl file://" in missing[Hash("1" * 64)]
        with pytest.raises(UsageError, match="was not confirmed"):
            remotes.store_remote(store.repo, "origin")
        remotes.confirm(store.repo, weights.as_uri())
        assert remotes.candidates(store.repo) == [weights.as_uri(), "origin"]
        assert remotes.store_remote(store.repo, "origin") == weights.as_uri()

    def test_weights_go_there_and_come_from_there(
        self, store: Store, weights: Path, bare: Path, tmp_path: Path
    ) -> None:
        remotes.confirm(store.repo, weights.as_uri())
        manifest = add(store, DATA)
        with Received(bare) as code:
            push_versions(store, remotes.store_remote(store.repo, "origin"), [manifest.blake3])
        assert code.objects == 0
        later = clone(tmp_path / "later", origin=bare.as_uri())
        git(top(store), "add", "lepton.toml")
        git(top(store), "commit", "-q", "-m", "settings")
        git(top(store), "push", "-q", "origin", "main")
        git(top(later), "pull", "-q", "origin", "main")
        (top(later) / "lepton.toml").unlink()  # as while a clone is being checked out: HEAD has it
        remotes.confirm(later.repo, weights.as_uri())
        assert bring(later, [manifest.blake3]).brought == (manifest.blake3,)


@pytest.mark.parametrize("option", ["--depth=1", "--filter=blob:none", "--no-checkout", "--bare"])
def test_every_kind_of_clone_gets_and_gives_versions(
    store: Store, manifest: Manifest, bare: Path, tmp_path: Path, option: str
) -> None:
    git(bare, "config", "uploadpack.allowFilter", "true")
    for n in range(2):
        commit(store, f"m{n}.safetensors", manifest)
    git(top(store), "push", "-q", "origin", "main")
    git(tmp_path, "clone", "-q", option, bare.as_uri(), "kind")
    kind = Store(discover(tmp_path / "kind"))
    assert bring(kind, [manifest.blake3]).brought == (manifest.blake3,)
    assert restored(kind, manifest.blake3) == DATA
    later = add(kind, model_bytes(layers=6, rows=300, layer_2=77), manifest)
    with Received(bare) as received:
        push_versions(kind, "origin", [later.blake3])
    assert received.bytes < 100_000
    git(tmp_path / "kind", "gc", "-q", "--prune=now")
    assert restored(Store(kind.repo), manifest.blake3) == DATA
