from __future__ import annotations

import threading
from pathlib import Path

import pytest

from git_lepton.errors import GitError, RaceLostError, UsageError
from git_lepton.git import refs
from git_lepton.git.refs import RefReader, Transaction, list_refs, read_ref, read_refs
from git_lepton.git.repo import Repo, discover, git_version
from git_lepton.values import Oid
from tests.support import git

REFTABLE = pytest.mark.skipif(git_version() < (2, 45), reason="this git has no reftable")


@pytest.fixture(params=["files", pytest.param("reftable", marks=REFTABLE)])
def any_repo(request: pytest.FixtureRequest, tmp_path: Path, env: dict[str, str]) -> Repo:
    options = ["--ref-format=reftable"] if request.param == "reftable" else []
    git(tmp_path, "init", "-q", "-b", "main", *options, "r")
    return discover(tmp_path / "r")


def blob(repo: Repo, text: str) -> Oid:
    return Oid(repo.git("hash-object", "-w", "--stdin", input=text.encode()).stdout.decode().strip())


def commit(repo: Repo, message: str) -> Oid:
    tree = repo.git("write-tree").stdout.decode().strip()
    return Oid(repo.git("commit-tree", "-m", message, tree).stdout.decode().strip())


def test_reading(any_repo: Repo) -> None:
    repo = any_repo
    a, b = commit(repo, "a"), commit(repo, "b")
    Transaction(repo).create("refs/lepton/x/1", a).create("refs/lepton/x/2", b).create("refs/tags/t", a).commit()
    assert read_ref(repo, "refs/lepton/x/1") == a
    assert read_ref(repo, "refs/lepton/x") is None
    assert read_refs(repo, ["refs/lepton/x/2", "refs/lepton/none"]) == {"refs/lepton/x/2": b}
    assert read_refs(repo, []) == {}
    many = [f"refs/lepton/x/{n}" for n in range(200)]
    assert read_refs(repo, many) == {"refs/lepton/x/1": a, "refs/lepton/x/2": b}
    assert list_refs(repo, "refs/lepton/x/") == {"refs/lepton/x/1": a, "refs/lepton/x/2": b}


def test_fast_reading_agrees_with_git(any_repo: Repo) -> None:
    repo = any_repo
    a, b = commit(repo, "a"), commit(repo, "b")
    reader = RefReader(repo)
    names = [f"refs/lepton/{n}" for n in ("loose", "packed", "both", "absent", "deleted", "packed/not")]
    names += ["refs/heads/main", "refs/bisect/good", "refs/heads/link"]

    def check() -> None:
        for name in names:
            assert reader.read(name) == read_ref(repo, name), name

    check()
    for name in ("packed", "both", "deleted"):
        Transaction(repo).create(f"refs/lepton/{name}", a).commit()
    Transaction(repo).create("refs/heads/main", a).commit()
    repo.git("symbolic-ref", "refs/heads/link", "refs/heads/main")
    check()
    repo.git("pack-refs", "--all")
    check()
    Transaction(repo).update("refs/lepton/both", b, a).create("refs/lepton/loose", b).commit()
    Transaction(repo).delete("refs/lepton/deleted", a).commit()
    repo.git("update-ref", "refs/bisect/good", a)
    check()
    assert reader.read("refs/lepton/both") == b
    repo.git("pack-refs", "--all")
    check()


def test_a_ref_folder_that_is_left_empty(repo: Repo) -> None:
    (repo.common_dir / "refs/lepton/empty/folder").mkdir(parents=True)
    assert RefReader(repo).read("refs/lepton/empty/folder") is None


def test_second_work_tree_reads_shared_refs(repo: Repo, tmp_path: Path) -> None:
    a = commit(repo, "a")
    Transaction(repo).create("refs/heads/main", a).create("refs/lepton/x", a).commit()
    repo.git("worktree", "add", "-q", tmp_path / "two")
    assert RefReader(discover(tmp_path / "two")).read("refs/lepton/x") == a


