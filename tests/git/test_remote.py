from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_lepton.errors import GitError, MissingError, UsageError
from git_lepton.git.packfile import PackWriter
from git_lepton.git.packs import PackReader
from git_lepton.git.refs import list_refs
from git_lepton.git.remote import (
    LostObjectError,
    NoSuchRefError,
    PushResult,
    UnadvertisedError,
    fetch_oids,
    fetch_refs,
    is_ssh,
    ls_remote,
    push,
)
from git_lepton.git.repo import Repo, discover
from git_lepton.values import Oid
from tests.support import git

NOWHERE = Oid("1" * 40)


@pytest.fixture
def server(tmp_path: Path, env: dict[str, str]) -> Repo:
    """An empty bare repository."""
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "server.git")
    return discover(tmp_path / "server.git")


@pytest.fixture
def client(repo: Repo, server: Repo) -> Repo:
    repo.git("remote", "add", "origin", f"file://{server.git_dir}")
    return repo


def store(repo: Repo, *blobs: bytes) -> list[Oid]:
    with PackWriter(repo) as writer:
        oids = [writer.add("blob", [blob]) for blob in blobs]
        with writer.finish() as pack:
            pack.publish()
    return oids


def commit(repo: Repo, message: str, *parents: Oid) -> Oid:
    tree = repo.git("mktree", input=b"").stdout.decode().strip()
    args = [a for parent in parents for a in ("-p", parent)]
    return Oid(repo.git("commit-tree", "-m", message, *args, tree).stdout.decode().strip())


def contains(repo: Repo, *oids: Oid) -> set[Oid]:
    with PackReader(repo) as reader:
        return reader.contains(oids)


def version_0(tmp_path: Path) -> Path:
    """An upload-pack that does not hear which protocol is asked for, as behind a plain sshd."""
    script = tmp_path / "upload-pack"
    script.write_text('#!/bin/sh\nunset GIT_PROTOCOL\nexec git-upload-pack "$@"\n')
    script.chmod(0o755)
    return script


def test_ls_remote(client: Repo, server: Repo) -> None:
    assert ls_remote(client, "origin") == {}
    oid = commit(server, "m")
    server.git("update-ref", "refs/heads/main", oid)
    server.git("update-ref", "refs/lepton/models/x", oid)
    server.git("tag", "-a", "-m", "t", "t", oid)
    everything = ls_remote(client, "origin")
    assert set(everything) == {"refs/heads/main", "refs/lepton/models/x", "refs/tags/t"}
    assert ls_remote(client, str(server.git_dir), ["refs/lepton/*", "refs/none"]) == {"refs/lepton/models/x": oid}


@pytest.mark.parametrize("remote", ["nowhere", "/no/such/folder", "file:///no/such.git"])
def test_remotes_that_cannot_be_reached(client: Repo, remote: str) -> None:
    oid = commit(client, "m")
    for call in (
        lambda: ls_remote(client, remote),
        lambda: push(client, remote, [f"{oid}:refs/lepton/x"]),
        lambda: fetch_oids(client, remote, [NOWHERE]),
        lambda: fetch_refs(client, remote, ["refs/a:refs/a"]),
    ):
        with pytest.raises(MissingError, match="cannot be reached") as caught:
            call()
        assert type(caught.value) is MissingError
        assert caught.value.hint


def test_secrets_of_urls_are_not_shown(client: Repo) -> None:
    with pytest.raises(MissingError) as caught:
        ls_remote(client, "file://me:secret@localhost/no/such")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("remote", ["", "--upload-pack=touch x", "-x", "a\nb"])
def test_what_is_no_remote(client: Repo, remote: str) -> None:
    for call in (
        lambda: ls_remote(client, remote),
        lambda: push(client, remote, ["a:refs/b"]),
        lambda: fetch_oids(client, remote, [NOWHERE]),
        lambda: fetch_refs(client, remote, ["refs/a:refs/a"]),
    ):
        with pytest.raises(UsageError):
            call()


