"""Tags made and verified by real git with real ssh keys."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from git_lepton.errors import CorruptError, UsageError, VerificationError
from git_lepton.git.objects import open_reader
from git_lepton.git.repo import Repo, config_set, discover
from git_lepton.release import log, message
from git_lepton.release.message import Move
from git_lepton.release.names import Version
from git_lepton.release.signing import Signer, Trust, make_tag, verify
from git_lepton.release.tagobject import parse_tag
from git_lepton.values import Hash, Oid
from tests.support import git


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with the keys of ada, bob and eve, and allowed signers who are the first two."""
    folder = tmp_path / "keys"
    folder.mkdir()
    for name in ("ada", "bob", "eve"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name], check=True)
    public = {name: (folder / f"{name}.pub").read_text().split()[:2] for name in ("ada", "bob")}
    lines = [f'{name}@example.org namespaces="git" {" ".join(key)}\n' for name, key in public.items()]
    (folder / "allowed").write_text("".join(lines))
    return folder


def sign_as(repo: Repo, keys: Path, who: str) -> None:
    config_set(repo, "gpg.format", "ssh")
    config_set(repo, "user.signingKey", str(keys / who))


def commit(repo: Repo) -> Oid:
    repo.git("commit", "-q", "--allow-empty", "-m", "c")
    return Oid(repo.git("rev-parse", "HEAD").stdout.decode().strip())


def move(target: Oid, seq: int = 1, prev: Oid | None = None) -> Move:
    version = Version.parse(f"1.{seq}.0")
    return Move("digits", "prod", seq, "promote", version, target, Hash("b" * 64), prev=prev, by="Ada", why="better")


def test_a_tag_is_made_without_moving_a_ref(repo: Repo) -> None:
    target = commit(repo)
    text = message.render(move(target))
    oid = make_tag(repo, "digits@prod", target, text, sign=False)
    assert repo.git("for-each-ref", "refs/tags").stdout == b""
    tag = parse_tag(bytes(open_reader(repo).read(oid)[1]))
    assert (tag.target, tag.name, tag.signed) == (target, "digits@prod", False)
    assert message.parse(tag.message) == move(target)
    assert not list((repo.lepton_dir / "tmp").iterdir())


@pytest.mark.parametrize("algo", ["sha1", "sha256"])
def test_in_a_submodule_and_in_both_object_formats(tmp_path: Path, env: dict[str, str], algo: str) -> None:
    git(tmp_path, "init", "-q", f"--object-format={algo}", "r")
    repo = discover(tmp_path / "r")
    config_set(repo, "core.worktree", "../../r")  # as submodules have it: relative to the git folder
    target = commit(repo)
    tag = parse_tag(bytes(open_reader(repo).read(make_tag(repo, "a@b", target, "x\n", sign=False))[1]))
    assert tag.target == target


def test_who_signed_is_found(repo: Repo, keys: Path) -> None:
    target = commit(repo)
    sign_as(repo, keys, "ada")
    oid = make_tag(repo, "digits@prod", target, message.render(move(target)), sign=True)
    trust = Trust(keys / "allowed")
    assert verify(repo, oid, trust).principal == "ada@example.org"
    tag = parse_tag(bytes(open_reader(repo).read(oid)[1]))
    assert tag.signed
    assert message.parse(tag.message) == move(target)
    assert verify(repo, oid, replace(trust, principals=("ada@example.org",))).principal == "ada@example.org"
    with pytest.raises(VerificationError, match="may not") as caught:
        verify(repo, oid, replace(trust, principals=("bob@example.org",)))
    assert caught.value.reason == "signer"