def test_all_or_nothing(any_repo: Repo) -> None:
    repo = any_repo
    a, b = commit(repo, "a"), commit(repo, "b")
    Transaction(repo).create("refs/lepton/one", a).commit()
    with pytest.raises(RaceLostError):
        Transaction(repo).create("refs/lepton/two", b).verify("refs/lepton/one", b).commit()
    assert list_refs(repo, "refs/lepton/") == {"refs/lepton/one": a}
    Transaction(repo).create("refs/lepton/two", b).verify("refs/lepton/one", a).verify("refs/lepton/no", None).commit()
    Transaction(repo).update("refs/lepton/two", a, b).delete("refs/lepton/one", a).commit()
    Transaction(repo).commit()
    assert list_refs(repo, "refs/lepton/") == {"refs/lepton/two": a}


def test_every_broken_expectation_is_a_lost_race(any_repo: Repo) -> None:
    repo = any_repo
    a, b = commit(repo, "a"), commit(repo, "b")
    Transaction(repo).create("refs/lepton/one", a).commit()
    for lost in (
        Transaction(repo).create("refs/lepton/one", b),
        Transaction(repo).update("refs/lepton/one", b, None),
        Transaction(repo).update("refs/lepton/one", b, b),
        Transaction(repo).update("refs/lepton/gone", b, a),
        Transaction(repo).verify("refs/lepton/one", None),
        Transaction(repo).verify("refs/lepton/gone", a),
        Transaction(repo).delete("refs/lepton/one", b),
        Transaction(repo).delete("refs/lepton/gone", b),
    ):
        with pytest.raises(RaceLostError):
            lost.commit()
    assert list_refs(repo, "refs/lepton/") == {"refs/lepton/one": a}


def test_other_failures_are_not(repo: Repo) -> None:
    a = commit(repo, "a")
    with pytest.raises(GitError):
        Transaction(repo).create("refs/lepton/x", Oid("1" * 40)).commit()
    Transaction(repo).create("refs/lepton/x", a).commit()
    with pytest.raises(GitError):
        Transaction(repo).create("refs/lepton/x/y", a).commit()


def test_waits_for_a_lock_and_calls_a_stale_one_a_lost_race(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    a = commit(repo, "a")
    lock = repo.common_dir / "refs/lepton/x.lock"
    lock.parent.mkdir(parents=True)
    lock.write_bytes(b"")
    timer = threading.Timer(0.3, lock.unlink)
    timer.start()
    Transaction(repo).create("refs/lepton/x", a).commit()
    timer.join()
    lock.write_bytes(b"")
    monkeypatch.setattr(refs, "_PATIENCE", ())
    with pytest.raises(RaceLostError, match="lock"):
        Transaction(repo).delete("refs/lepton/x", a).commit()


def test_no_reflog_and_no_dereferencing(repo: Repo) -> None:
    repo.git("config", "core.logAllRefUpdates", "always")
    a, b = commit(repo, "a"), commit(repo, "b")
    Transaction(repo).create("refs/lepton/x", a).create("refs/heads/main", a).commit()
    assert not (repo.common_dir / "logs/refs/lepton").exists()
    repo.git("symbolic-ref", "refs/lepton/link", "refs/heads/main")
    Transaction(repo).update("refs/lepton/link", b, a).commit()
    assert read_ref(repo, "refs/heads/main") == a
    assert read_ref(repo, "refs/lepton/link") == b


BAD_NAMES = """HEAD|-d|refs/|refs//x|refs/a..b|refs/a b|refs/*|refs/a.lock|refs/a.lock/b|refs/.a|refs/a/|refs/a.
refs/a@{1}|refs/a:b|refs/a^|refs/a~1|refs/a\\b|refs/[a|a/b||refs/a\tb""".replace("\n", "|").split("|")


@pytest.mark.parametrize("name", [*BAD_NAMES, "refs/a\nb"])
def test_names_that_are_none(repo: Repo, name: str) -> None:
    for call in (
        lambda: read_ref(repo, name),
        lambda: RefReader(repo).read(name),
        lambda: Transaction(repo).verify(name, None),
    ):
        with pytest.raises(UsageError):
            call()
    with pytest.raises(UsageError, match="two changes"):
        Transaction(repo).verify("refs/a", None).verify("refs/a", None)
