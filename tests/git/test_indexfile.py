from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.errors import FrameError
from git_lepton.git import indexfile
from git_lepton.git.indexfile import IndexEntry, ls_files, patch_stat, refresh
from git_lepton.git.repo import Repo, discover, git_version
from git_lepton.values import Oid
from tests.support import git

MANIFEST = b"small text\n"
WEIGHTS = b"WEIGHTS " * 5000
PATHS = [b"a.w", b"dir/with space.w", b"new\nline.w", b"\xff\xfe.w", b"dir/" + b"long" * 50 + b".w"]

# Clean writes a line to the log and gives the manifest, whatever it reads; smudge leaves the manifest alone.
CLEAN = "cat >/dev/null; echo x >> '{log}'; printf 'small text\\n'"


def place(repo: Repo, path: bytes) -> Path:
    return repo.cwd / os.fsdecode(path)


def prepare(repo: Repo) -> dict[bytes, Oid]:
    """A work tree in which git checked manifests out, all a while ago."""
    repo.git("config", "filter.w.clean", CLEAN.format(log=log(repo)))
    (repo.cwd / ".gitattributes").write_text("*.w filter=w\n")
    for path in PATHS:
        place(repo, path).parent.mkdir(exist_ok=True)
        place(repo, path).write_bytes(MANIFEST)
    (repo.cwd / "other.txt").write_text("x")
    repo.git("add", "-A")
    repo.git("commit", "-qm", "m")
    return {e.path: e.oid for e in ls_files(repo)}


def log(repo: Repo) -> Path:
    return repo.git_dir / "clean.log"


def cleans(repo: Repo) -> int:
    return len(log(repo).read_text().splitlines()) if log(repo).exists() else 0


def write_weights(repo: Repo, *paths: bytes, ago: int = 10) -> dict[bytes, os.stat_result]:
    stats = {}
    for path in paths:
        file = place(repo, path)
        file.write_bytes(WEIGHTS)
        then = time.time() - ago
        os.utime(file, (then, then))
        stats[path] = file.lstat()
    return stats


def settle(repo: Repo) -> None:
    """Give every file an old mtime and let git take it in, so that nothing is racy."""
    for file in repo.cwd.rglob("*"):
        if file.is_file() and ".git" not in file.relative_to(repo.cwd).parts:
            os.utime(file, (1_600_000_000, 1_600_000_000))
    repo.git("update-index", "-q", "--refresh", check=False)
    log(repo).unlink(missing_ok=True)


def status(repo: Repo) -> bytes:
    return repo.git("status", "--porcelain", env={"GIT_OPTIONAL_LOCKS": "1"}).stdout


