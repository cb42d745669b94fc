"""Estimates, documented limits of hosts, and addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_lepton.store.store import Store
from git_lepton.transfer.cost import estimate, total, warnings
from git_lepton.transfer.remotes import host_of, push_url
from tests.support import git, model_bytes
from tests.transfer.kit import add, clone, top


@pytest.fixture
def store(tmp_path: Path, env: dict[str, str]) -> Store:
    return clone(tmp_path / "work", origin="git@github.com:team/models.git")


def test_shared_chunks_are_counted_once(store: Store) -> None:
    one = add(store, model_bytes(rows=300))
    two = add(store, model_bytes(rows=300, layer_1=9), one)
    indexes = [store.index(m.blake3) for m in (one, two)]
    both = estimate(indexes, ())
    assert both.versions == 2
    assert both.raw_bytes == one.size + two.size
    assert both.bytes < estimate(indexes[:1], ()).bytes * 1.5
    known = {c.oid for c in indexes[0].chunks}
    assert total([estimate(indexes[:1], ()), estimate(indexes[1:], known)]) == both


def test_limits_of_known_hosts(store: Store) -> None:
    assert warnings(store.repo, "origin", 1 << 30, 5 << 30) == ()
    (push,) = warnings(store.repo, "origin", 3 << 30, 5 << 30)
    assert "github.com refuses pushes above 2.0 GiB" in push
    (repository,) = warnings(store.repo, "origin", 1 << 30, 20 << 30)
    assert "20.0 GiB" in repository
    assert warnings(store.repo, "https://git.example.com/x", 1 << 50, 1 << 50) == ()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://user@GitHub.com:443/a/b", "github.com"),
        ("ssh://git@gitlab.com/a", "gitlab.com"),
        ("git@bitbucket.org:a/b", "bitbucket.org"),
        ("file:///srv/x", None),
        ("/srv/x", None),
        ("../x", None),
        ("https://[bad/x", None),
    ],
)
def test_hosts(url: str, host: str | None) -> None:
    assert host_of(url) == host


def test_the_push_address_counts(store: Store) -> None:
    git(top(store), "config", "remote.origin.pushurl", "https://gitlab.com/a/b")
    assert push_url(store.repo, "origin") == "https://gitlab.com/a/b"
    assert push_url(store.repo, "/elsewhere") == "/elsewhere"
