"""Weight files of a revision, found by content."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_lepton.errors import ManifestError, UsageError
from git_lepton.git.repo import Repo
from git_lepton.store.manifest import Manifest
from git_lepton.store.source import BytesSource
from git_lepton.store.store import Store
from git_lepton.store.tracked import STAGED, files_at, manifest_at
from tests.support import git, model_bytes


@pytest.fixture
def top(repo: Repo) -> Path:
    assert repo.work_tree is not None
    return repo.work_tree


@pytest.fixture
def manifest(repo: Repo, top: Path) -> Manifest:
    """A commit with two paths of one version, code, an empty file and a link; then another path is staged."""
    with Store(repo) as store:
        manifest = store.add(BytesSource(model_bytes()), "m.safetensors")
    (top / "größe").mkdir()
    for path in ("m.safetensors", "größe/zwei.safetensors"):
        (top / path).write_bytes(manifest.to_bytes())
    (top / "code.py").write_text("print('hello')\n" * 100)
    (top / "empty").touch()
    (top / "link").symlink_to("m.safetensors")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "one")
    (top / "staged.safetensors").write_bytes(manifest.to_bytes())
    git(top, "add", ".")
    return manifest


def test_revision_and_index(repo: Repo, manifest: Manifest) -> None:
    with Store(repo) as store:
        at_head = files_at(repo, store.objects, "HEAD")
        assert [file.path for file in at_head.files] == ["größe/zwei.safetensors", "m.safetensors"]
        assert {file.manifest for file in at_head.files} == {manifest}
        assert at_head.broken == ()
        staged = files_at(repo, store.objects, STAGED)
        assert len(staged.files) == 3
        for rev in ("HEAD", STAGED):
            assert [f.path for f in files_at(repo, store.objects, rev, ["größe"]).files] == ["größe/zwei.safetensors"]
            assert len(files_at(repo, store.objects, rev, ["."]).files) >= 2


def test_conflict_markers_are_told_apart(repo: Repo, top: Path, manifest: Manifest) -> None:
    text = manifest.to_bytes()
    (top / "m.safetensors").write_bytes(text.replace(b"format", b"<<<<<<< ours\nformat"))
    git(top, "add", ".")
    with Store(repo) as store:
        listing = files_at(repo, store.objects, STAGED)
        assert [path for path, _ in listing.broken] == ["m.safetensors"]
        assert len(listing.files) == 2
        with pytest.raises(ManifestError):
            manifest_at(repo, store.objects, STAGED, "m.safetensors")


def test_one_manifest(repo: Repo, top: Path, manifest: Manifest) -> None:
    with Store(repo) as store:
        assert manifest_at(repo, store.objects, "HEAD", "m.safetensors") == manifest
        assert manifest_at(repo, store.objects, STAGED, "staged.safetensors") == manifest
        for rev, path, message in (
            ("HEAD", "staged.safetensors", "not in HEAD"),
            (STAGED, "absent", "not in the index"),
            ("HEAD", "code.py", "ordinary file"),
            ("HEAD", "größe", "is a folder"),
            ("nonsense", "m.safetensors", "unknown revision"),
        ):
            with pytest.raises(UsageError, match=message):
                manifest_at(repo, store.objects, rev, path)


def test_a_large_file_that_is_no_manifest_is_only_peeked_at(repo: Repo, top: Path, manifest: Manifest) -> None:
    (top / "large.bin").write_bytes(b"git-lepto" + bytes(3 << 20))
    git(top, "add", ".")
    with Store(repo) as store:
        assert "large.bin" not in {file.path for file in files_at(repo, store.objects, STAGED).files}
