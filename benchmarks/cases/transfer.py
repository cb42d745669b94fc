"""Time of push and fetch, against plain git that moves the very same objects.

The peer is git alone, asked to push the version's commit to a branch of another empty server, from the same repository
and the same pack, without hooks; and to fetch that branch into an empty repository. Both pay for git's own work on
those bytes; the difference is ours.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.ground import Ground
from benchmarks.peers import LEPTON, Repository
from benchmarks.table import Row, not_slower
from benchmarks.timing import Sample, interleave, run

FILE = "model.safetensors"
VERSIONS = "refs/lepton/models/"
AT_MOST = 1.3


def rows(ground: Ground) -> Iterator[Row]:
    """Yield the rows of push and of fetch."""
    source = Repository.new(ground, LEPTON)
    source.commit(ground.data.bf16(), name=FILE)
    version = source.git("for-each-ref", "--format=%(objectname)", VERSIONS)
    pushed = interleave(
        ground.runs,
        ours=_pushing(ground, source, ["git", "push", "-q"], "main"),
        peer=_pushing(ground, source, ["git", "push", "-q", "--no-verify"], f"{version}:refs/heads/bytes"),
    )
    yield not_slower("time of push, new version", pushed["ours"], "git, same objects", pushed["peer"], at_most=AT_MOST)
    servers = [_server(ground) for _ in range(2)]
    source.git("push", "-q", f"file://{servers[0]}", "main")
    source.git("push", "-q", "--no-verify", f"file://{servers[1]}", f"{version}:refs/heads/bytes")
    fetched = interleave(ground.runs, ours=_ours(ground, servers[0]), peer=_plain(ground, servers[1]))
    yield not_slower(
        "time of fetch, new version", fetched["ours"], "git, same objects", fetched["peer"], at_most=AT_MOST
    )
    for folder in (*servers, source.path):
        shutil.rmtree(folder)


def _server(ground: Ground) -> Path:
    server = ground.folder("server")
    ground.git(server, "init", "-q", "--bare")
    return server


def _pushing(ground: Ground, source: Repository, command: list[str], what: str) -> Callable[[], Sample]:
    def once() -> Sample:
        server = _server(ground)
        sample = run([*command, f"file://{server}", what], cwd=source.path, env=ground.env)
        shutil.rmtree(server)
        return sample

    return once


def _ours(ground: Ground, server: Path) -> Callable[[], Sample]:
    """`git lepton fetch` in a clone without weights."""

    def once() -> Sample:
        clone = ground.folder("clone")
        ground.git(ground.work, "clone", "-q", f"file://{server}", clone, env={LEPTON.skip: "1"})
        sample = run(["git", "lepton", "fetch"], cwd=clone, env=ground.env)
        shutil.rmtree(clone)
        return sample

    return once


def _plain(ground: Ground, server: Path) -> Callable[[], Sample]:
    """`git fetch` of the branch into an empty repository."""

    def once() -> Sample:
        clone = ground.folder("clone")
        ground.git(clone, "init", "-q")
        sample = run(["git", "fetch", "-q", f"file://{server}", "bytes:bytes"], cwd=clone, env=ground.env)
        shutil.rmtree(clone)
        return sample

    return once
