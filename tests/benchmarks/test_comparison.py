"""The benchmark of a comparison's numbers at toy size, whose figures mean nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import comparison


@pytest.mark.bench
def test_a_row_from_files_and_one_from_a_store() -> None:
    argv = [sys.executable, str(Path(comparison.__file__)), "--size", "4"]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == ["files", "store"]
    assert rows[0][4] == rows[1][4]
    assert all(float(row[3]) > 0 for row in rows)
