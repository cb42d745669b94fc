"""Verbs that read: ls-files, du, fsck, export, and their JSON."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.numpy

from git_lepton.git.repo import Repo
from git_lepton.store.manifest import Manifest
from git_lepton.store.names import model_ref
from tests.cli.conftest import PATH, VERSIONS, Lepton
from tests.support import git


def test_ls_files(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    short = history[2].blake3[:12]
    assert lepton("ls-files").out == f"{short}  *  {PATH}\n"
    assert lepton("ls-files", "-l", "HEAD~2").out == f"{history[0].blake3}  *  {PATH}\n"
    assert "192 KiB  safetensors" in lepton("ls-files", "-s").out
    assert "    F32  [256,64]  layer_0.weight" in lepton("ls-files", "-t").out
    assert lepton("ls-files", "--", "models").out != ""
    assert lepton("ls-files", "HEAD", "--", "other").out == ""
    assert lepton("ls-files", PATH).out == f"{short}  *  {PATH}\n"


def test_ls_files_from_a_folder(lepton: Lepton, history: tuple[Manifest, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("models")
    assert PATH in lepton("ls-files", "m.safetensors").out
    assert PATH in lepton("ls-files", "HEAD", "--", ".").out
    answer = lepton("ls-files", "--", "../../elsewhere")
    assert (answer.status, "outside the work tree" in answer.err) == (2, True)


def test_ls_files_json(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    git(Path.cwd(), "update-ref", "-d", model_ref(history[2].blake3))
    answer = lepton("ls-files", "--json", "--tensors")
    assert answer.json["schema"] == "git-lepton.ls-files/1"
    (file,) = answer.json["files"]
    assert (file["path"], file["blake3"], file["here"]) == (PATH, history[2].blake3, False)
    assert [tensor["name"] for tensor in file["tensors"]] == [f"layer_{n}.weight" for n in range(3)]


def test_ls_files_names_a_manifest_that_is_none(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    Path(PATH).write_bytes(history[0].to_bytes().replace(b"format", b"<<<<<<< ours\nformat"))
    git(Path.cwd(), "add", PATH)
    answer = lepton("ls-files")
    assert answer.status == 5
    assert f"{PATH}: " in answer.err


def test_words_that_are_nothing(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    answer = lepton("ls-files", "nonsense")
    assert answer.status == 2
    assert "neither a revision nor a file" in answer.err


def test_du(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    text = lepton("du").out.splitlines()
    assert [line.split()[0] for line in text[1:4]] == [m.blake3[:12] for m in history]
    assert "3 versions: 577 KiB of files take" in text[4]
    answer = lepton("du", "--json").json
    assert answer["schema"] == "git-lepton.du/1"
    first, second, third = answer["versions"]
    assert first["size"] == len(VERSIONS[0])
    assert 0 < second["added"] < 0.5 * first["added"]
    assert answer["saved"] == answer["raw"] - answer["added"] > 0
    assert third["paths"] == [PATH]


def test_fsck_of_a_sound_repository(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    assert lepton("fsck").out == "3 versions of weights checked: nothing is wrong\n"
    assert lepton("fsck", "HEAD").out == "1 version of weights checked: nothing is wrong\n"
    answer = lepton("fsck", "--json").json
    assert answer == {"schema": "git-lepton.fsck/1", "versions": 3, "problems": []}


def test_fsck_names_file_tensor_and_chunk(lepton: Lepton, repo: Repo, history: tuple[Manifest, ...]) -> None:
    pack = max((repo.object_dir / "pack").glob("*.pack"), key=lambda p: p.stat().st_size)
    damaged = bytearray(pack.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(damaged)
    answer = lepton("fsck", "HEAD~2")
    assert answer.status == 5
    assert f"{PATH}: tensor layer_" in answer.out
    assert ", chunk 0: " in answer.out
    assert "hint: " in answer.err
    (problem,) = lepton("fsck", "--json", "HEAD~2").json["problems"]
    assert (problem["kind"], problem["path"], problem["chunk"]) == ("corrupt", PATH, 0)


def test_what_was_lost_is_brought_again(
    lepton: Lepton, repo: Repo, history: tuple[Manifest, ...], remote: Path
) -> None:
    """A damaged pack was moved away, as fsck says: refs lead to objects that are gone."""
    git(Path.cwd(), "push", "-q", "origin", "main")
    assert lepton("push").status == 0
    pack = max((repo.object_dir / "pack").glob("*.pack"), key=lambda p: p.stat().st_size)
    for file in repo.object_dir.glob(f"pack/{pack.stem}.*"):
        file.unlink()
    answer = lepton("fsck")
    assert answer.status == 8
    assert "git lepton fetch --all brings what is missing" in answer.err
    assert lepton("fetch", "--all").status == 0
    assert lepton("fsck").status == 0
    git(Path.cwd(), "gc", "-q", "--prune=now")
    assert lepton("checkout", "HEAD~2").status == 0
    assert Path(PATH).read_bytes() == VERSIONS[0]


def test_a_checkout_that_fails_stages_nothing(lepton: Lepton, repo: Repo, history: tuple[Manifest, ...]) -> None:
    assert lepton("checkout").status == 0
    pack = max((repo.object_dir / "pack").glob("*.pack"), key=lambda p: p.stat().st_size)
    damaged = bytearray(pack.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(damaged)
    before = git(Path.cwd(), "ls-files", "-s")
    answer = lepton("checkout", "HEAD~2")
    assert answer.status == 5
    assert "1 file could not be written and stays as it was" in answer.err
    assert Path(PATH).read_bytes() == VERSIONS[2]
    assert git(Path.cwd(), "ls-files", "-s") == before


def test_fsck_tells_missing_from_corrupt(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    git(Path.cwd(), "update-ref", "-d", model_ref(history[2].blake3))
    answer = lepton("fsck")
    assert answer.status == 8
    assert "git lepton fetch" in answer.err


def test_fsck_of_a_remote(lepton: Lepton, history: tuple[Manifest, ...], remote: Path) -> None:
    answer = lepton("fsck", "--remote", "origin")
    assert answer.status == 8
    assert "never pushed" in answer.out
    assert "git lepton push" in answer.err
    assert lepton("push").status == 0
    answer = lepton("fsck", "--remote", "origin")
    assert (answer.status, answer.out) == (0, "1 version of weights checked on origin: nothing is wrong\n")


def test_fsck_of_a_manifest_that_was_merged_as_text(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    Path(PATH).write_bytes(history[0].to_bytes().replace(b"format", b"<<<<<<< ours\nformat"))
    git(Path.cwd(), "add", PATH)
    answer = lepton("fsck")
    assert answer.status == 5
    assert "(lie)" in answer.out


def test_export_of_a_file(lepton: Lepton, history: tuple[Manifest, ...], tmp_path: Path) -> None:
    out = tmp_path / "old.safetensors"
    answer = lepton("export", "HEAD~2", PATH, "-o", str(out))
    assert (answer.status, answer.out) == (0, "")
    assert out.read_bytes() == VERSIONS[0]


def test_export_of_some_tensors(lepton: Lepton, history: tuple[Manifest, ...], tmp_path: Path) -> None:
    out = tmp_path / "some.safetensors"
    answer = lepton("export", "HEAD", PATH, "-o", str(out), "-t", "layer_[02]*")
    assert "2 tensors" in answer.err
    whole = safetensors.numpy.load(VERSIONS[2])
    some = safetensors.numpy.load_file(out)
    assert set(some) == {"layer_0.weight", "layer_2.weight"}
    assert all((some[name] == whole[name]).all() for name in some)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("HEAD", PATH, "-o", "x", "-t", "absent*"), "no tensor"),
        (("HEAD", "absent", "-o", "x"), "is not in HEAD"),
        (("v9", PATH, "-o", "x"), "unknown revision"),
        (("HEAD", PATH, "-o", "no/such/folder/x"), "there is no folder"),
        (("HEAD", PATH), "Missing option"),
    ],
)
def test_export_that_makes_no_sense(
    arguments: tuple[str, ...], message: str, lepton: Lepton, history: tuple[Manifest, ...]
) -> None:
    answer = lepton("export", *arguments)
    assert answer.status == 2
    assert message in answer.err
    assert not Path("x").exists()
