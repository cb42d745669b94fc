"""Copying objects from a repository on this machine, as `git clone --local` does for whole repositories.

git would start two processes that pack, send and index what both can read; on chunks that is five times slower than
reading them from one pack and writing them to another. Every object is hashed on the way, so a damaged one is noticed
as it would be by git.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from git_lepton.errors import CorruptError, UsageError
from git_lepton.git.objects import open_reader
from git_lepton.git.packfile import PackWriter
from git_lepton.git.repo import Repo, discover
from git_lepton.values import Oid

_THREADS: Final = 2


def repository_at(url: str, near: Repo) -> Repo | None:
    """The repository that a local `url` (a path, or `file://…`) names, if it is one that we may read directly.

    Args:
        url: as git resolved it; a relative path is relative to where `near` runs git.
        near: the repository that objects shall go to; the other must name objects in the same way.
    """
    path = Path(unquote(url.removeprefix("file://"))) if url.startswith("file:///") else near.cwd / url
    try:
        found = discover(path) if path.is_dir() else None
    except UsageError:  # no repository, or one of another owner, which git refuses to open
        return None
    # git looks upwards for a repository; a remote is the very folder that was named.
    if found is None or found.object_format != near.object_format:
        return None
    return found if found.git_dir.resolve() in {path.resolve(), (path / ".git").resolve()} else None


def copy_objects(source: Repo, target: Repo, oids: Sequence[Oid]) -> None:
    """Store those of these objects of `source` that `target` lacks in one pack, with no ref to hold them.

    Raises:
        MissingError: `source` lacks one; nothing was stored.
        CorruptError: one is damaged there; nothing was stored.
    """
    with closing(open_reader(target)) as here:
        present = here.contains(oids)
    wanted = [oid for oid in oids if oid not in present]
    if not wanted:
        return
    with closing(open_reader(source)) as reader, PackWriter(target, objects=len(wanted)) as pack:

        def copy(oid: Oid) -> None:
            kind, data = reader.read(oid)
            if pack.add(kind, [data], compress=kind != "blob") != oid:
                raise CorruptError(f"object {oid} is damaged in {source.git_dir}")

        with ThreadPoolExecutor(_THREADS, thread_name_prefix="copy") as pool:
            for _ in pool.map(copy, wanted):
                pass
        with pack.finish() as pending:
            pending.publish()
