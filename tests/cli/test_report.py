"""`git lepton report` in a real repository: two revisions in, what a reviewer reads out."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from git_lepton.git.repo import Repo
from git_lepton.record.bundle import BundleFile, make
from git_lepton.record.record import path_of, to_text
from git_lepton.record.values import Budgeted, Figure, Outcome, Record
from git_lepton.report.review_md import MARKER
from git_lepton.store.manifest import Manifest
from git_lepton.store.store import Store
from git_lepton.upkeep.added import added
from git_lepton.values import Hash
from tests.cli.conftest import PATH, VERSIONS, Lepton, commit
from tests.support import git, model_bytes, safetensors_bytes, weights

pytestmark = pytest.mark.usefixtures("history")


def test_the_comment_of_a_range(lepton: Lepton) -> None:
    answer = lepton("report", "-q", "HEAD~1..HEAD")
    assert answer.status == 0
    assert answer.err == ""
    assert answer.out.startswith(f"{MARKER}\n### Models: `HEAD~1 → HEAD`\n")
    assert f"| `{PATH}` | 2 changed, 1 the same |" in answer.out
    assert re.search(r"\| `layer_2` \| █+░* \d+ % \| 1 changed \|", answer.out)


def test_only_what_a_branch_did(repo: Repo, lepton: Lepton) -> None:
    assert repo.work_tree
    git(repo.work_tree, "branch", "old", "HEAD~1")
    git(repo.work_tree, "checkout", "-q", "-b", "branch", "HEAD~1")
    commit(repo, model_bytes(rows=256, layer_0=9, layer_1=7))
    both, branch = lepton("report", "main..branch", "--json").json, lepton("report", "main...branch", "--json").json
    assert [t["after"]["name"] for t in branch["files"][0]["tensors"]] == ["layer_0.weight"]
    assert len(both["files"][0]["tensors"]) > 1
    assert branch["schema"] == "git-lepton.report/1"
    assert branch["before"] == "main (merge base)"
    assert branch["gates"] == branch["warnings"] == []
    assert 0 < branch["added"] <= 64 * 256 * 4


def test_commits_by_id_are_shown_short(repo: Repo, lepton: Lepton) -> None:
    assert repo.work_tree
    old, new = (git(repo.work_tree, "rev-parse", rev) for rev in ("HEAD~1", "HEAD"))
    assert f"`{old[:10]} → {new[:10]}`" in lepton("report", f"{old}..{new}").out


def test_a_page_and_a_comment_at_once(lepton: Lepton, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    answer = lepton("report", "HEAD~2..", "--md", "--html", str(page), "--link", "https://ci.example/7")
    assert answer.out.startswith(MARKER)
    assert "[Full report](<https://ci.example/7>)" in answer.out
    assert "<figure>" in page.read_text(encoding="utf-8")
    assert answer.err.endswith(f"written: {page}\n")


def test_a_file_that_came_and_one_that_went(repo: Repo, lepton: Lepton) -> None:
    assert repo.work_tree
    git(repo.work_tree, "rm", "-q", PATH)
    commit(repo, safetensors_bytes({"other": ("F32", (64,), weights(9, 64))}), path="new.safetensors")
    out = lepton("report", "HEAD~1..HEAD").out
    assert "| `new.safetensors` | new, 1 tensor | - |" in out
    assert f"| `{PATH}` | removed |" in out
    assert "#### Layers" not in out


def test_a_damaged_manifest_is_not_a_file_that_went(repo: Repo, history: tuple[Manifest, ...], lepton: Lepton) -> None:
    assert repo.work_tree
    (repo.work_tree / PATH).write_bytes(history[-1].to_bytes().replace(b"format", b"<<<<<<< ours\nformat"))
    git(repo.work_tree, "commit", "-qam", "conflict markers")
    out = lepton("report", "HEAD~1..HEAD").out
    assert f"**{PATH} has a damaged manifest**" in out
    assert f"⚠ {PATH} cannot be loaded: " in out
    assert "removed" not in out
    differs = lepton("diff", "HEAD~1", "HEAD", "--exit-code", "--json")
    assert (differs.status, [row["path"] for row in differs.json["damaged"]]) == (1, [PATH])
    assert "| removed |" not in lepton("report", "HEAD~1..HEAD", "--html", "page.html").out
    assert "cannot be loaded" in Path("page.html").read_text(encoding="utf-8")


def test_a_clone_without_weights_fetches_only_what_changed(
    clone: Repo, lepton: Lepton, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert clone.work_tree
    monkeypatch.chdir(clone.work_tree)
    answer = lepton("report", "-q", "HEAD~1..HEAD")
    assert "█" in answer.out
    with Store(clone) as store:
        assert store.versions() == {}, "only the chunks of two tensors were asked for"


def test_without_weights_the_structure_is_the_answer(
    clone: Repo, remote: Path, lepton: Lepton, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert clone.work_tree
    monkeypatch.chdir(clone.work_tree)
    shutil.rmtree(remote)
    answer = lepton("report", "-q", "HEAD~1..HEAD")
    assert answer.status == 0
    assert "2 changed, 1 the same" in answer.out
    assert "Without figures: weights of what changed are nowhere to be had" in answer.out
    assert "█" not in answer.out


def record_of(manifest: Manifest) -> bytes:
    """A record of the model whose gate was passed, and whose size is too large."""
    files = (BundleFile("m.safetensors", 0o100644, manifest.size, manifest.blake3),)
    figure = Figure("accuracy", 0.986, 500, "m@v1", 0.984, -0.002, -0.0107, 0.0067)
    return to_text(
        Record(
            model="m",
            root="models",
            main="m.safetensors",
            bundle=make(files).hash,
            rules=Hash("0" * 64),
            files=files,
            outcome=(Outcome("accuracy", "", "pass", figure=figure),),
            budget=(Budgeted("size_bytes", "int8", "fail", 1000.0, 1200.0, reason="200 bytes too many"),),
        )
    )


def test_gates_are_told_as_records_say(repo: Repo, history: tuple[Manifest, ...], lepton: Lepton) -> None:
    assert repo.work_tree
    place = repo.work_tree / path_of("m")
    place.parent.mkdir(parents=True)
    for manifest in (history[-1], history[0]):
        place.write_bytes(record_of(manifest))
        git(repo.work_tree, "add", str(place))
        git(repo.work_tree, "commit", "-q", "-m", "record")
    judged = lepton("report", "HEAD~3..HEAD~1").out
    assert "| `m` | `accuracy` | ✓ pass | 0.986 | 0.984 | -0.002 [-0.0107, 0.0067] | 500 |" in judged
    assert "| `m (int8)` | `size_bytes` | ✗ fail | 1200 |" in judged
    assert [row["verdict"] for row in lepton("report", "HEAD~3..HEAD~1", "--json").json["gates"]] == ["pass", "fail"]
    assert "the record is of other weights" in lepton("report", "HEAD~3..HEAD").out
    place.write_bytes(place.read_bytes().replace(b"0.986", b"0.999 "))
    git(repo.work_tree, "commit", "-q", "-a", "-m", "lie")
    assert "not spelled as git-lepton spells it" in lepton("report", "HEAD~3..HEAD").out
    assert "#### Gates" not in lepton("report", "HEAD~4..HEAD~3").out


def test_a_record_that_was_left_behind_says_so(repo: Repo, history: tuple[Manifest, ...], lepton: Lepton) -> None:
    assert repo.work_tree
    for path, data in ((path_of("m"), record_of(history[-1])), (PATH, history[0].to_bytes()), ("notes", b"1")):
        place = repo.work_tree / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        git(repo.work_tree, "add", path)
        git(repo.work_tree, "commit", "-q", "-m", path)
    assert "the record is of other weights" in lepton("report", "HEAD~2..HEAD~1").out
    assert "#### Gates" not in lepton("report", "HEAD~1..HEAD").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["HEAD"], "'HEAD' is no range of revisions"),
        (["nowhere..HEAD"], "neither a revision nor a file"),
        (["HEAD~1..HEAD", "--md", "--json"], "choose one"),
        (["HEAD~1..HEAD", "--link", "javascript:alert(1)"], "--link takes a web address"),
    ],
)
def test_wrong_use(lepton: Lepton, arguments: list[str], message: str) -> None:
    answer = lepton("report", *arguments)
    assert answer.status == 2
    assert message in answer.err


def test_what_versions_add(repo: Repo, history: tuple[Manifest, ...]) -> None:
    first, second, third = (manifest.blake3 for manifest in history)
    with Store(repo) as store:
        assert added(store, [first], []) == {}
        assert added(store, [first], [first]) == {first: 0}
        counts = added(store, [first], [second, third])
        assert 0 < (counts[second] or 0) < len(VERSIONS[1]) / 2
        assert added(store, [first, second], [third])[third] == counts[third]
        nowhere = Hash("0" * 64)
        assert added(store, [nowhere], [third]) == {third: None}
        assert added(store, [first], [nowhere, second]) == {nowhere: None, second: counts[second]}
