"""How fast two branches of one model merge, and in how much memory: a 1 GiB bfloat16 model, stored three times.

    python benchmarks/merging.py                     every case, each in a process of its own
    python benchmarks/merging.py --size 128 ties     one strategy on a smaller model

"disjoint": the branches trained different tensors, a tenth each; nothing is computed or encoded, and the time is beside
that of restoring and hashing the merged file. The strategies: both branches trained every tensor; MB are of the merged
file, and the time is all that the merge driver does: decide, compute, hash, encode and store. Memory is the largest
VmHWM of the process. Processor time is beside that on the clock, and MB per second of it, since other programs may run:
two threads do nearly all of the work.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the merge driver does, before anything loads numpy

import numpy as np
from blake3 import blake3

from benchmarks import weights
from git_lepton.__main__ import tune
from git_lepton.compare.mergevalues import Three
from git_lepton.config.values import MergeRule
from git_lepton.drivers.merging import merge_stored
from git_lepton.git.repo import discover
from git_lepton.store.manifest import parse
from git_lepton.store.source import FileSource
from git_lepton.store.store import Store

TENSORS = 128
COLUMNS = 1024
DISJOINT = "disjoint"
STRATEGIES = ("average", "slerp", "task-arithmetic", "ties", "dare-ties")
SHARE = 10
"""One tensor in so many is changed by a branch of the first case."""
FASTEST = 150
MEMORY = 400
"""What strategies must reach, in MB a second and MB."""


def model(path: Path, size: int, branch: int, *, every: int) -> Path:
    """Write a model of `size` bytes; a branch (1 or 2) has moved one tensor in `every`, each branch its own."""
    length = size // TENSORS // 2
    rows = [(f"layers.{n}.weight", "BF16", (length // COLUMNS, COLUMNS), 2 * length) for n in range(TENSORS)]

    def tensors() -> Iterator[bytes]:
        for number in range(TENSORS):
            values = np.random.default_rng(number).standard_normal(length, np.float32) * np.float32(0.02)
            if branch and number % every == (branch if every > 1 else 0):
                random = np.random.default_rng(1000 * branch + number)
                values += random.standard_normal(length, np.float32) * np.float32(1e-3)
            yield (values.view("<u4") >> 16).astype("<u2").tobytes()

    with path.open("wb") as stream:
        weights.write(stream, rows, tensors(), {})
    return path


def stored(folder: Path, size: int, *, every: int) -> None:
    """A repository with three versions, whose manifests are files in it."""
    subprocess.run(["git", "init", "-q", folder], check=True)
    with Store(discover(folder)) as store:
        base = None
        for branch, name in enumerate(("base", "ours", "theirs")):
            path = model(folder / "model.safetensors", size, branch, every=every)
            with FileSource(path) as source:
                found = store.add(source, path.name, candidates=[base] if base else [])
            base = base or found
            (folder / name).write_bytes(found.to_bytes())
            path.unlink()


def report(folder: Path, case: str) -> None:
    """Merge, and print one row."""
    with Store(discover(folder)) as store:
        three = Three(*(parse((folder / name).read_bytes()) for name in ("base", "ours", "theirs")))
        assert three.base is not None
        rules = [] if case == DISJOINT else [MergeRule("*", case)]
        began, cpu = time.perf_counter(), time.process_time()
        manifest = merge_stored(store, three, rules, "model.safetensors").manifest
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        assert manifest is not None
        mark = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        memory, size = int(mark.split()[1]) * 1024 / 1e6, manifest.size / 1e6
        speeds = f"{size / wall:6.0f} MB/s {size / cpu:6.0f} MB/s"
        print(f"{case:<16} {wall:6.2f} s {cpu:6.2f} s {speeds} {memory:5.0f} MB", end="")
        if case == DISJOINT:
            began, cpu = time.perf_counter(), time.process_time()
            whole = blake3()
            store.restore_to(manifest.blake3, whole.update)
            print(f"   restored: {time.perf_counter() - began:.2f} s, {time.process_time() - cpu:.2f} s cpu", end="")
        print(flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Speed and memory of merging two branches of a model.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{DISJOINT}, {', '.join(STRATEGIES)}")
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="of the synthetic model (1024)")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    tune(["merge-driver"])
    cases = options.cases or [DISJOINT, *STRATEGIES]
    if options.folder:
        report(options.folder, cases[0])
        return
    columns = f"{'time':>8} {'cpu':>8} {'':>11} {'of cpu':>11} {'memory':>8}"
    print(f"{'':<16} {columns}   required: {FASTEST} MB/s, {MEMORY} MB", flush=True)
    for every in (SHARE, 1):
        chosen = [case for case in cases if (case == DISJOINT) == (every > 1)]
        if not chosen:
            continue
        with tempfile.TemporaryDirectory(prefix="merging-") as folder:
            stored(Path(folder), options.size << 20, every=every)
            for case in chosen:
                subprocess.run([sys.executable, __file__, "--folder", folder, case], check=True)


if __name__ == "__main__":
    main()
