"""Memory of add, push and checkout of a file far larger than memory should be."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.ground import Ground
from benchmarks.peers import LEPTON, Repository
from benchmarks.table import Row, size
from benchmarks.timing import FailedError, Watch, run

FILE = "model.safetensors"
PRIVATE = 400_000_000
MARK = 1_000_000_000


def rows(ground: Ground) -> Iterator[Row]:
    """Yield a row for each command."""
    file = ground.data.huge()
    what = f"{file.stat().st_size / (1 << 30):.2g} GiB"
    server = ground.folder("server")
    ground.git(server, "init", "-q", "--bare")
    source = Repository.new(ground, LEPTON, remote=server)
    source.put(file, name=FILE)
    yield _row(ground, f"memory: git add of {what}", ["git", "add", FILE], source.path)
    source.git("commit", "-q", "-m", "weights")
    yield _row(ground, f"memory: git push of {what}", ["git", "push", "-q", "origin", "main"], source.path)
    shutil.rmtree(server)
    source.points(FILE)
    yield _row(ground, f"memory: git lepton checkout of {what}", LEPTON.checkout, source.path)
    if not filecmp.cmp(source.path / FILE, file, shallow=False):
        raise FailedError("git lepton checkout did not restore the bytes")
    source.remove()


def _row(ground: Ground, what: str, command: Sequence[str], folder: Path) -> Row:
    watch = Watch()
    sample = run(command, cwd=folder, env=ground.env, watch=watch)
    name = max(watch.marks, key=watch.marks.__getitem__)
    mark = watch.marks[name]
    return Row(
        what,
        f"RssAnon + RssShmem {size(watch.private)} of all processes, VmHWM {size(mark)} ({name}); {sample.wall:.1f} s",
        "",
        "",
        f"≤ {size(PRIVATE)}, ≤ {size(MARK)}",
        watch.private <= PRIVATE and mark <= MARK,
        {"private_bytes": watch.private, "wall_s": sample.wall}
        | {f"mark_bytes_{process}": high for process, high in watch.marks.items()},
    )
