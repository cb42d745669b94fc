"""`git lepton diff` and `show`: naming sides as git does, what is printed, and what happens without weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from git_lepton.git.repo import Repo
from git_lepton.store.manifest import Manifest
from git_lepton.store.names import index_ref, model_ref
from tests.cli.conftest import PATH, VERSIONS, Lepton, commit
from tests.support import git, model_bytes, safetensors_bytes, weights

HEAVY = ("numpy", "rich", "pygit2", "onnx", "scipy")


def changed(answer_json: object) -> list[tuple[str, str, bool]]:
    """(kind, name, has numbers) of every tensor that a document lists."""
    assert isinstance(answer_json, dict)
    return [
        (tensor["kind"], (tensor["after"] or tensor["before"])["name"], tensor["numbers"] is not None)
        for file in answer_json["files"]
        for tensor in file["tensors"]
    ]


LAYER = {number: ("changed", f"layer_{number}.weight", True) for number in range(3)}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("HEAD~2", "HEAD~1"), [LAYER[1]]),
        (("HEAD~2..HEAD~1",), [LAYER[1]]),
        (("HEAD~2..",), [LAYER[2]]),
        (("HEAD~2...",), [LAYER[2]]),
        (("HEAD~1...HEAD~2",), []),
        (("HEAD~1",), [LAYER[1], LAYER[2]]),
        (("--cached", "HEAD~1"), [LAYER[1], LAYER[2]]),
        (("--staged",), []),
        ((), []),
        (("HEAD~1", "HEAD", "--", "models"), [LAYER[1], LAYER[2]]),
        (("HEAD~1", "HEAD", PATH), [LAYER[1], LAYER[2]]),
        (("HEAD~1", "HEAD", "--", "elsewhere"), []),
        (("HEAD~1", "HEAD", "--tensors", "*_1.*"), [LAYER[1]]),
        (("HEAD~1", "HEAD", "--tensors", "nothing"), []),
    ],
)
def test_sides(
    lepton: Lepton, history: tuple[Manifest, ...], words: tuple[str, ...], expected: list[tuple[str, str, bool]]
) -> None:
    answer = lepton("diff", "--json", *words)
    assert (answer.status, "no weight file is at elsewhere" in answer.err) == (0, "elsewhere" in words)
    assert answer.json["schema"] == "git-lepton.diff/1"
    assert changed(answer.json) == expected


def test_a_range_that_begins_where_a_branch_left(lepton: Lepton, repo: Repo, history: tuple[Manifest, ...]) -> None:
    git(Path.cwd(), "checkout", "-q", "-b", "side", "HEAD~1")
    commit(repo, model_bytes(rows=256, layer_1=7, layer_0=5), history[1])
    assert changed(lepton("diff", "--json", "main...side").json) == [LAYER[0]]
    assert changed(lepton("diff", "--json", "main..side").json) == [LAYER[0], LAYER[1], LAYER[2]]
    assert lepton("diff", "main...side").out.startswith("main...side → side:")
    git(Path.cwd(), "checkout", "-q", "--orphan", "other")
    git(Path.cwd(), "commit", "-qm", "no parent")
    answer = lepton("diff", "main...other")
    assert (answer.status, "no common ancestor" in answer.err) == (2, True)


def test_the_work_tree(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    """Whether it holds a manifest, the same weights, other weights, or nothing."""
    Path(PATH).write_bytes(VERSIONS[2])
    assert changed(lepton("diff", "--json").json) == []
    Path(PATH).write_bytes(model_bytes(rows=256, layer_2=9))
    assert changed(lepton("diff", "--json").json) == [LAYER[2]]
    assert changed(lepton("diff", "--json", "HEAD~1").json) == [LAYER[1], LAYER[2]]
    Path(PATH).unlink()
    (file,) = lepton("diff", "--json").json["files"]
    assert (file["kind"], file["after"], file["size_after"]) == ("removed", None, 0)


def test_the_index_before_the_first_commit(lepton: Lepton, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    assert repo.work_tree is not None
    monkeypatch.chdir(repo.work_tree)
    commit(repo, VERSIONS[0])
    git(repo.work_tree, "update-ref", "-d", "HEAD")
    (file,) = lepton("diff", "--cached", "--json").json["files"]
    assert (file["kind"], file["after"]) == ("added", PATH)


def test_two_files_outside_git(tmp_path: Path, lepton: Lepton, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for folder, data in (("old", VERSIONS[0]), ("new", VERSIONS[1])):
        Path(folder).mkdir()
        Path(folder, "m.safetensors").write_bytes(data)
    answer = lepton("diff", "--json", "old/m.safetensors", "new/m.safetensors")
    assert (answer.json["before"], changed(answer.json)) == ("old/m.safetensors", [LAYER[1]])
    assert changed(lepton("diff", "--json", "old", "new").json) == [LAYER[1]]
    assert changed(lepton("diff", "--json", "--no-index", "old", "new").json) == [LAYER[1]]
    assert lepton("diff", "old", "old").out == "old → old: nothing changed\n"
    for words in (("old",), ("old", "new/m.safetensors"), ("--no-index", "old"), ("old", "none"), ()):
        assert lepton("diff", *words).status == 2


def test_two_files_of_a_repository(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    """Manifests stand for their weights."""
    Path("old.safetensors").write_bytes(history[0].to_bytes())
    assert changed(lepton("diff", "--json", "old.safetensors", PATH).json) == [LAYER[2]]
    assert changed(lepton("diff", "--json", "--no-index", "--", "old.safetensors", PATH).json) == [LAYER[2]]


def test_exit_code(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    assert lepton("diff", "--exit-code", "HEAD~1", "HEAD").status == 1
    assert lepton("diff", "--exit-code", "HEAD", "HEAD").status == 0


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("HEAD", "HEAD~1", "HEAD~2"),
        ("--cached", "HEAD", "HEAD~1"),
        ("--json", "--stat"),
        ("--sample", "x"),
    ],
)
def test_words_that_make_no_sense(lepton: Lepton, history: tuple[Manifest, ...], words: tuple[str, ...]) -> None:
    answer = lepton("diff", *words)
    assert (answer.status, answer.out) == (2, "")


def test_forms(lepton: Lepton, history: tuple[Manifest, ...], tmp_path: Path) -> None:
    text = lepton("diff", "HEAD~2", "HEAD").out
    assert text.startswith("HEAD~2 → HEAD:")
    assert "layer_2.weight  ██████████" in text
    assert "\x1b" not in text
    stat = lepton("diff", "--stat", "HEAD~2", "HEAD").out
    assert stat.startswith(f" {PATH}  |  192 KiB  1 changed, 2 the same\n")
    markdown = lepton("diff", "--md", "HEAD~2", "HEAD").out
    assert markdown.startswith("### ")
    assert "| `layer_2.weight` |" in markdown
    page = tmp_path / "page.html"
    answer = lepton("diff", "--html", str(page), "HEAD~2", "HEAD")
    assert (answer.out, answer.err) == ("", f"written: {page}\n")
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert "layer_2.weight" in page.read_text()
    details = lepton("diff", "HEAD~2", "HEAD", "--tensors", "*").out
    assert "over 16,384 of 16,384 values" in " ".join(details.split())


def test_a_sample_is_said_to_be_one(lepton: Lepton, tmp_path: Path) -> None:
    for name, seed in (("old.safetensors", 1), ("new.safetensors", 2)):
        (tmp_path / name).write_bytes(safetensors_bytes({"w": ("F16", (4 << 19,), weights(seed, 4 << 19, "F16"))}))
    words = ("diff", "--no-index", str(tmp_path / "old.safetensors"), str(tmp_path / "new.safetensors"))
    text = lepton(*words, "--sample", "1m").out
    assert "some figures are estimates from a part of the values" in text
    assert "estimate" not in lepton(*words).out
    assert lepton(*words, "--sample", "1m", "--json").json["sampled"] is True


def test_output_that_knows_only_ascii(history: tuple[Manifest, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "git_lepton", "diff", "HEAD~2", "HEAD"],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert b"HEAD~2 -> HEAD:" in done.stdout
    assert b"layer_2.weight  ##########" in done.stdout


def test_without_weights_the_structure_is_the_answer(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    git(Path.cwd(), "update-ref", "-d", model_ref(history[1].blake3))
    git(Path.cwd(), "update-ref", "-d", index_ref(history[1].blake3))
    answer = lepton("diff", "--json", "HEAD~1", "HEAD")
    assert answer.status == 0
    assert answer.err.startswith("only what the manifests tell: ")
    assert changed(answer.json) == [("changed", "layer_1.weight", False), ("changed", "layer_2.weight", False)]
    assert lepton("diff", "--no-numbers", "HEAD~2", "HEAD").err == ""


def test_only_tensors_that_changed_are_fetched(
    lepton: Lepton, clone: Repo, history: tuple[Manifest, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert clone.work_tree is not None
    monkeypatch.chdir(clone.work_tree)
    answer = lepton("diff", "--json", "HEAD~2", "HEAD~1")
    assert (answer.err, changed(answer.json)) == ("", [LAYER[1]])
    assert git(clone.work_tree, "for-each-ref", "refs/lepton/models") == ""
    size = git(clone.work_tree, "count-objects", "-v")
    packed = int(next(line.split()[1] for line in size.splitlines() if line.startswith("size-pack")))
    assert packed < 160, "KiB: two tensors of 64 KiB, not six"


def test_facts_are_fetched_too(
    lepton: Lepton, repo: Repo, remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert repo.work_tree is not None
    monkeypatch.chdir(repo.work_tree)
    tensors = {"a": ("F32", (4,), weights(1, 4))}
    commit(repo, safetensors_bytes(tensors, {"epoch": "1"}))
    commit(repo, safetensors_bytes(tensors, {"epoch": "2"}))
    git(Path.cwd(), "push", "-q", "origin", "main")
    assert lepton("push").status == 0
    git(tmp_path, "clone", "-q", f"file://{remote}", "clone")
    monkeypatch.chdir(tmp_path / "clone")
    assert "  metadata epoch: 1 → 2\n" in lepton("diff", "HEAD~", "HEAD").out


def test_show(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    text = lepton("show", "HEAD~1").out
    head = git(Path.cwd(), "rev-parse", "HEAD~1")
    assert text.startswith(f"commit {head}\nAuthor: A U Thor <author@example.com>\nDate:   ")
    assert "\n    weights\n" in text
    assert "layer_1.weight" in text
    git(Path.cwd(), "tag", "-a", "-m", "v", "v1", "HEAD~1")
    answer = lepton("show", "v1", "--json", "--", "models").json
    assert (answer["schema"], answer["commit"], changed(answer)) == ("git-lepton.show/1", head, [LAYER[1]])
    assert changed(lepton("show", "v1", "--json", "--", "elsewhere").json) == []
    assert changed(lepton("show", "--json").json) == [LAYER[1], LAYER[2]]
    assert [file["kind"] for file in lepton("show", "--json", "HEAD~2").json["files"]] == ["added"]
    assert "|" in lepton("show", "--stat").out


def test_show_compares_a_merge_with_its_first_parent(lepton: Lepton, repo: Repo, history: tuple[Manifest, ...]) -> None:
    git(Path.cwd(), "checkout", "-q", "-b", "side")
    commit(repo, model_bytes(rows=256, layer_2=9), history[2])
    git(Path.cwd(), "checkout", "-q", "main")
    git(Path.cwd(), "merge", "-q", "--no-ff", "--no-edit", "side")
    assert changed(lepton("show", "--json").json) == [LAYER[2]]
    assert "\nMerge:  " in lepton("show").out


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("mian",), "'mian' is no revision: did you mean main?"),
        (("mian..HEAD",), "'mian' is no revision: did you mean main?"),
        (("zzzzzz..HEAD",), "'zzzzzz' is no revision; git branch -a"),
        (("zzzzzz",), "put -- before a path that is not there"),
        ((f"HEAD:{PATH}", "HEAD"), "git lepton diff A B -- PATH"),
        (("--no-index", "none", "none"), "name two files or two folders"),
    ],
)
def test_errors_say_what_to_do(
    lepton: Lepton, history: tuple[Manifest, ...], words: tuple[str, ...], hint: str
) -> None:
    answer = lepton("diff", *words)
    assert (answer.status, hint in answer.err) == (2, True), answer.err


def test_a_bare_repository(lepton: Lepton, history: tuple[Manifest, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    git(Path.cwd(), "clone", "-q", "--bare", ".", "bare.git")
    monkeypatch.chdir("bare.git")
    assert changed(lepton("diff", "--json", "--no-numbers", "HEAD~", "HEAD", "--", "models").json)
    for words in ((), ("HEAD",), ("--cached",)):
        answer = lepton("diff", *words)
        assert (answer.status, "hint: git lepton diff A B" in answer.err) == (2, True), words
    assert lepton("diff", "HEAD~", "HEAD", "--", "../x").status == 2
    assert PATH in lepton("show", "HEAD", "--", "models").out


def test_files_in_conflict_are_left_out(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    blobs = [git(Path.cwd(), "rev-parse", f"HEAD~{n}:{PATH}") for n in range(3)]
    lines = [f"100644 {blob} {stage}\t{PATH}" for stage, blob in enumerate(blobs, 1)]
    index = "\n".join([f"0 {'0' * len(blobs[0])}\t{PATH}", *lines, ""])
    subprocess.run(["git", "update-index", "--index-info"], input=index.encode(), check=True)
    Path(PATH).write_bytes(history[0].to_bytes().replace(b"format", b"<<<<<<< ours\nformat"))
    for words in ((), ("HEAD",), ("--cached",)):
        answer = lepton("diff", *words)
        assert (answer.status, "nothing changed" in answer.out) == (0, True)
        assert f"{PATH} is in conflict and left out" in answer.err
    answer = lepton("diff", "--no-index", PATH, PATH)
    assert (answer.status, PATH in answer.err, "hint: " in answer.err) == (5, True, True)


def test_structure_needs_nothing_heavy(history: tuple[Manifest, ...]) -> None:
    code = (
        "import sys; from git_lepton.cli.boundary import run; from git_lepton.cli.main import cli;"
        "run(cli, sys.argv[1:]); import json; print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "diff", "--no-numbers", "HEAD~2", "HEAD"], check=True, capture_output=True
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    assert not loaded & set(HEAVY)
