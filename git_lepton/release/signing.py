"""Making annotated tags without moving a ref, and finding out who signed one.

`git tag` alone knows how to sign as the user configured it (ssh, gpg, x509, a program of their own), and it insists on
making a ref. A channel's tag must not move here before the remote has accepted it. So it is run in a git folder of its
own that shares our objects and includes our configuration, and is thrown away: what stays is the tag object.

Verification is git's as well, for one object id, so that what was checked is what is used. Who signed is the principal
that ssh-keygen found in the list of allowed signers, or the fingerprint of an OpenPGP key: never the tagger's line,
which is free text.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from git_lepton.errors import LeptonError, UsageError, VerificationError
from git_lepton.git.repo import Repo, config_bool, config_get, git_error
from git_lepton.release.names import TAGS
from git_lepton.release.tagobject import parse_tag
from git_lepton.values import Oid

_SSH_GOOD: Final = re.compile(r'^Good "git" signature for (\S+) with (\S+) key (\S+)$', re.MULTILINE)
_GPG_GOOD: Final = re.compile(r"^\[GNUPG:\] VALIDSIG ([0-9A-F]{40,64})\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose signatures count.

    Attributes:
        allowed_signers: a file as ssh-keygen(1), "ALLOWED SIGNERS", has it.
        revoked: a file of revoked keys, or None.
        principals: of the file, or fingerprints of OpenPGP keys; empty for all that the file has.
    """

    allowed_signers: Path
    revoked: Path | None = None
    principals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed: the principal, and the fingerprint of the key.

    `listed` tells that the file of allowed signers has the key; one of OpenPGP may be any that gpg happens to know.
    """

    principal: str
    key: str
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Signature:
    """What is known of a tag's signature, without refusing it.

    Attributes:
        state: "unchecked" where nobody told whose signatures count, or whose OpenPGP keys.
        principal: who signed; "" unless it is good.
        problem: why it is bad; "" unless it is.
    """

    state: Literal["good", "bad", "unsigned", "unchecked"]
    principal: str = ""
    problem: str = ""


def signature_of(repo: Repo, tag: Oid, *, signed: bool, trust: Trust | None) -> Signature:
    """Look at the signature of a tag object. `signed`: whether the object has one at all."""
    if not signed or trust is None:
        return Signature("unchecked" if signed else "unsigned")
    try:
        signer = signer_of(repo, tag, trust)
        if not signer.listed and not trust.principals:
            return Signature("unchecked")
        return Signature("good", _allowed(signer, trust).principal)
    except LeptonError as error:
        return Signature("bad", problem=error.message)


def signs_by_default(repo: Repo) -> bool:
    """Whether git is set up to sign: `tag.gpgSign`, or, where that says nothing, a key to sign with."""
    return config_bool(repo, "tag.gpgSign", default=config_get(repo, "user.signingKey") is not None)


def trust_of(repo: Repo, given: Path | None = None) -> Trust | None:
    """Whose signatures count here: a file that was given, else `gpg.ssh.allowedSignersFile`; None without either.

    Raises:
        UsageError: the file is not there.
    """
    configured = config_get(repo, "gpg.ssh.allowedSignersFile")
    path = given or (_path(repo, configured) if configured else None)
    if path is None:
        return None
    if not path.is_file():
        raise UsageError(f"the file of allowed signers is not there: {path}", hint="see ssh-keygen(1), ALLOWED SIGNERS")
    revoked = config_get(repo, "gpg.ssh.revocationFile")
    return Trust(path.absolute(), _path(repo, revoked) if revoked else None)


def _path(repo: Repo, text: str) -> Path:
    """A path as git reads it from its configuration; a relative one begins where git runs."""
    return repo.cwd / Path(text).expanduser()


def make_tag(repo: Repo, name: str, target: Oid, message: str, *, sign: bool) -> Oid:
    """Write an annotated tag object called `name` and return its id; no ref of the repository moves.

    Raises:
        UsageError: there is no identity, or the tag cannot be signed.
    """
    with _scratch(repo) as (folder, env):
        mode = ("-s",) if sign else ("--no-sign",)
        args = ("tag", "-a", *mode, "--cleanup=verbatim", "-F", "-", "--end-of-options", name, target)
        done = repo.git(*args, input=message.encode("utf-8", "surrogateescape"), env=env, check=False)
        oid = Oid((folder / TAGS / name).read_text(encoding="ascii").strip()) if done.status == 0 else None
        # git 2.39 makes an unsigned tag, and says nothing but the reason, when ssh-keygen cannot sign.
        if oid is None or (sign and not parse_tag(repo.git("cat-file", "tag", oid, env=env).stdout).signed):
            said = (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
            raise UsageError(
                f"the tag {name} could not be made: {said.removeprefix('fatal: ').removeprefix('error: ')}",
                hint="git says more with: git tag -s test HEAD" if sign else 'git config user.name "…" and user.email',
            )
        return oid


@contextmanager
def _scratch(repo: Repo) -> Iterator[tuple[Path, dict[str, str | None]]]:
    """A git folder that has our objects and our configuration, and no refs."""
    parent = repo.lepton_dir / "tmp"
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix="tag-") as name:
        folder = Path(name)
        (folder / "refs").mkdir()
        (folder / "HEAD").write_text("ref: refs/heads/none\n", encoding="ascii")
        sha256 = repo.object_format == "sha256"
        config = f"[core]\n\trepositoryformatversion = {int(sha256)}\n\tbare = false\n"
        config += "[extensions]\n\tobjectformat = sha256\n" if sha256 else ""
        for path in (repo.common_dir / "config", repo.git_dir / "config.worktree"):
            quoted = str(path).replace("\\", "\\\\").replace('"', '\\"')
            config += f'[include]\n\tpath = "{quoted}"\n' if path.is_file() else ""
        (folder / "config").write_bytes(os.fsencode(config))
        # The work tree of the configuration, where a submodule has one, is meant from another folder.
        env: dict[str, str | None] = {"GIT_DIR": name, "GIT_WORK_TREE": name, "GIT_COMMON_DIR": None}
        yield folder, {**env, "GIT_INDEX_FILE": None, "GIT_OBJECT_DIRECTORY": str(repo.object_dir)}


def verify(repo: Repo, tag: Oid, trust: Trust) -> Signer:
    """Who signed the tag object `tag`, one whose signature counts.

    Raises:
        VerificationError: nobody whose signature counts; `reason` is "unsigned" or "signer".
        GitError: the signature could not be checked at all.
    """
    return _allowed(signer_of(repo, tag, trust), trust)


def _allowed(signer: Signer, trust: Trust) -> Signer:
    if (trust.principals or not signer.listed) and signer.principal not in trust.principals:
        raise VerificationError(f"the tag is signed by {signer.principal}, who may not move this", reason="signer")
    return signer


def signer_of(repo: Repo, tag: Oid, trust: Trust) -> Signer:
    """Who signed the tag object `tag`, as far as cryptography tells. Raises as `verify`."""
    args = ["-c", f"gpg.ssh.allowedSignersFile={trust.allowed_signers}"]
    args += ["-c", f"gpg.ssh.revocationFile={trust.revoked or ''}"]
    done = repo.git(*args, "verify-tag", "--raw", tag, check=False)
    said = done.stderr.decode(errors="replace")
    if "no signature found" in said:
        raise VerificationError("the tag is not signed", reason="unsigned", hint="sign it: git config tag.gpgSign true")
    if done.status < 0 or not trust.allowed_signers.is_file():
        raise git_error((*args, "verify-tag", tag), done)
    ssh, gpg = _SSH_GOOD.findall(said), _GPG_GOOD.findall(said)
    if done.status != 0 or len(ssh) + len(gpg) != 1:
        last = (said.strip().splitlines() or ["no reason given"])[-1]
        raise VerificationError(f"the signature of the tag is not good: {last}", reason="signer")
    return Signer(ssh[0][0], ssh[0][2]) if ssh else Signer(gpg[0], gpg[0], listed=False)