def test_push(client: Repo, server: Repo) -> None:
    one = commit(client, "one")
    two, other = commit(client, "two", one), commit(client, "other")
    assert push(client, "origin", []) == {}
    assert push(client, "origin", [f"{one}:refs/lepton/a", f"{one}:refs/lepton/b"], dry_run=True) == {
        "refs/lepton/a": PushResult("new", "[new reference]"),
        "refs/lepton/b": PushResult("new", "[new reference]"),
    }
    assert ls_remote(client, "origin") == {}
    push(client, "origin", [f"{one}:refs/lepton/a", f"{one}:refs/lepton/b", f"{one}:refs/lepton/c"])
    done = push(
        client,
        "origin",
        [f"{two}:refs/lepton/a", f"{one}:refs/lepton/b", f"{other}:refs/lepton/c", f"+{other}:refs/lepton/d"],
    )
    assert {ref: result.status for ref, result in done.items()} == {
        "refs/lepton/a": "updated",
        "refs/lepton/b": "unchanged",
        "refs/lepton/c": "rejected",
        "refs/lepton/d": "new",
    }
    done = push(client, "origin", [f"+{other}:refs/lepton/c", ":refs/lepton/b"])
    assert {ref: result.status for ref, result in done.items()} == {
        "refs/lepton/c": "forced",
        "refs/lepton/b": "deleted",
    }
    assert ls_remote(client, "origin") == {"refs/lepton/a": two, "refs/lepton/c": other, "refs/lepton/d": other}


def test_atomic_push_and_leases(client: Repo, server: Repo) -> None:
    one, other = commit(client, "one"), commit(client, "other")
    push(client, "origin", [f"{one}:refs/lepton/a"])
    done = push(client, "origin", [f"{other}:refs/lepton/a", f"{other}:refs/lepton/b"], atomic=True)
    assert {result.status for result in done.values()} == {"rejected"}
    leases = {"refs/lepton/a": other, "refs/lepton/b": None}
    refspecs = [f"{other}:refs/lepton/a", f"{other}:refs/lepton/b"]
    done = push(client, "origin", refspecs, atomic=True, leases=leases)
    assert done["refs/lepton/a"].status == "rejected"
    assert ls_remote(client, "origin") == {"refs/lepton/a": one}
    done = push(client, "origin", refspecs, atomic=True, leases={**leases, "refs/lepton/a": one})
    assert {ref: result.status for ref, result in done.items()} == {"refs/lepton/a": "forced", "refs/lepton/b": "new"}


def test_push_of_what_is_not_here(client: Repo) -> None:
    with pytest.raises(GitError, match="git push failed"):
        push(client, "origin", ["refs/none:refs/lepton/a"])


def test_push_runs_no_hook_and_takes_no_tags_along(client: Repo, server: Repo) -> None:
    oid = commit(client, "m")
    client.git("tag", "-a", "-m", "t", "t", oid)
    client.git("config", "push.followTags", "true")
    hook = client.git_dir / "hooks/pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    assert push(client, "origin", [f"{oid}:refs/heads/main"])["refs/heads/main"].status == "new"
    assert set(ls_remote(client, "origin")) == {"refs/heads/main"}


def test_a_refusal_of_the_server_is_a_result(client: Repo, server: Repo) -> None:
    hook = server.git_dir / "hooks/update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    oid = commit(client, "m")
    result = push(client, "origin", [f"{oid}:refs/lepton/x"])["refs/lepton/x"]
    assert result.status == "rejected"
    assert "hook declined" in result.summary


def test_fetch_oids(client: Repo, server: Repo) -> None:
    wanted = store(server, *(os.urandom(1000) for _ in range(5)))
    (other,) = store(server, b"not asked for")
    client.git("config", "fetch.prune", "true")
    fetch_oids(client, "origin", [])
    fetch_oids(client, "origin", wanted)
    fetch_oids(client, "origin", wanted)
    assert contains(client, *wanted, other) == set(wanted)
    assert len(list((client.object_dir / "pack").glob("*.pack"))) == 1, "one pack, nothing loose"
    assert not (client.git_dir / "FETCH_HEAD").exists()
    fetch_oids(client, str(server.git_dir), [other])
    assert contains(client, other) == {other}


def test_an_object_that_the_remote_lost(client: Repo, server: Repo) -> None:
    (here,) = store(server, b"here")
    with pytest.raises(LostObjectError, match=NOWHERE) as caught:
        fetch_oids(client, "origin", [here, NOWHERE])
    assert caught.value.oid == NOWHERE
    assert contains(client, here) == set()
    with pytest.raises(UsageError):
        fetch_oids(client, "origin", [Oid("refs/heads/main:x")])


