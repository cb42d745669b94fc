"""Verbs around the work tree: status, checkout, pull."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.numpy

from git_lepton.git.repo import Repo
from git_lepton.store.manifest import Manifest
from git_lepton.store.names import model_ref
from tests.cli.conftest import PATH, VERSIONS, Lepton, commit
from tests.support import git, model_bytes

ATTRIBUTES = "*.safetensors filter=lepton diff=lepton -text\n"


def test_status_and_checkout(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    assert "git lepton checkout" in lepton("status").out
    answer = lepton("checkout")
    assert (answer.status, answer.out) == (0, "1 weight file written, 192 KiB\n")
    assert Path(PATH).read_bytes() == VERSIONS[2]
    assert lepton("status").out == "1 weight file unchanged, 192 KiB\n"
    assert lepton("checkout").out == "nothing to write\n"


def test_status_tells_what_an_add_would_store(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    Path(".gitattributes").write_text(ATTRIBUTES)
    Path(PATH).write_bytes(model_bytes(rows=256, layer_0=5))
    Path("new.safetensors").write_bytes(VERSIONS[1])
    Path("code.py").write_text("pass\n")
    answer = lepton("status")
    assert answer.status == 0
    modified, new = answer.out.splitlines()
    assert modified.split()[:2] == ["modified", PATH]
    assert "; 2 of 3 tensors new" not in modified
    assert "; 1 of 3 tensors new" in modified
    assert new.split()[:2] == ["new", "new.safetensors"]
    assert "stores 0 B" in new
    files = lepton("status", "--json").json["files"]
    assert [file["state"] for file in files] == ["modified", "new"]
    assert files[0]["add"]["new"] > 256 * 64 * 4 - 1
    assert lepton("status", "--", "new.safetensors").out.startswith("  new ")


def test_status_tells_what_a_push_would_send(lepton: Lepton, history: tuple[Manifest, ...], remote: Path) -> None:
    answer = lepton("status")
    assert "origin probably lacks 3 versions of weights: about " in answer.out
    asked = lepton("status", "--ask", "--json").json["outgoing"]
    assert (asked["asked"], len(asked["versions"])) == (True, 3)
    assert lepton("push").status == 0
    git(Path.cwd(), "push", "-q", "origin", "main")
    assert lepton("status").out.endswith("origin has everything that was pushed from here\n")
    assert lepton("status", "--ask").out.endswith("origin has everything\n")


def test_status_of_a_broken_manifest(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    Path(PATH).write_bytes(history[0].to_bytes().replace(b"format", b"<<<<<<< ours\nformat"))
    git(Path.cwd(), "add", PATH)
    answer = lepton("status")
    assert answer.status == 5
    assert f"broken  {PATH}" in answer.out


def test_status_without_weights_or_commits(lepton: Lepton, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    assert repo.work_tree is not None
    monkeypatch.chdir(repo.work_tree)
    assert lepton("status").out == "no weight files here; git lepton track PATTERN begins\n"


def test_checkout_of_a_revision_stages_it(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    Path(".gitattributes").write_text(ATTRIBUTES)
    lepton("checkout")
    assert lepton("checkout", "HEAD~2", "--", "models").status == 0
    assert Path(PATH).read_bytes() == VERSIONS[0]
    assert git(Path.cwd(), "rev-parse", f":{PATH}") == git(Path.cwd(), "rev-parse", f"HEAD~2:{PATH}")
    assert lepton("status").out.startswith("1 weight file unchanged")


def test_checkout_never_loses_changes(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    Path(PATH).write_bytes(b"precious")
    answer = lepton("checkout", "HEAD~1")
    assert answer.status == 2
    assert "--force" in answer.err
    assert Path(PATH).read_bytes() == b"precious"
    assert lepton("checkout", "--force", "--", PATH).status == 0
    assert Path(PATH).read_bytes() == VERSIONS[2]


def test_checkout_of_some_tensors(lepton: Lepton, history: tuple[Manifest, ...], tmp_path: Path) -> None:
    out = tmp_path / "some.safetensors"
    assert lepton("checkout", "HEAD~1", "-t", "layer_1*", "-o", str(out), "--", PATH).status == 0
    assert list(safetensors.numpy.load_file(out)) == ["layer_1.weight"]
    assert lepton("checkout", "HEAD~1", "-t", "layer_1*").status == 2


def test_checkout_of_what_is_nowhere(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    git(Path.cwd(), "update-ref", "-d", model_ref(history[2].blake3))
    git(Path.cwd(), "update-ref", "-d", f"refs/lepton/index/{history[2].blake3}")
    answer = lepton("checkout")
    assert answer.status == 8
    assert PATH in answer.err
    assert Path(PATH).read_bytes() == history[2].to_bytes()


def test_pull_heals_a_clone(lepton: Lepton, clone: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    assert clone.work_tree is not None
    monkeypatch.chdir(clone.work_tree)
    assert "its weights are not here: git lepton pull" in lepton("status").out
    answer = lepton("pull")
    assert (answer.status, answer.out) == (0, "1 weight file written, 192 KiB\n")
    assert Path(PATH).read_bytes() == VERSIONS[2]
    assert lepton("pull", "--json").json["written"] == []
    Path(PATH).unlink()
    assert lepton("status").out.startswith("  deleted")
    assert lepton("pull").out == f"nothing to write\ndeleted here; git lepton checkout -- PATH brings it back: {PATH}\n"
    assert lepton("checkout", "--", PATH).status == 0
    assert Path(PATH).read_bytes() == VERSIONS[2]


def test_pull_tells_a_remote_from_paths(
    lepton: Lepton, clone: Repo, remote: Path, history: tuple[Manifest, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert clone.work_tree is not None
    monkeypatch.chdir(clone.work_tree)
    manifest = history[2].to_bytes()
    sources: list[list[str]] = [["models"], [PATH], ["."], [f"./{PATH}"], ["origin", "models"], ["origin"]]
    for words in (*sources, [str(remote), "--", PATH]):
        Path(PATH).write_bytes(manifest)
        assert lepton("pull", *words).out == "1 weight file written, 192 KiB\n", words
    unknown = lepton("pull", "orign")
    assert (unknown.status, "'orign' is neither a remote nor a file" in unknown.err) == (2, True)
    Path("notes").write_text("x")
    assert "no weight files at notes" in lepton("pull", "notes").err
    git(Path.cwd(), "remote", "set-url", "origin", "/nowhere")
    for kind in ("models", "index"):
        git(Path.cwd(), "update-ref", "-d", f"refs/lepton/{kind}/{history[2].blake3}")
    Path(PATH).write_bytes(manifest)
    assert "1 file could not be written and stays as it was" in lepton("pull").err


def test_status_knows_that_an_old_version_which_came_back_is_on_the_remote(
    lepton: Lepton, clone: Repo, history: tuple[Manifest, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert clone.work_tree is not None
    monkeypatch.chdir(clone.work_tree)
    assert lepton("checkout", "HEAD~1", "--", PATH).status == 0
    assert lepton("status").out.endswith("origin has everything that was pushed from here\n")
    git(Path.cwd(), "commit", "-q", "-m", "back to the last one")
    assert lepton("status").out.endswith("origin has everything that was pushed from here\n")
    commit(clone, model_bytes(rows=256, layer_0=5))
    assert "origin probably lacks 1 version of weights" in lepton("status").out


def test_verbs_that_need_a_work_tree(
    lepton: Lepton, clone: Repo, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(remote)
    for verb in ("status", "pull", "checkout"):
        answer = lepton(verb)
        assert (answer.status, "bare" in answer.err) == (2, True), verb
    assert lepton("ls-files", "HEAD").status == 0
    assert lepton("fsck", "HEAD").status == 0
