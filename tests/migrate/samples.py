"""Repositories to migrate: real histories with everything that a history can hold."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from tests.support import git, model_bytes

ODD = "odd \u00e9 [1]*?.safetensors"
LFS = "filter=lfs diff=lfs merge=lfs -text"

needs_lfs = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")


def write(folder: Path, name: str, data: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def commit(folder: Path, message: str, **files: bytes) -> str:
    for name, data in files.items():
        write(folder, name, data)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def rich_history(folder: Path) -> None:
    """Merge, rename, deletion, modes, a link, a submodule, odd names, tags of all kinds, an encoded message."""
    commit(folder, "text before any weights", **{"README.md": b"hello\n"})
    write(folder, "models/a.safetensors", model_bytes(1))
    write(folder, "script.bin", b"#!/bin/sh\nexit 0\n")
    (folder / "script.bin").chmod(0o755)
    (folder / "link.safetensors").symlink_to("models/a.safetensors")
    head = git(folder, "rev-parse", "HEAD")
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{head},vendored")
    (folder / "vendored").mkdir()
    git(folder, "add", "-A", "--", "models", "script.bin", "link.safetensors")
    git(folder, "commit", "-q", "-m", "weights")
    git(folder, "tag", "light")
    git(folder, "tag", "-a", "v1", "-m", "first\n\nversion")
    git(folder, "tag", "-a", "outer", "-m", "a tag of a tag", "v1")
    git(folder, "switch", "-q", "-c", "side")
    commit(folder, "tuned", **{"models/a.safetensors": model_bytes(1, layer_1=9), "note.txt": b"side\n"})
    git(folder, "switch", "-q", "main")
    git(folder, "mv", "models/a.safetensors", "models/b.safetensors")
    write(folder, ODD, model_bytes(3))
    (folder / ODD).chmod(0o755)
    git(folder, "add", ODD)
    env = {**os.environ, "GIT_AUTHOR_DATE": "2001-02-03T04:05:06 +0700", "GIT_AUTHOR_NAME": "Ren\u00e9"}
    git(folder, "-c", "i18n.commitEncoding=ISO-8859-1", "commit", "-q", "-m", "renamed, caf\u00e9", env=env)
    git(folder, "merge", "-q", "--no-edit", "-m", "merged", "side", check=False)
    if git(folder, "ls-files", "-u"):
        git(folder, "rm", "-q", "--cached", "models/a.safetensors", check=False)
        write(folder, "models/b.safetensors", model_bytes(1, layer_1=9))
        git(folder, "add", "models")
        git(folder, "commit", "-q", "-m", "merged")
    git(folder, "rm", "-q", "script.bin")
    git(folder, "commit", "-q", "-m", "script gone")
    git(folder, "switch", "-q", "-c", "text-only", git(folder, "rev-list", "--max-parents=0", "HEAD"))
    commit(folder, "only text", **{"other.txt": b"x\n"})
    git(folder, "tag", "-a", "text", "-m", "names no weights")
    git(folder, "switch", "-q", "main")


def all_refs(folder: Path) -> str:
    return git(folder, "for-each-ref", "refs/heads", "refs/tags", "refs/original", "refs/stash")


def listing(folder: Path, rev: str) -> dict[str, str]:
    """Path -> mode and object of a commit, without attribute files."""
    rows = (line.split("\t") for line in git(folder, "ls-tree", "-r", "-z", rev).split("\0") if line)
    return {path: head for head, path in rows if not path.endswith(".gitattributes")}


def pointer(data: bytes) -> bytes:
    digest = hashlib.sha256(data).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(data)}\n".encode()


def keep_lfs_object(folder: Path, data: bytes) -> Path:
    digest = hashlib.sha256(data).hexdigest()
    path = folder / ".git" / "lfs" / "objects" / digest[:2] / digest[2:4] / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