def test_unsigned_unknown_and_revoked_are_refused(repo: Repo, keys: Path) -> None:
    target = commit(repo)
    trust = Trust(keys / "allowed")
    unsigned = make_tag(repo, "digits@prod", target, "x\n", sign=False)
    with pytest.raises(VerificationError) as caught:
        verify(repo, unsigned, trust)
    assert caught.value.reason == "unsigned"
    sign_as(repo, keys, "eve")
    unknown = make_tag(repo, "digits@prod", target, "x\n", sign=True)
    with pytest.raises(VerificationError) as caught:
        verify(repo, unknown, trust)
    assert caught.value.reason == "signer"
    sign_as(repo, keys, "bob")
    revoked = make_tag(repo, "digits@prod", target, "x\n", sign=True)
    assert verify(repo, revoked, trust).principal == "bob@example.org"
    with pytest.raises(VerificationError) as caught:
        verify(repo, revoked, replace(trust, revoked=keys / "bob.pub"))
    assert caught.value.reason == "signer"


@pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed")
def test_openpgp_counts_by_fingerprint_alone(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as home:  # a socket's path must be short
        monkeypatch.setenv("GNUPGHOME", home)
        gpg = ["gpg", "--batch", "--quiet", "--passphrase", ""]
        try:
            subprocess.run([*gpg, "--quick-gen-key", "Ada <ada@example.org>", "ed25519", "sign"], check=True)
            listed = subprocess.run([*gpg, "--list-keys", "--with-colons"], check=True, capture_output=True).stdout
            key = next(line.split(b":")[9].decode() for line in listed.splitlines() if line.startswith(b"fpr"))
            config_set(repo, "gpg.format", "openpgp")
            config_set(repo, "user.signingKey", key)
            target = commit(repo)
            tag = make_tag(repo, "digits@prod", target, message.render(move(target)), sign=True)
            nobody = repo.cwd / "nobody"
            nobody.touch()
            assert verify(repo, tag, Trust(nobody, principals=(key,))) == Signer(key, key, listed=False)
            for others in ((), ("ada@example.org",), ("A" * 40,)):
                with pytest.raises(VerificationError, match="may not move this"):
                    verify(repo, tag, Trust(nobody, principals=others))
            subprocess.run([*gpg, "--yes", "--delete-secret-and-public-key", key], check=True)
            with pytest.raises(VerificationError, match="not good"):
                verify(repo, tag, Trust(nobody, principals=(key,)))
        finally:
            subprocess.run(["gpgconf", "--kill", "all"], check=False)


def test_a_repository_cannot_name_its_own_signers(repo: Repo, keys: Path) -> None:
    target = commit(repo)
    sign_as(repo, keys, "eve")
    own = keys / "own"
    own.write_text("ada@example.org " + (keys / "eve.pub").read_text())
    config_set(repo, "gpg.ssh.allowedSignersFile", str(own))
    oid = make_tag(repo, "digits@prod", target, "x\n", sign=True)
    with pytest.raises(VerificationError):
        verify(repo, oid, Trust(keys / "allowed"))


def test_a_key_that_is_not_there_is_an_error_with_a_hint(repo: Repo, keys: Path) -> None:
    target = commit(repo)
    sign_as(repo, keys, "nobody")
    with pytest.raises(UsageError, match="could not be made"):
        make_tag(repo, "digits@prod", target, "x\n", sign=True)


def test_the_log_is_read_as_it_was_written(repo: Repo) -> None:
    objects, target = open_reader(repo), commit(repo)
    tip, tag, wrote = None, None, []
    for seq in (1, 2, 3):
        said = move(target, seq, tag)
        tag = make_tag(repo, "digits@prod", target, message.render(said), sign=False)
        tip = log.append(repo, objects, tag, tip)
        wrote.append((tag, said))
    assert tip is not None
    found = list(log.read(repo, objects, tip))
    assert [(e.tag_oid, e.move) for e in found] == wrote[::-1]


def test_a_log_with_a_gap_is_not_believed(repo: Repo) -> None:
    objects, target = open_reader(repo), commit(repo)
    first = make_tag(repo, "digits@prod", target, message.render(move(target)), sign=False)
    third = make_tag(repo, "digits@prod", target, message.render(move(target, 3, first)), sign=False)
    tip = log.append(repo, objects, third, log.append(repo, objects, first, None))
    with pytest.raises(CorruptError, match="lacks a move"):
        list(log.read(repo, objects, tip))
    with pytest.raises(CorruptError, match="none of a channel's log"):
        list(log.read(repo, objects, target))
