"""Objects copied from a repository on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_lepton.errors import CorruptError, MissingError
from git_lepton.git.local import copy_objects, repository_at
from git_lepton.git.packfile import PackWriter
from git_lepton.git.remote import LostObjectError, fetch_oids
from git_lepton.git.repo import Repo, discover
from git_lepton.values import Oid
from tests.support import git


@pytest.fixture
def server(tmp_path: Path, env: dict[str, str]) -> Repo:
    git(tmp_path, "init", "-q", "--bare", "a server.git")
    return discover(tmp_path / "a server.git")


def store(repo: Repo, *contents: bytes) -> list[Oid]:
    with PackWriter(repo) as pack:
        oids = [pack.add("blob", [content]) for content in contents]
        with pack.finish() as pending:
            pending.publish()
    return oids


def test_objects_arrive_in_one_pack(server: Repo, repo: Repo) -> None:
    contents = [os.urandom(200_000) for _ in range(5)]
    oids = store(server, *contents)
    copy_objects(server, repo, oids)
    assert [repo.git("cat-file", "blob", oid).stdout for oid in oids] == contents
    assert len(list((repo.object_dir / "pack").glob("*.pack"))) == 1
    assert not list((repo.object_dir / "pack").glob("*.keep"))


@pytest.mark.parametrize("spelling", ["path", "file", "relative"])
def test_a_fetch_from_a_folder_starts_no_transfer(
    server: Repo, repo: Repo, spelling: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (oid,) = store(server, b"a chunk")
    url = {
        "path": str(server.git_dir),
        "file": f"file://{str(server.git_dir).replace(' ', '%20')}",
        "relative": os.path.relpath(server.git_dir, repo.cwd),
    }[spelling]
    trace = tmp_path / "trace"
    monkeypatch.setenv("GIT_TRACE", str(trace))
    fetch_oids(repo, url, [oid])
    assert repo.git("cat-file", "blob", oid).stdout == b"a chunk"
    assert "upload-pack" not in trace.read_text()


def test_what_is_missing_or_damaged_is_left_to_git_to_tell(server: Repo, repo: Repo) -> None:
    (oid,) = store(server, b"x" * 100_000)
    with pytest.raises(MissingError):
        copy_objects(server, repo, [oid, Oid("1" * 40)])
    with pytest.raises(LostObjectError):
        fetch_oids(repo, str(server.git_dir), [oid, Oid("1" * 40)])
    (pack,) = (server.object_dir / "pack").glob("*.pack")
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(data)
    with pytest.raises((CorruptError, MissingError)):
        copy_objects(server, repo, [oid])
    with pytest.raises(MissingError):
        fetch_oids(repo, str(server.git_dir), [oid])
    assert repo.git("cat-file", "-e", oid, check=False).status != 0


def test_only_the_very_folder_is_a_repository(server: Repo, repo: Repo, tmp_path: Path) -> None:
    assert repo.work_tree is not None
    below = repo.work_tree / "below"
    below.mkdir()
    assert repository_at(str(below), server) is None
    assert repository_at(str(tmp_path / "nowhere"), server) is None
    assert repository_at("file://host/share", server) is None
    found = repository_at(str(repo.work_tree), server)
    assert found is not None
    assert found.git_dir == repo.git_dir
    git(tmp_path, "init", "-q", "--object-format=sha256", "other")
    assert repository_at(str(tmp_path / "other"), server) is None
