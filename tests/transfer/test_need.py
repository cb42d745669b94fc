"""Manifests are found in what a push brings, whatever attributes say, and nothing else is read whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_lepton.errors import UsageError
from git_lepton.store.manifest import Manifest
from git_lepton.store.store import Store
from git_lepton.transfer.need import NeedFinder, RefUpdate, origin, parse_updates
from git_lepton.values import Hash, Oid
from tests.support import git
from tests.transfer.kit import clone, commit, top


def manifest(number: int, size: int = 10) -> Manifest:
    return Manifest("raw", size, Hash(f"{number:064x}"), Hash("0" * 64), size, ())


@pytest.fixture
def store(tmp_path: Path, env: dict[str, str]) -> Store:
    return clone(tmp_path / "work")


@pytest.fixture
def finder(store: Store) -> NeedFinder:
    return NeedFinder(store.repo, store.objects)


def update(local: str, remote: str | None = None, ref: str = "refs/heads/main") -> RefUpdate:
    return RefUpdate(ref, Oid(local), ref, Oid(remote or "0" * 40))


def test_a_push_needs_what_its_commits_bring(store: Store, finder: NeedFinder) -> None:
    first = commit(store, "a.bin", manifest(1))
    second = commit(store, "b/c d.bin", manifest(2, 77))
    needs = finder.for_updates([update(second, first)])
    assert set(needs) == {manifest(2).blake3}
    (need,) = needs[manifest(2).blake3]
    assert (need.path, need.size) == ("b/c d.bin", 77)
    assert set(finder.for_updates([update(second)])) == {manifest(1).blake3, manifest(2).blake3}


def test_what_the_remote_advertises_is_left_out(store: Store, finder: NeedFinder) -> None:
    first = commit(store, "a.bin", manifest(1))
    second = commit(store, "a.bin", manifest(2))
    unknown = Oid("12" * 20)
    assert set(finder.for_updates([update(second)], [Oid(first), unknown])) == {manifest(2).blake3}


def test_deletions_and_our_own_refs_need_nothing(store: Store, finder: NeedFinder) -> None:
    tip = commit(store, "a.bin", manifest(1))
    assert finder.for_updates([update("0" * 40, tip), update(tip, ref="refs/lepton/models/x")]) == {}


def test_every_version_in_between_counts_and_merges_too(store: Store, finder: NeedFinder) -> None:
    base = commit(store, "a.bin", manifest(1))
    git(top(store), "switch", "-q", "-c", "side")
    commit(store, "side.bin", manifest(2))
    commit(store, "side.bin", manifest(3))
    git(top(store), "switch", "-q", "main")
    commit(store, "main.bin", manifest(4))
    git(top(store), "merge", "-q", "--no-commit", "side")
    (top(store) / "evil.bin").write_bytes(manifest(5).to_bytes())
    git(top(store), "add", "evil.bin")
    git(top(store), "commit", "-q", "-m", "merge")
    tip = git(top(store), "rev-parse", "HEAD")
    assert set(finder.for_updates([update(tip, base)])) == {manifest(n).blake3 for n in (2, 3, 4, 5)}


def test_all_refs_and_a_detached_head(store: Store, finder: NeedFinder) -> None:
    assert finder.for_all() == {}
    commit(store, "a.bin", manifest(1))
    git(top(store), "tag", "-a", "-m", "x", "v1")
    git(top(store), "switch", "-q", "--detach")
    commit(store, "a.bin", manifest(2))
    assert set(finder.for_all()) == {manifest(1).blake3, manifest(2).blake3}
    assert set(finder.for_tree("HEAD")) == {manifest(2).blake3}
    assert set(finder.for_history(["v1"])) == {manifest(1).blake3}
    with pytest.raises(UsageError):
        finder.for_tree("nowhere")


def test_text_that_only_begins_like_a_manifest_names_nothing(store: Store, finder: NeedFinder) -> None:
    broken = manifest(1).to_bytes().replace(b"size 10", b"size 11")
    for name, data in {"broken": broken, "prose": b"git-lepton is a tool\n" * 50, "large": b"x" * (3 << 20)}.items():
        (top(store) / name).write_bytes(data)
    (top(store) / "large-liar").write_bytes(b"git-lepton " + b"x" * (3 << 20))
    git(top(store), "add", ".")
    commit(store, "real", manifest(2))
    assert set(finder.for_all()) == {manifest(2).blake3}


def test_paths_that_are_not_utf_8(store: Store, finder: NeedFinder) -> None:
    name = os.fsdecode(b"m\xff\n.bin")
    commit(store, name, manifest(1))
    assert finder.for_all()[manifest(1).blake3][0].path == name


def test_who_brought_a_manifest(store: Store, finder: NeedFinder) -> None:
    commit(store, "first", manifest(1))
    brought = commit(store, "b.bin", manifest(2))
    commit(store, "last", manifest(3))
    found = origin(store.repo, finder.for_all()[manifest(2).blake3][0])
    assert found is not None
    assert brought.startswith(found.commit)
    assert found.author == "A U Thor"


def test_the_hooks_lines() -> None:
    one, two = "1" * 40, "2" * 40
    assert parse_updates(f"refs/heads/a {one} refs/heads/b {two}\n(delete) {'0' * 40} refs/x {one}\n".encode()) == [
        RefUpdate("refs/heads/a", Oid(one), "refs/heads/b", Oid(two)),
        RefUpdate("(delete)", Oid("0" * 40), "refs/x", Oid(one)),
    ]
    for bad in (b"a b c\n", b"a HEAD b HEAD\n", b"\xff\n"):
        with pytest.raises(UsageError):
            parse_updates(bad)
