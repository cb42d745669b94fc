"""Sides: what git would track of a file on disk, and the same bytes from wherever they lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3

from git_lepton.compare.sides import FileOnDisk, FileSide, StoredFile, at_revision, in_index, in_work_tree, of_path
from git_lepton.compare.values import TensorRef
from git_lepton.errors import ChangedError, MissingError, UsageError
from git_lepton.git.repo import Repo
from git_lepton.store.source import FileSource
from git_lepton.store.store import Store
from git_lepton.values import Hash
from tests.support import git, model_bytes, safetensors_bytes, weights


@pytest.fixture
def store(repo: Repo) -> Store:
    return Store(repo)


def track(store: Store, path: str, data: bytes) -> None:
    """Store `data`, stage its manifest, and leave the weights in the work tree, as the filter does."""
    top = store.repo.work_tree
    assert top is not None
    place = top / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    with FileSource(place) as source:
        text = store.add(source, path).to_bytes()
    blob = git(top, "hash-object", "-w", "--stdin", data=text)
    git(top, "update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")


def content(file: FileSide) -> dict[str, bytes]:
    found = {}
    for line in file.manifest.tensors:
        pieces = file.pieces(line)
        parts = [bytes(file.read(line, piece)) for piece in pieces]
        assert [blake3(part).hexdigest() for part in parts] == [piece.hash for piece in pieces]
        assert [piece.stop - piece.start for piece in pieces] == [len(part) for part in parts]
        assert [piece.number for piece in pieces] == list(range(len(pieces)))
        found[line.name] = b"".join(parts)
    return found


BIG = safetensors_bytes(
    {
        "w": ("F32", (1100, 512), weights(1, 1100 * 512)),
        "same": ("F32", (1100, 512), weights(1, 1100 * 512)),
        "b": ("BF16", (7,), weights(2, 7, "BF16")),
        "none": ("F32", (0, 4), b""),
    },
    {"a": "1"},
)


def test_a_file_on_disk_is_what_the_store_makes_of_it(store: Store, tmp_path: Path) -> None:
    track(store, "m.safetensors", BIG)
    staged = in_index(store).files["m.safetensors"]
    disk = FileOnDisk(tmp_path / "repo" / "m.safetensors", "m.safetensors")
    assert isinstance(staged, StoredFile)
    assert disk.manifest == staged.manifest
    assert content(disk) == content(staged)
    assert len(disk.pieces(disk.manifest.tensors[0])) == 2
    assert disk.other() == staged.other() == BIG[: disk.manifest.other_size]
    assert list(disk.extents()) == list(staged.extents()) == [(0, disk.manifest.other_size)]
    for line in disk.manifest.tensors:
        assert list(disk.pieces(line)) == list(staged.pieces(line))


def test_the_work_tree_is_what_git_diff_sees(store: Store, tmp_path: Path) -> None:
    for name in "abcde":
        track(store, f"{name}.safetensors", model_bytes(ord(name)))
    top = tmp_path / "repo"
    staged = in_index(store)
    (top / "b.safetensors").write_bytes(model_bytes(99))
    (top / "c.safetensors").unlink()
    (top / "d.safetensors").write_bytes(staged.files["d.safetensors"].manifest.to_bytes().replace(b"\n", b"\r\n"))
    (top / "e.safetensors").unlink()
    git(top, "update-index", "--skip-worktree", "e.safetensors")
    (top / "untracked.safetensors").write_bytes(model_bytes(5))
    tree = in_work_tree(store.repo, store)
    kinds = {name[0]: type(file) for name, file in tree.files.items()}
    assert kinds == {"a": StoredFile, "b": FileOnDisk, "d": StoredFile, "e": StoredFile}
    assert tree.files["d.safetensors"].manifest == staged.files["d.safetensors"].manifest
    asked: list[Path] = []

    def remember(path: Path) -> Hash:
        asked.append(path)
        return staged.files["a.safetensors"].manifest.blake3

    assert isinstance(in_work_tree(store.repo, store, hash_of=remember).files["a.safetensors"], StoredFile)
    assert list(in_work_tree(store.repo, store, ["b.safetensors"], hash_of=remember).files) == ["b.safetensors"]
    assert top / "a.safetensors" in asked


def test_a_revision_and_paths(store: Store, tmp_path: Path) -> None:
    track(store, "x/a.safetensors", model_bytes(1))
    track(store, "y/b.safetensors", model_bytes(2))
    git(tmp_path / "repo", "commit", "-qm", "one")
    side = at_revision(store, "HEAD", ["x"])
    assert (side.name, list(side.files)) == ("HEAD", ["x/a.safetensors"])
    line = side.files["x/a.safetensors"].manifest.tensors[1]
    ref = TensorRef("x/a.safetensors", line.name, line.dtype, line.shape, line.hash)
    assert side.find(ref) == (side.files["x/a.safetensors"], line)
    with pytest.raises(UsageError):
        at_revision(store, "nowhere")


def test_files_and_folders_outside_git(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "m.safetensors").write_bytes(BIG)
    (folder / "README.md").write_text("words")
    (folder / "empty").write_bytes(b"")
    assert list(of_path(folder).files) == ["sub/m.safetensors"]
    assert of_path(folder).files["sub/m.safetensors"].path == "sub/m.safetensors"
    alone = of_path(folder / "README.md")
    assert list(alone.files) == [""]
    assert alone.files[""].manifest.format == "raw"
    assert alone.files[""].other() == b"words"
    with pytest.raises(UsageError):
        of_path(tmp_path / "nothing")


def test_a_manifest_outside_git_has_structure_only(tmp_path: Path) -> None:
    weights_file = tmp_path / "m.safetensors"
    weights_file.write_bytes(BIG)
    manifest = FileOnDisk(weights_file).manifest
    weights_file.write_bytes(manifest.to_bytes())
    file = of_path(weights_file).files[""]
    assert file.manifest == manifest
    for ask in (file.other, file.extents, lambda: file.pieces(manifest.tensors[0])):
        with pytest.raises(MissingError):
            ask()


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    place = tmp_path / "m.safetensors"
    place.write_bytes(BIG)
    file = FileOnDisk(place)
    line = file.manifest.tensors[0]
    os.utime(place, ns=(1, 1))
    with pytest.raises(ChangedError):
        file.read(line, file.pieces(line)[0])
    with pytest.raises(ChangedError):
        file.other()


def test_huge_other_bytes_are_not_read(tmp_path: Path) -> None:
    place = tmp_path / "blob.bin"
    with place.open("wb") as out:
        out.truncate((256 << 20) + 1)
    with pytest.raises(UsageError):
        FileOnDisk(place).other()