VARIANTS: dict[str, list[str]] = {
    "v2": ["update-index", "--index-version=2"],
    "v3": ["update-index", "--skip-worktree", "other.txt"],
    "v4": ["update-index", "--index-version=4"],
    "untracked cache": ["update-index", "--force-untracked-cache"],
    "skipHash": ["-c", "index.skipHash=true", "update-index", "--force-write-index"],
    "conflict": ["update-index", "-z", "--index-info"],
    "threads": ["-c", "index.threads=2", "update-index", "--index-version=2"],
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("algo", ["sha1", "sha256"])
def test_patched_entries_are_clean_without_a_clean(
    tmp_path: Path, env: dict[str, str], algo: str, variant: str
) -> None:
    if variant == "skipHash" and git_version() < (2, 40):
        pytest.skip("this git has no index.skipHash")
    git(tmp_path, "init", "-q", "-b", "main", f"--object-format={algo}", "r")
    repo = discover(tmp_path / "r")
    oids = prepare(repo)
    conflict = b"".join(b"100644 %b %d\tfight.w\0" % (oids[b"a.w"].encode(), stage) for stage in (1, 2, 3))
    repo.git(*VARIANTS[variant], input=conflict)
    settle(repo)
    before = ls_files(repo)
    was = status(repo)
    stats = write_weights(repo, *PATHS)
    assert status(repo).count(b".w") == len(PATHS) + was.count(b".w"), "git should see the difference at first"
    log(repo).unlink(missing_ok=True)
    assert patch_stat(repo, stats, oids) == frozenset()
    assert status(repo) == was
    assert not set(PATHS) & set(repo.git("diff-files", "-z", "--name-only").stdout.split(b"\0"))
    assert cleans(repo) == 0
    assert ls_files(repo) == before
    repo.git("fsck", "--no-dangling")
    repo.git("update-index", "--add", "--cacheinfo", f"100644,{oids[b'other.txt']},later.txt")


def test_only_what_the_caller_means(repo: Repo) -> None:
    oids = prepare(repo)
    settle(repo)
    stats = write_weights(repo, *PATHS[:2])
    absent = {b"nowhere.w": place(repo, b"a.w").lstat()}
    wrong = {**oids, PATHS[0]: Oid("1" * 40), b"nowhere.w": oids[b"a.w"]}
    assert patch_stat(repo, stats | absent, wrong) == {PATHS[0], b"nowhere.w"}
    assert b"a.w" in status(repo)
    assert patch_stat(repo, {}, {}) == frozenset()


def test_other_entries_stay_in_doubt(repo: Repo) -> None:
    """A file that changed, with the same size, in the second in which the index was written: git must still notice."""
    oids = prepare(repo)
    settle(repo)
    other = repo.cwd / "other.txt"
    other.write_text("1")
    repo.git("add", "other.txt")
    stamp = other.stat()
    other.write_text("2")
    os.utime(other, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    repo.git("config", "core.trustctime", "false")
    os.utime(repo.index_file, ns=(stamp.st_mtime_ns, stamp.st_mtime_ns))
    time.sleep(max(0.0, int(stamp.st_mtime) + 1.05 - time.time()))
    assert patch_stat(repo, write_weights(repo, PATHS[0]), oids) == frozenset()
    assert b"other.txt" in repo.git("diff-files", "--name-only").stdout


def test_a_locked_index_is_left_alone(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    oids = prepare(repo)
    monkeypatch.setattr(indexfile, "_LOCK_SECONDS", 0.05)
    lock = repo.git_dir / "index.lock"
    lock.write_bytes(b"")
    before = repo.index_file.read_bytes()
    assert patch_stat(repo, write_weights(repo, b"a.w"), oids) == {b"a.w"}
    assert repo.index_file.read_bytes() == before
    assert lock.read_bytes() == b""


def test_a_split_index_is_left_to_git(repo: Repo) -> None:
    oids = prepare(repo)
    settle(repo)
    repo.git("update-index", "--split-index")
    left = patch_stat(repo, write_weights(repo, *PATHS), oids)
    assert left == set(PATHS)
    refresh(repo, left)
    refresh(repo, [])
    assert status(repo) == b""
    assert not (repo.git_dir / "index.lock").exists()


def test_index_of_the_environment(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    oids = prepare(repo)
    settle(repo)
    monkeypatch.chdir(repo.cwd)
    monkeypatch.setenv("GIT_INDEX_FILE", ".git/other index")
    here = discover()
    here.git("read-tree", "HEAD")
    plain = repo.index_file.read_bytes()
    assert patch_stat(here, write_weights(repo, b"a.w"), oids) == frozenset()
    assert repo.index_file.read_bytes() == plain
    assert b"a.w" not in here.git("diff-files", "--name-only").stdout


def test_second_work_tree(repo: Repo, tmp_path: Path) -> None:
    oids = prepare(repo)
    repo.git("worktree", "add", "-q", tmp_path / "two", "-b", "two")
    two = discover(tmp_path / "two")
    settle(two)
    log(repo).unlink()
    assert patch_stat(two, write_weights(two, b"a.w"), oids) == frozenset()
    assert status(two) == b""
    assert cleans(repo) == 0


def test_permissions_are_kept(repo: Repo) -> None:
    oids = prepare(repo)
    repo.index_file.chmod(0o664)
    patch_stat(repo, write_weights(repo, b"a.w"), oids)
    assert repo.index_file.stat().st_mode & 0o777 == 0o664


def test_no_index(repo: Repo) -> None:
    status_ = repo.cwd.lstat()
    assert patch_stat(repo, {b"a": status_}, {b"a": Oid("1" * 40)}) == {b"a"}
    assert list(repo.git_dir.glob("index*")) == []


def test_ls_files(repo: Repo) -> None:
    oids = prepare(repo)
    assert [e.path for e in ls_files(repo)] == sorted([*PATHS, b".gitattributes", b"other.txt"])
    assert ls_files(repo, [":(glob)dir/*space*"]) == [IndexEntry(0o100644, oids[b"a.w"], 0, b"dir/with space.w")]
    assert ls_files(repo, [b"none"]) == []


def checksummed(body: bytes) -> bytes:
    return body + hashlib.sha1(body).digest()


@given(st.binary(max_size=200), st.sampled_from([2, 3, 4]), st.integers(0, 3))
@settings(deadline=None, max_examples=50)
def test_hostile_indexes_are_refused_or_understood(tail: bytes, version: int, count: int) -> None:
    body = b"DIRC" + version.to_bytes(4) + count.to_bytes(4) + tail
    for data in (checksummed(body), body, body + bytes(20)):
        try:
            list(indexfile._entries(bytearray(data), 20))
        except FrameError:
            continue


def test_a_damaged_index_is_left_alone(repo: Repo) -> None:
    oids = prepare(repo)
    data = bytearray(repo.index_file.read_bytes())
    data[100] ^= 1
    repo.index_file.write_bytes(data)
    assert patch_stat(repo, write_weights(repo, b"a.w"), oids) == {b"a.w"}
    assert repo.index_file.read_bytes() == data
