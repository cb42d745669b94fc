"""Versions travel whole and exactly, with only what is new on the wire, over every transport of git."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from git_lepton.errors import LeptonError
from git_lepton.git.repo import discover
from git_lepton.store.manifest import Manifest
from git_lepton.store.store import Store
from git_lepton.transfer.fetch import bring
from git_lepton.transfer.places import advertised
from git_lepton.transfer.push import push_versions
from tests.support import git, model_bytes
from tests.transfer.kit import Received, add, clone, restored
from tests.transfer.servers import TRANSPORTS, Server, make_bare, transport

LAYERS = 24
FIXED = 7 + 3
"""Objects of a version beside a blob and a tree for each new tensor: W, O, I, the index and three trees; and what
receive-pack adds to complete a thin pack: the index and two trees that these are deltas of."""


@pytest.fixture(params=TRANSPORTS)
def server(
    request: pytest.FixtureRequest, tmp_path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    with transport(request.param, tmp_path / "srv") as opened:
        for name, value in opened.env.items():
            monkeypatch.setenv(name, value)
        yield opened


def new_bytes(store: Store, manifest: Manifest, *earlier: Manifest) -> int:
    known = {c.oid for m in earlier for c in store.index(m.blake3).chunks}
    return sum({c.oid: c.stored_length for c in store.index(manifest.blake3).chunks if c.oid not in known}.values())


def test_versions_go_round_with_new_objects_only(server: Server, tmp_path: Path) -> None:
    bare = make_bare(server.root / "code.git")
    first = clone(tmp_path / "first", origin=server.url(bare))
    one = add(first, model_bytes(layers=LAYERS, rows=200))
    report = push_versions(first, "origin", [one.blake3])
    assert report.pushed == (one.blake3,)
    assert report.present == ()
    assert report.missing == {}

    data = model_bytes(layers=LAYERS, rows=200, layer_3=99, layer_4=98)
    two = add(first, data, one)
    with Received(bare) as received:
        push_versions(first, "origin", [two.blake3])
    assert received.objects <= 2 * 2 + FIXED
    assert received.bytes <= 1.01 * new_bytes(first, two, one) + 16_384

    second = clone(tmp_path / "second", origin=server.url(bare))
    fetched = bring(second, [two.blake3])
    assert fetched.missing == {}
    assert fetched.brought == (two.blake3,)
    assert restored(second, two.blake3) == data
    assert not second.has(one.blake3)
    git(tmp_path / "second", "gc", "-q", "--prune=now")
    git(tmp_path / "second", "fsck", "--strict")

    # W of `two` is another commit here, since O of `one` is not here: git must still not send it all again
    same = second.wrap_of(two.blake3) == advertised(second.repo, "origin").pair(two.blake3).model
    assert same == (not server.by_object)
    three = add(second, model_bytes(layers=LAYERS, rows=200, layer_3=99, layer_4=98, layer_5=97), two)
    with Received(bare) as received:
        push_versions(second, "origin", [three.blake3])
    assert received.objects <= 1 * 2 + FIXED
    assert received.bytes <= 1.01 * new_bytes(second, three, two) + 16_384

    assert bring(first, [three.blake3]).bytes <= new_bytes(first, three, one, two) + 1.01 * 16_384
    assert restored(first, three.blake3) == restored(second, three.blake3)
    assert push_versions(first, "origin", [one.blake3, two.blake3, three.blake3]).pushed == ()
    git(bare, "fsck", "--strict")


def test_repositories_of_sha_256(tmp_path: Path, env: dict[str, str]) -> None:
    bare = make_bare(tmp_path / "srv" / "code.git", object_format="sha256")
    stores = []
    for name in ("first", "second"):
        git(tmp_path, "init", "-q", "--object-format=sha256", name)
        git(tmp_path / name, "remote", "add", "origin", bare.as_uri())
        stores.append(Store(discover(tmp_path / name)))
    one = add(stores[0], model_bytes())
    two = add(stores[0], model_bytes(layer_1=9), one)
    push_versions(stores[0], "origin", [one.blake3, two.blake3])
    assert bring(stores[1], [two.blake3]).missing == {}
    assert restored(stores[1], two.blake3) == model_bytes(layer_1=9)
    three = add(stores[1], model_bytes(layer_1=8), two)
    push_versions(stores[1], "origin", [three.blake3])
    git(bare, "fsck", "--strict")


def test_an_object_format_that_differs_is_refused(tmp_path: Path, env: dict[str, str]) -> None:
    bare = make_bare(tmp_path / "srv" / "code.git", object_format="sha256")
    store = clone(tmp_path / "work", origin=bare.as_uri())
    with pytest.raises(LeptonError):
        push_versions(store, "origin", [add(store, model_bytes()).blake3])
