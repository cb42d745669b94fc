"""`git lepton log`: the history of models."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_lepton.git.repo import Repo
from git_lepton.store.manifest import Manifest
from git_lepton.store.names import model_ref
from tests.cli.conftest import PATH, VERSIONS, Lepton, commit
from tests.support import git, model_bytes


@pytest.fixture
def code(history: tuple[Manifest, ...]) -> Path:
    """The three versions, and commits that change no weights among them."""
    top = Path.cwd()
    (top / "train.py").write_text("print()\n" * 200)
    git(top, "add", "train.py")
    git(top, "commit", "-q", "-m", "code")
    return top


def ids(folder: Path, *revs: str) -> list[str]:
    return [git(folder, "rev-parse", rev)[:10] for rev in revs]


def test_a_line_for_each_file_of_each_commit(lepton: Lepton, code: Path) -> None:
    answer = lepton("log")
    blocks = [block.split("\n") for block in answer.out.removesuffix("\n").split("\n\n")]
    assert [block[0].split()[0] for block in blocks] == ids(code, "HEAD~1", "HEAD~2", "HEAD~3")
    assert all(block[0].endswith("  A U Thor  weights") for block in blocks)
    assert [len(block) for block in blocks] == [2, 2, 2]
    assert all(block[1].startswith(f"    {PATH}") for block in blocks)
    assert "2 of 3" in blocks[0][1] or "layers 1-2" in blocks[0][1]
    assert "added" in blocks[2][1]


def test_selection(lepton: Lepton, code: Path) -> None:
    def found(*words: str) -> list[str]:
        return [entry["commit"][:10] for entry in lepton("log", "--json", *words).json["commits"]]

    assert found("-n", "1") == found("-1") == ids(code, "HEAD~1")
    assert found("-n", "0") == []
    assert found("HEAD~3..HEAD~1") == ids(code, "HEAD~1", "HEAD~2")
    assert found("HEAD~2") == ids(code, "HEAD~2", "HEAD~3")
    assert found("HEAD", "^HEAD~2") == ids(code, "HEAD~1")
    assert found("HEAD", PATH) == found(PATH) == found("--", "models") == found()
    assert found("--", "train.py") == []
    assert found("--tensors", "layer_1*", "HEAD~3..") == ids(code, "HEAD~1", "HEAD~2")
    for word in ("nonsense", "HEAD..nonsense"):
        assert lepton("log", word).status == 2


def test_patches(lepton: Lepton, code: Path, history: tuple[Manifest, ...]) -> None:
    text = lepton("log", "-p", "-n", "2").out
    assert text.count(f"\n{PATH}\n") == 2
    assert "layer_1.weight  ██████████" in text
    git(code, "update-ref", "-d", model_ref(history[1].blake3))
    answer = lepton("log", "-p", "-n", "1")
    assert "layer_1.weight" in answer.out
    assert answer.status == 0
    assert "|  192 KiB" in lepton("log", "--stat", "-n", "1").out
    assert "%" not in lepton("log", "-p", "--no-numbers").out


def test_stat_says_the_sentence_first(lepton: Lepton, code: Path) -> None:
    lines = lepton("log", "--stat", "-n", "1").out.split("\n")
    assert lines[0].endswith("  A U Thor  weights")
    assert lines[1] == "    layers 1-2 changed"
    assert lines[2].startswith(f" {PATH}  |  192 KiB")
    assert "→" not in "".join(lines)


def test_json(lepton: Lepton, code: Path) -> None:
    answer = lepton("log", "--json", "-p").json
    assert answer["schema"] == "git-lepton.log/1"
    newest = answer["commits"][0]
    assert (newest["author"], newest["subject"]) == ("A U Thor", "weights")
    (file,) = newest["files"]
    assert [tensor["after"]["name"] for tensor in file["tensors"]] == ["layer_1.weight", "layer_2.weight"]
    assert file["tensors"][0]["numbers"]["share"] > 0.9
    assert lepton("log", "--json").json["commits"][0]["files"][0]["tensors"][0]["numbers"] is None


def test_renames_removals_and_several_files(lepton: Lepton, repo: Repo, code: Path) -> None:
    git(code, "mv", PATH, "models/other.safetensors")
    git(code, "commit", "-q", "-m", "renamed")
    assert "renamed" in lepton("log", "-n", "1").out
    (file,) = lepton("log", "--json", "-n", "1").json["commits"][0]["files"]
    assert (file["kind"], file["before"], file["after"]) == ("renamed", PATH, "models/other.safetensors")
    git(code, "rm", "-q", "models/other.safetensors")
    git(code, "commit", "-q", "-m", "gone")
    assert "removed" in lepton("log", "-n", "1").out
    commit(repo, VERSIONS[0], path="models/a.safetensors")
    commit(repo, VERSIONS[1], path="models/b.safetensors")
    git(code, "reset", "-q", "--soft", "HEAD~2")
    git(code, "commit", "-q", "-m", "two")
    lines = lepton("log", "-n", "1").out.split("\n")
    assert [line.split()[0] for line in lines[1:3]] == ["models/a.safetensors", "models/b.safetensors"]


def test_merges_that_took_a_side_are_no_versions(
    lepton: Lepton, repo: Repo, code: Path, history: tuple[Manifest, ...]
) -> None:
    git(code, "checkout", "-q", "-b", "side", "HEAD~1")
    commit(repo, model_bytes(rows=256, layer_2=9), history[2], message="side")
    git(code, "checkout", "-q", "main")
    git(code, "merge", "-q", "--no-ff", "--no-edit", "side")
    subjects = [entry["subject"] for entry in lepton("log", "--json").json["commits"]]
    assert subjects == ["side", "weights", "weights", "weights"]
    Path(PATH).write_bytes(history[0].to_bytes())
    git(code, "commit", "-q", "-a", "--amend", "-m", "of both")
    for options in ((), ("--stat",), ("-p",)):
        out = lepton("log", "-1", *options).out
        assert ("of both" in out, "(merged; against the first parent)" in out.replace("\n        ", " ")) == (
            True,
            True,
        )


def test_a_broken_manifest_in_history_is_passed_over(lepton: Lepton, code: Path, history: tuple[Manifest, ...]) -> None:
    Path(PATH).write_bytes(history[0].to_bytes().replace(b"format", b"<<<<<<< ours\nformat"))
    git(code, "commit", "-qam", "broken")
    answer = lepton("log")
    assert (answer.status, f"{PATH}: " in answer.err) == (0, True)
    assert answer.out.count("weights\n") == 3


def test_an_empty_repository(lepton: Lepton, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    assert repo.work_tree is not None
    monkeypatch.chdir(repo.work_tree)
    answer = lepton("log")
    assert (answer.status, answer.out) == (2, "")
    assert "no commits" in answer.err
