"""Learning once which refs a remote accepts.

The probe pushes what a version's push will push, a commit with a blob, under a random name, and deletes it. The
answer is kept in this clone's configuration by address, `lepton.<url>.refs`, as "lepton" or "heads".
"""

from __future__ import annotations

import secrets
from typing import Final

from git_lepton.errors import GitError
from git_lepton.git.objectid import BLOB_MODE, TreeEntry, encode_tree, hash_object
from git_lepton.git.remote import push
from git_lepton.git.repo import Repo, config_get, config_set
from git_lepton.store.trees import GitObject, commit
from git_lepton.transfer.places import HEADS, LEPTON, NAMESPACES, Advertised, Namespace
from git_lepton.transfer.remotes import push_url
from git_lepton.transfer.wraps import scratch

HEADS_PRICE: Final = (
    "this host accepts heads and tags only, so weights go to refs/heads/lepton: every plain clone downloads all of"
    " them; a repository of their own avoids that ([store] url in lepton.toml)"
)


def known_namespace(repo: Repo, remote: str, seen: Advertised) -> Namespace | None:
    """Where `remote` keeps versions, as far as an earlier probe or what it has by now tells."""
    cached = config_get(repo, _key(repo, remote))
    if cached is not None and cached in NAMESPACES:
        return NAMESPACES[cached]
    present = {pair.namespace for pair in seen.pairs.values()}
    return LEPTON if LEPTON in present else HEADS if HEADS in present else None


def namespace(repo: Repo, remote: str, seen: Advertised) -> Namespace:
    """Where to push versions to on `remote`; it is probed when that is not known."""
    return known_namespace(repo, remote, seen) or probe(repo, remote)


def probe(repo: Repo, remote: str) -> Namespace:
    """Try what `remote` accepts, and remember it.

    Raises:
        GitError: it accepts neither namespace (no write access, for one); with the server's reason.
        MissingError: it cannot be reached.
    """
    blob = _object(repo, "blob", b"git-lepton asks whether this ref is accepted: " + secrets.token_hex(16).encode())
    tree = _object(repo, "tree", encode_tree([TreeEntry(BLOB_MODE, b"probe", blob.oid)]))
    made = commit(tree.oid, (), repo.object_format)
    reason = "no answer"
    with scratch(repo, [blob, tree, made]) as there:
        for candidate in (LEPTON, HEADS):
            ref = candidate.probe(secrets.token_hex(8))
            result = push(there, remote, [f"{made.oid}:{ref}"]).get(ref)
            if result is not None and result.status != "rejected":
                push(there, remote, [f":{ref}"])
                config_set(repo, _key(repo, remote), candidate.name)
                return candidate
            reason = reason if result is None else result.summary
    raise GitError(["push"], 1, f"{remote} accepts neither refs/lepton nor refs/heads/lepton: {reason}")


def _key(repo: Repo, remote: str) -> str:
    return f"lepton.{push_url(repo, remote)}.refs"


def _object(repo: Repo, kind: str, data: bytes) -> GitObject:
    return GitObject("blob" if kind == "blob" else "tree", hash_object(kind, [data], repo.object_format), data)
