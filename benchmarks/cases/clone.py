"""A fresh clone of a sharded checkpoint, to weight files in the work tree: time, and the most disk it takes."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.ground import Ground
from benchmarks.peers import LEPTON, LFS, Kind, Repository
from benchmarks.table import Row, not_slower
from benchmarks.timing import FailedError, Sample, Watch, interleave, run

RUNS = 3


def rows(ground: Ground) -> Iterator[Row]:
    """Yield the row of the time and the row of the disk."""
    shards = ground.data.shards()
    raw = sum(s.stat().st_size for s in shards)
    servers = {kind: _serve(ground, kind, shards) for kind in (LEPTON, LFS)}
    disks = {kind: Watch() for kind in servers}
    timings = interleave(
        ground.repeated(RUNS).runs,
        ours=_cloning(ground, servers[LEPTON], shards, disks[LEPTON]),
        peer=_cloning(ground, servers[LFS], shards, disks[LFS]),
    )
    for server in servers.values():
        shutil.rmtree(server)
    what = f"fresh clone of {raw / 1e9:.2g} GB in {len(shards)} shards, to files on disk"
    yield not_slower(what, timings["ours"], LFS.name, timings["peer"], at_most=1)
    ours, peer = (disks[kind].disk / raw for kind in (LEPTON, LFS))
    yield Row(
        "its peak disk",
        f"{ours:.2f} x the files",
        f"{LFS.name} {peer:.2f} x",
        f"{ours / peer:.2f} x",
        "≤ 1.7 x",
        ours <= 1.7,
        {"ours": ours, "peer": peer, "raw_bytes": raw},
    )


def _serve(ground: Ground, kind: Kind, shards: Sequence[Path]) -> Path:
    """A bare repository that holds the checkpoint."""
    server = ground.folder("server")
    ground.git(server, "init", "-q", "--bare")
    source = Repository.new(ground, kind, remote=server)
    source.commit(*shards)
    source.git("push", "-q", "origin", "main")
    source.remove()
    return server


def _cloning(ground: Ground, server: Path, shards: Sequence[Path], disk: Watch) -> Callable[[], Sample]:
    def once() -> Sample:
        top = ground.folder("clone")
        disk.folder = top
        (top / "tmp").mkdir()
        env = {**ground.env, "TMPDIR": str(top / "tmp")}  # temporary files count, wherever a tool puts them
        sample = run(["git", "clone", "-q", f"file://{server}", top / "clone"], cwd=top, env=env, watch=disk)
        for shard in shards:
            if not filecmp.cmp(top / "clone" / shard.name, shard, shallow=False):
                raise FailedError(f"the clone has other bytes in {shard.name}")
        shutil.rmtree(top)
        return sample

    return once
