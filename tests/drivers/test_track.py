"""`.gitattributes`: tracking patterns, and what is committed under other terms."""

from __future__ import annotations

import pytest

from git_lepton.drivers.track import collisions, raw_paths, renormalise, track, tracked_patterns, untrack
from git_lepton.errors import UsageError
from git_lepton.store import manifest
from tests.drivers.conftest import Work
from tests.support import model_bytes

LINE = "*.pt filter=lepton diff=lepton merge=lepton -text\n"


def test_a_pattern_gets_one_line(work: Work) -> None:
    path = work.folder / ".gitattributes"
    path.unlink()
    with work.store() as store:
        assert track(work.repo, store, ["*.pt", "my model.bin"], work.folder).changed == ("*.pt", "my model.bin")
        assert track(work.repo, store, ["*.pt"], work.folder).unchanged == ("*.pt",)
        assert path.read_text() == LINE + '"my model.bin" filter=lepton diff=lepton merge=lepton -text\n'
        with pytest.raises(UsageError):
            track(work.repo, store, ["*.onnx", "folder/"], work.folder)
        assert path.read_text().count("\n") == 2
        assert tracked_patterns(work.repo) == [(".gitattributes", "*.pt"), (".gitattributes", "my model.bin")]
        assert untrack(work.repo, store, ["*.pt", "none"], work.folder).unchanged == ("none",)
        untrack(work.repo, store, ["my model.bin"], work.folder)
    assert not path.exists()


def test_the_last_pattern_of_a_staged_file_counts_at_once(work: Work, model: bytes) -> None:
    work.write(".gitattributes", LINE.encode())
    work.commit("one", {"a.pt": model})
    with work.store() as store:
        assert untrack(work.repo, store, ["*.pt"], work.folder).to_convert == ("a.pt",)
        renormalise(work.repo, ["a.pt"])
    assert work.blob("a.pt") == model
    assert work.read(".gitattributes") == b""


def test_a_folder_has_a_file_of_its_own(work: Work) -> None:
    folder = work.folder / "models"
    folder.mkdir()
    with work.store() as store:
        track(work.repo, store, ["*.pt"], folder)
    assert (folder / ".gitattributes").read_text() == LINE
    assert ("models/.gitattributes", "*.pt") in tracked_patterns(work.repo)


def test_files_that_were_committed_raw_are_named_and_converted(work: Work, model: bytes) -> None:
    work.write(".gitattributes", b"")
    work.commit("raw", {"a.safetensors": model, "b c.safetensors": model_bytes(layer_0=4), "e.safetensors": b""})
    with work.store() as store:
        report = track(work.repo, store, ["*.safetensors"], work.folder)
        assert report.to_convert == ("a.safetensors", "b c.safetensors")
        renormalise(work.repo, report.to_convert)
        assert raw_paths(work.repo, store) == ()
    assert manifest.looks_like(work.blob("b c.safetensors"))
    assert work.read("a.safetensors") == model
    with work.store() as store:
        back = untrack(work.repo, store, ["*.safetensors"], work.folder)
        assert back.to_convert == ("a.safetensors", "b c.safetensors")
        renormalise(work.repo, back.to_convert)
    assert work.blob("a.safetensors") == model


def test_names_that_collide_elsewhere_are_told(work: Work, model: bytes) -> None:
    work.commit(
        "one",
        {
            "M.safetensors": model,
            "m.safetensors": model,
            "caf\u00e9.safetensors": model,
            "cafe\u0301.safetensors": model,
            "other.safetensors": model,
            "CODE.py": b"",
            "code.py": b"",
        },
    )
    found = {frozenset(group) for group in collisions(work.repo)}
    assert found == {
        frozenset({"M.safetensors", "m.safetensors"}),
        frozenset({"caf\u00e9.safetensors", "cafe\u0301.safetensors"}),
    }
