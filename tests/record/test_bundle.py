"""The bundle: its text, its identity, and the same identity from a revision, the index and a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.config.values import ModelSettings
from git_lepton.errors import FrameError, LeptonError, UsageError
from git_lepton.record import bundle
from git_lepton.record.bundle import BundleFile, make, matcher, parse
from git_lepton.store.store import Store
from git_lepton.values import Hash
from tests.drivers.conftest import Work
from tests.support import model_bytes

H = Hash("ab" * 32)
SETTINGS = ModelSettings(name="m", root="models/m", files=("*.safetensors", "labels.json"), main="m.safetensors")

paths = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12)
files = st.builds(
    BundleFile,
    st.lists(paths, min_size=1, max_size=3).map("/".join),
    st.sampled_from([0o100644, 0o100755]),
    st.integers(0, 2**62),
    st.binary(min_size=32, max_size=32).map(lambda b: Hash(b.hex())),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(files, max_size=6, unique_by=lambda file: file.path))
def test_the_text_of_a_bundle_is_read_back(found: list[BundleFile]) -> None:
    try:
        made = make(found)
    except FrameError:
        return
    assert parse(made.text) == made
    assert made.hash == blake3(made.text).hexdigest()
    assert made.size == sum(file.size for file in found)


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda s: f"100644 1 {H} {s}\n".encode(errors="replace")))
def test_hostile_text_is_refused_or_is_its_own_spelling(text: bytes) -> None:
    try:
        assert parse(text).text == text
    except FrameError:
        return


@pytest.mark.parametrize(
    "path",
    ["", "/a", "../a", "a/../b", "a//b", "./a", ".git/x", "a/.GIT/x", "a\\b", "a\nb", "x\u202ey", "\udcff", ".git./a"],
)
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(FrameError):
        make([BundleFile(path, 0o100644, 1, H)])


def test_a_path_is_there_once_and_lines_are_sorted() -> None:
    one = BundleFile("a", 0o100644, 1, H)
    with pytest.raises(FrameError, match="twice"):
        make([one, one])
    two = BundleFile("b", 0o100644, 1, H)
    with pytest.raises(FrameError, match="sorted"):
        parse(f"{two.line()}\n{one.line()}\n".encode())
    with pytest.raises(FrameError, match="line end"):
        parse(one.line().encode())


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("*.onnx", ["a.onnx", ".onnx"], ["b/a.onnx", "a.onnxx"]),
        ("**/*.onnx", ["a.onnx", "x/y/a.onnx"], ["a.bin"]),
        ("**", ["a", "a/b"], []),
        ("sub/**", ["sub/a", "sub/b/c"], ["sub", "a"]),
        ("model-?.bin", ["model-1.bin"], ["model-12.bin", "model-/.bin"]),
        ("a[0-2].bin", ["a1.bin"], ["a3.bin", "a[0-2].bin"]),
        ("a[!0-2].bin", ["a3.bin"], ["a1.bin", "a/.bin"]),
        ("a[", ["a["], ["a"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_globs(glob: str, yes: list[str], no: list[str]) -> None:
    matches = matcher([glob])
    assert [p for p in yes if not matches(p)] == []
    assert [p for p in no if matches(p)] == []


@settings(deadline=None, max_examples=50)
@given(st.text("*?[]!-az/\\^.", max_size=12), st.text("az/", max_size=6))
def test_any_text_is_a_glob_or_refused(glob: str, path: str) -> None:
    try:
        matcher([glob])(path)
    except LeptonError:
        return


def test_a_revision_the_index_and_a_folder_agree(work: Work) -> None:
    files = {"models/m/m.safetensors": model_bytes(), "models/m/labels.json": b'["a"]\n', "models/m/notes.md": b"x\n"}
    work.commit("one", files)
    with Store(work.repo) as store:
        here = bundle.at(work.repo, store.objects, SETTINGS)
        assert here == bundle.at(work.repo, store.objects, SETTINGS, "HEAD")
        assert [part.manifest is None for part in here.parts] == [True, False]
        assert here.bundle == bundle.of_folder(work.folder / "models/m", SETTINGS.files)
        assert here.bundle.size == len(files["models/m/m.safetensors"]) + 6
        assert list(here.versions.values()) == ["m.safetensors"]
        # What is staged counts, not what lies in the work tree.
        work.write("models/m/labels.json", b"[]\n")
        assert bundle.at(work.repo, store.objects, SETTINGS) == here
        work.git("add", "-A")
        assert bundle.at(work.repo, store.objects, SETTINGS).bundle.hash != here.bundle.hash
        part = bundle.part_at(work.repo, store.objects, "models/m/labels.json")
        assert part is not None
        assert part.file.size == 3
        assert bundle.part_at(work.repo, store.objects, "models/m") is None


def test_links_do_not_belong_to_a_model(work: Work, tmp_path: Path) -> None:
    work.write("models/m/m.safetensors", model_bytes())
    (work.folder / "models/m/labels.json").symlink_to("/etc/passwd")
    work.git("add", "-A")
    with Store(work.repo) as store, pytest.raises(UsageError, match=r"labels\.json is no ordinary file"):
        bundle.at(work.repo, store.objects, SETTINGS)
    with pytest.raises(UsageError, match="no ordinary file"):
        bundle.of_folder(work.folder / "models/m")
