"""How fast the numbers of a comparison are, and in how much memory: a fine-tuned 1 GiB bfloat16 model.

    python benchmarks/comparison.py                 from files and from a store, each in a process of its own
    python benchmarks/comparison.py BEFORE AFTER    two files, or two manifests in a repository that has their weights

Every value of the synthetic pair is Gaussian (standard deviation 0.02) and moved by 1e-3, so that hardly one stays.
Speeds are in MB of one side's raw bytes, for each second on the clock and of processor time; files were hashed and
compared by structure before. Memory is the largest VmHWM of the process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from benchmarks import weights
from git_lepton.compare.numbers import NumberOptions, measure
from git_lepton.compare.sides import of_path
from git_lepton.compare.structure import compare
from git_lepton.errors import LeptonError
from git_lepton.git.repo import discover
from git_lepton.progress import Silent
from git_lepton.store.source import FileSource
from git_lepton.store.store import Store

LENGTH = 4 << 20
COLUMNS = 1024
"""Elements of a tensor, and of a row of it."""

MOVED = 1e-3
FASTEST = 250
MEMORY = 400
"""What it must reach, in MB a second and MB."""


def pair(folder: Path, size: int) -> tuple[Path, Path]:
    """Write the two models of `size` bytes, in whole tensors."""
    found = folder / "before.safetensors", folder / "after.safetensors"
    count = max(1, size // (2 * LENGTH))
    rows = [(f"layers.{n}.weight", "BF16", (LENGTH // COLUMNS, COLUMNS), 2 * LENGTH) for n in range(count)]

    def tensors(moved: float) -> Iterator[bytes]:
        for number in range(count):
            random = np.random.default_rng(number)
            values = random.standard_normal(LENGTH, np.float32) * np.float32(0.02)
            values += random.standard_normal(LENGTH, np.float32) * np.float32(moved)
            yield (values.view("<u4") >> 16).astype("<u2").tobytes()

    for path, moved in zip(found, (0.0, MOVED), strict=True):
        with path.open("wb") as stream:
            weights.write(stream, rows, tensors(moved), {})
    return found


def stored(files: tuple[Path, Path], folder: Path) -> tuple[Path, Path]:
    """Two manifests in a new repository that has the weights; the second version is stored as deltas of the first."""
    subprocess.run(["git", "init", "-q", folder], check=True)
    store = Store(discover(folder))
    first = store.add(FileSource(files[0]), "model.safetensors")
    second = store.add(FileSource(files[1]), "model.safetensors", candidates=[first])
    found = folder / "before.safetensors", folder / "after.safetensors"
    for path, manifest in zip(found, (first, second), strict=True):
        path.write_bytes(manifest.to_bytes())
    return found


def report(label: str, before: Path, after: Path) -> None:
    """Print one row: this process's speed and memory."""
    try:
        store = Store(discover(before.parent))
    except LeptonError:
        store = None
    sides = of_path(before, store), of_path(after, store)
    structure = compare(*sides)
    began, cpu = time.perf_counter(), time.process_time()
    found = measure(structure, *sides, NumberOptions(), Silent())
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    raw = sum(f.size_after for f in found.files) / 1e6
    mark = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    memory = int(mark.split()[1]) * 1024 / 1e6
    changed = sum(t.numbers.changed for f in found.files for t in f.tensors if t.numbers)
    print(f"{label:<12} {raw / wall:8.0f} {raw / cpu:10.0f} {memory:10.0f}   {changed:,} values changed", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Speed and memory of a comparison's numbers.")
    parser.add_argument("files", nargs="*", type=Path, help="two files or manifests")
    parser.add_argument("--label", default="given", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="of the synthetic models (1024)")
    options = parser.parse_args()
    if options.files:
        before, after = options.files
        report(options.label, before, after)
        return
    print(
        f"{'':<12} {'MB/s':>8} {'MB/s core':>10} {'memory MB':>10}   required: {FASTEST} MB/s, {MEMORY} MB", flush=True
    )
    with tempfile.TemporaryDirectory(prefix="numbers-") as folder:
        files = pair(Path(folder), options.size << 20)
        for label, (before, after) in (("files", files), ("store", stored(files, Path(folder, "repository")))):
            subprocess.run([sys.executable, __file__, "--label", label, before, after], check=True)


if __name__ == "__main__":
    main()
