"""Blobs that a partial clone has left on its remote, brought together when a revision is looked at.

We never let git fetch behind our back, since that would be one connection for each object.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from git_lepton.git.lstree import ls_tree
from git_lepton.git.objects import ObjectReader
from git_lepton.git.remote import fetch_oids
from git_lepton.git.repo import Repo, config_bool
from git_lepton.transfer.remotes import remote_names


def bring_blobs(repo: Repo, objects: ObjectReader, rev: str, wanted: Callable[[str], bool]) -> None:
    """Have the files of `rev` here whose paths are wanted; nothing happens in a clone that is whole.

    Raises:
        MissingError: the remote cannot be reached, or has lost one.
    """
    promised = (name for name in remote_names(repo) if config_bool(repo, f"remote.{name}.promisor", default=False))
    remote = next(promised, None)
    if remote is None:
        return
    oids = {item.oid for item in ls_tree(repo, rev) if item.type == "blob" and wanted(os.fsdecode(item.path))}
    fetch_oids(repo, remote, sorted(oids - objects.contains(oids)))