def test_a_server_of_version_0(client: Repo, server: Repo, tmp_path: Path) -> None:
    (oid,) = store(server, b"x")
    client.git("config", "remote.origin.uploadpack", str(version_0(tmp_path)))
    with pytest.raises(UnadvertisedError):
        fetch_oids(client, "origin", [oid])
    server.git("update-ref", "refs/heads/main", commit(server, "m"))
    with pytest.raises(UnadvertisedError):
        fetch_oids(client, "origin", [oid])
    server.git("config", "uploadpack.allowAnySHA1InWant", "true")
    fetch_oids(client, "origin", [oid])
    assert contains(client, oid) == {oid}


def test_ssh_is_asked_again_with_the_variable_on_its_command_line(
    client: Repo, server: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ssh that passes no variables on, and a shell at its other end."""
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nunset GIT_PROTOCOL\nfor last; do :; done\nexec sh -c "$last"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(ssh))
    monkeypatch.setenv("GIT_SSH_VARIANT", "ssh")
    (oid,) = store(server, b"x")
    client.git("remote", "set-url", "origin", f"ssh://somewhere{server.git_dir}")
    fetch_oids(client, "origin", [oid])
    assert contains(client, oid) == {oid}


def test_ssh_urls() -> None:
    for url in ("ssh://h/p", "git@h:p", "h:p/q", "git+ssh://h/p"):
        assert is_ssh(url)
    for url in ("https://h/p", "/a:b", "./h:p", "file:///x", "ext::sh", "../a", "plain"):
        assert not is_ssh(url)


def test_fetch_refs(client: Repo, server: Repo) -> None:
    one = commit(server, "one")
    server.git("update-ref", "refs/heads/main", one)
    server.git("update-ref", "refs/lepton/models/x", one)
    server.git("tag", "t", one)
    mine = commit(client, "unpushed")
    client.git("update-ref", "refs/lepton/models/mine", mine)
    client.git("config", "fetch.prune", "true")
    client.git("config", "remote.origin.prune", "true")
    fetch_refs(client, "origin", [])
    fetch_refs(client, "origin", ["refs/lepton/models/*:refs/lepton/models/*"])
    assert list_refs(client, "refs/") == {"refs/lepton/models/x": one, "refs/lepton/models/mine": mine}
    with pytest.raises(NoSuchRefError, match="refs/lepton/none") as caught:
        fetch_refs(client, "origin", ["refs/lepton/none:refs/lepton/none"])
    assert caught.value.ref == "refs/lepton/none"
    server.git("update-ref", "refs/lepton/models/x", commit(server, "two"))
    with pytest.raises(GitError, match="git fetch failed"):
        fetch_refs(client, "origin", ["refs/lepton/models/x:refs/lepton/models/x"])
    fetch_refs(client, "origin", ["+refs/lepton/models/x:refs/lepton/models/x"])
    with pytest.raises(UsageError):
        fetch_refs(client, "origin", ["refs/a\nrefs/b"])


def test_a_partial_clone_gets_whole_refs(server: Repo, tmp_path: Path) -> None:
    server.git("config", "uploadpack.allowFilter", "true")
    (blob,) = store(server, b"chunk")
    tree = server.git("mktree", input=f"100644 blob {blob}\tx\n".encode()).stdout.decode().strip()
    oid = server.git("commit-tree", "-m", "m", tree).stdout.decode().strip()
    server.git("update-ref", "refs/heads/main", commit(server, "code"))
    server.git("update-ref", "refs/lepton/models/x", oid)
    git(tmp_path, "clone", "-q", "--filter=blob:none", f"file://{server.git_dir}", "partial")
    partial = discover(tmp_path / "partial")
    fetch_refs(partial, "origin", ["refs/lepton/models/x:refs/lepton/models/x"])
    assert contains(partial, blob) == {blob}
    (other,) = store(server, b"another chunk")
    fetch_oids(partial, "origin", [other])
    assert contains(partial, other) == {other}


def test_sha256_and_bare_both_ways(tmp_path: Path, env: dict[str, str]) -> None:
    for name in ("a.git", "b.git"):
        git(tmp_path, "init", "-q", "--bare", "--object-format=sha256", name)
    a, b = discover(tmp_path / "a.git"), discover(tmp_path / "b.git")
    oid = commit(a, "m")
    url = f"file://{b.git_dir}"
    assert push(a, url, [f"{oid}:refs/lepton/x"])["refs/lepton/x"].status == "new"
    (blob,) = store(b, b"x")
    fetch_oids(a, url, [blob])
    assert contains(a, blob) == {blob}
    with pytest.raises(LostObjectError, match="2" * 64):
        fetch_oids(a, url, [Oid("2" * 64)])
