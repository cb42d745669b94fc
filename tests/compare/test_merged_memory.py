"""Merging takes as much memory for a large model as for a small one."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

_MERGE = """
import resource, sys
from pathlib import Path
from git_lepton.cli.merge_models import run
from git_lepton.config.values import MergeRule
a, b, base, out = map(Path, sys.argv[2:])
run(a, b, base, [MergeRule("*", sys.argv[1])], out, as_json=False, quiet=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
_SIZE = 192 << 20
_BLOCK = 1 << 20


def write(path: Path, seed: int) -> Path:
    """A model of one large bf16 tensor."""
    header = {"w": {"dtype": "BF16", "shape": [_SIZE // 2], "data_offsets": [0, _SIZE]}}
    text = json.dumps(header).encode()
    values = np.random.default_rng(seed).standard_normal(_BLOCK // 2, dtype=np.float32)
    block = (values.view(np.uint32) >> 16).astype(np.uint16)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for number in range(_SIZE // _BLOCK):
            file.write(np.roll(block, number).tobytes())
    return path


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["average", "ties"])
def test_memory_does_not_grow_with_the_model(tmp_path: Path, strategy: str) -> None:
    files = [write(tmp_path / f"{seed}.safetensors", seed) for seed in range(3)]
    command = [sys.executable, "-c", _MERGE, strategy, *map(str, files), str(tmp_path / "out.safetensors")]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    peak = int(done.stdout.split()[-1]) << 10
    assert peak < _SIZE, "less than one of the three files that are read"
