"""The gate's workspace: bundles out of git, nothing else, and nothing left behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from git_lepton.config.values import ModelSettings
from git_lepton.errors import MissingError
from git_lepton.gate.workspace import Workspace, sweep
from git_lepton.record import locating
from git_lepton.record.bundle import BundleFile, make
from git_lepton.store.store import Store
from tests.drivers.conftest import Work
from tests.support import git, model_bytes

SETTINGS = ModelSettings("m", "models/m", ("*.safetensors", "sub/*.json"), "m.safetensors")
FILES = {"models/m/m.safetensors": model_bytes(), "models/m/sub/labels.json": b"[]\n"}


def test_a_bundle_is_written_from_git_and_gone_in_the_end(work: Work) -> None:
    work.commit("one", FILES)
    work.write("models/m/sub/labels.json", b"other\n")
    with Store(work.repo) as store:
        located = locating.at(work.repo, store.objects, SETTINGS)
        with Workspace(store) as space:
            folder = space.bundle(located, SETTINGS.main)
            assert locating.of_folder(folder.path) == located.bundle
            assert (folder.bundle, folder.main) == (located.bundle.hash, "m.safetensors")
            assert space.bundle(located, ".").path == folder.path
            part = locating.part_at(work.repo, store.objects, "models/m/m.safetensors")
            assert part is not None
            data = space.data(part)
            assert (data.path.name, data.path.read_bytes()) == ("m.safetensors", FILES["models/m/m.safetensors"])
            # A variant shares what it does not replace, and has its own files out of the store.
            changed = next(part.file for part in located.parts if part.manifest is not None)
            derived = make([changed, BundleFile("again.safetensors", 0o100755, changed.size, changed.blake3)])
            whole = space.variant(derived, "again.safetensors", located)
            assert locating.of_folder(whole.path) == derived
            assert folder.path.is_relative_to(work.repo.lepton_dir)
        assert list((work.repo.lepton_dir / "gate").iterdir()) == []
    assert work.read("models/m/sub/labels.json") == b"other\n"


def test_weights_that_are_elsewhere_are_brought_or_named(work: Work, make: Callable[..., Work], tmp_path: Path) -> None:
    work.commit("one", FILES)
    bare = tmp_path / "remote.git"
    git(tmp_path, "init", "-q", "--bare", str(bare))
    work.git("push", "-q", str(bare), "main", "refs/lepton/*:refs/lepton/*")
    copy = make("copy", clone=bare, options=("--no-checkout",))
    with Store(copy.repo) as store, Workspace(store) as space:
        located = locating.at(copy.repo, store.objects, SETTINGS, "HEAD")
        assert locating.of_folder(space.bundle(located, ".").path) == located.bundle
    git(bare, "for-each-ref", "--format=delete %(refname)", "refs/lepton")
    lost = make("lost", clone=bare, options=("--no-checkout",))
    lost.git("remote", "remove", "origin")
    with Store(lost.repo) as store, Workspace(store) as space, pytest.raises(MissingError, match=r"m\.safetensors"):
        space.bundle(locating.at(lost.repo, store.objects, SETTINGS, "HEAD"), ".")


def test_room_is_asked_for_before_anything_is_written(work: Work) -> None:
    with Store(work.repo) as store, Workspace(store) as space:
        space.reserve(1)
        with pytest.raises(OSError, match="MiB free here") as caught:
            space.reserve(1 << 60)
    assert caught.value.filename is not None


def test_folders_of_dead_processes_are_swept(tmp_path: Path) -> None:
    code = "from git_lepton import atomic; print(atomic.owned_name())"
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    for name in (dead, "somebody else's"):
        (tmp_path / name / "model").mkdir(parents=True)
    sweep(tmp_path)
    sweep(tmp_path / "not there")
    assert [path.name for path in tmp_path.iterdir()] == ["somebody else's"]


def test_the_work_tree_serves_where_it_has_the_very_bytes(work: Work) -> None:
    work.commit("one", FILES)
    path, good = "models/m/m.safetensors", FILES["models/m/m.safetensors"]
    with Store(work.repo) as store:
        located = locating.at(work.repo, store.objects, SETTINGS)
        part = locating.part_at(work.repo, store.objects, path)
        assert part is not None
        other = bytes([good[0], good[1] ^ 1]) + good[2:]
        for held in (good, other, good[:-1], None):
            (work.folder / path).unlink(missing_ok=True)
            if held is not None:
                work.write(path, held)
            with Workspace(store) as space:
                folder = space.bundle(located, SETTINGS.main, root=SETTINGS.root)
                assert locating.of_folder(folder.path) == located.bundle
                assert space.data(part).path.read_bytes() == good
    work.write(path, good)
    work.forget()
    with Store(work.repo) as store, Workspace(store) as space, pytest.raises(MissingError):
        space.bundle(located, SETTINGS.main, root=SETTINGS.root)  # what is judged must be stored all the same


def test_a_promise_is_kept_when_it_is_asked_for(work: Work) -> None:
    work.commit("one", FILES)
    with Store(work.repo) as store, Workspace(store) as space:
        located = locating.at(work.repo, store.objects, SETTINGS)
        folder = space.promise(located, SETTINGS.main)
        assert list(folder.path.iterdir()) == []
        assert space.promise(located, SETTINGS.main) == folder
        space.fill(folder)
        assert locating.of_folder(folder.path) == located.bundle
