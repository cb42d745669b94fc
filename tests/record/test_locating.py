"""The same identity from a revision, the index and a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_lepton.config.values import ModelSettings
from git_lepton.errors import UsageError
from git_lepton.record import locating
from git_lepton.store.store import Store
from tests.drivers.conftest import Work
from tests.support import model_bytes

SETTINGS = ModelSettings(name="m", root="models/m", files=("*.safetensors", "labels.json"), main="m.safetensors")


def test_a_revision_the_index_and_a_folder_agree(work: Work) -> None:
    files = {"models/m/m.safetensors": model_bytes(), "models/m/labels.json": b'["a"]\n', "models/m/notes.md": b"x\n"}
    work.commit("one", files)
    with Store(work.repo) as store:
        here = locating.at(work.repo, store.objects, SETTINGS)
        assert here == locating.at(work.repo, store.objects, SETTINGS, "HEAD")
        assert [part.manifest is None for part in here.parts] == [True, False]
        assert here.bundle == locating.of_folder(work.folder / "models/m", SETTINGS.files)
        assert here.bundle.size == len(files["models/m/m.safetensors"]) + 6
        assert list(here.versions.values()) == ["m.safetensors"]
        # What is staged counts, not what lies in the work tree.
        work.write("models/m/labels.json", b"[]\n")
        assert locating.at(work.repo, store.objects, SETTINGS) == here
        work.git("add", "-A")
        assert locating.at(work.repo, store.objects, SETTINGS).bundle.hash != here.bundle.hash
        part = locating.part_at(work.repo, store.objects, "models/m/labels.json")
        assert part is not None
        assert part.file.size == 3
        assert locating.part_at(work.repo, store.objects, "models/m") is None


def test_links_do_not_belong_to_a_model(work: Work, tmp_path: Path) -> None:
    work.write("models/m/m.safetensors", model_bytes())
    (work.folder / "models/m/labels.json").symlink_to("/etc/passwd")
    work.git("add", "-A")
    with Store(work.repo) as store, pytest.raises(UsageError, match=r"labels\.json is no ordinary file"):
        locating.at(work.repo, store.objects, SETTINGS)
    with pytest.raises(UsageError, match="no ordinary file"):
        locating.of_folder(work.folder / "models/m")
