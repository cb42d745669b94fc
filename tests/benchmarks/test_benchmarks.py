"""The benchmarks' own parts, and (`-m bench`) the whole table at toy size, whose figures mean nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import run as command
from benchmarks import weights
from benchmarks.data import Data
from benchmarks.table import Row, faster, heading, not_slower
from benchmarks.timing import FailedError, Sample, Timing, Watch, interleave, occupied, run

ROWS = {
    "add": 2,
    "status": 1,
    "restore": 2,
    "sizes": 2,
    "wire": 3,
    "clone": 2,
    "transfer": 2,
    "memory": 3,
    "startup": 3,
}
"""Rows of each group where there is no real model."""

ALLOCATE = "import time; kept = bytearray(200 << 20); time.sleep(1)"


def data_in(folder: Path, scale: float = 0.001) -> Data:
    return Data(folder, scale, None, sys.executable)


def test_a_row_is_a_line_of_markdown() -> None:
    row = Row("a | b", "1 s", "2 s", "2 x", "≥ 2 x", met=True)
    assert row.markdown() == "| a \\| b | 1 s | 2 s | 2 x | ≥ 2 x | yes |"
    assert row.markdown().replace("\\|", "").count("|") == heading().splitlines()[1].count("|")


def test_ratios_are_of_medians_and_judge() -> None:
    ours = Timing((Sample(1, 1), Sample(2, 2), Sample(30, 2)))
    peer = Timing((Sample(5, 5), Sample(6, 5), Sample(6, 5)))
    assert faster("", ours, "peer", peer, raw=1, at_least=3).met is True
    assert faster("", ours, "peer", peer, raw=1, at_least=3.1).met is False
    assert not_slower("", ours, "peer", peer, at_most=0.3).met is False
    assert not_slower("", ours, "peer", peer, at_most=0.34).met is True


def test_contenders_take_turns() -> None:
    order: list[str] = []

    def contender(name: str) -> Sample:
        order.append(name)
        return Sample(1, 1)

    found = interleave(2, a=lambda: contender("a"), b=lambda: contender("b"))
    assert order == ["a", "b", "a", "b"]
    assert len(found["b"].samples) == 2


def test_processor_time_counts_children(tmp_path: Path) -> None:
    inner = "import time\nwhile time.process_time() < 0.3: pass"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    assert run([sys.executable, "-c", outer], cwd=tmp_path, env=os.environ).cpu >= 0.3


def test_a_failing_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(FailedError, match=r"sh -c .* -> 3: oh"):
        run(["sh", "-c", "echo oh; exit 3"], cwd=tmp_path, env=os.environ)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_of_all_processes_is_seen(tmp_path: Path) -> None:
    watch = Watch()
    two = f"'{sys.executable}' -c '{ALLOCATE}' & '{sys.executable}' -c '{ALLOCATE}'; wait"
    run(["sh", "-c", two], cwd=tmp_path, env=os.environ, watch=watch)
    assert watch.private >= 400 << 20
    assert 200 << 20 <= max(watch.marks.values()) < 300 << 20


def test_disk_counts_a_file_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(1 << 20))
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert 1 << 20 <= occupied(tmp_path) < 1.1 * (1 << 20)


def test_a_next_version_differs_in_a_tenth_of_its_tensors(tmp_path: Path) -> None:
    data = data_in(tmp_path)
    first, second = data.bf16(), data.bf16_next()
    layout = weights.read_layout(first)
    assert layout == weights.read_layout(second)
    assert layout.body + layout.tensors[-1].end == first.stat().st_size
    old, new = first.read_bytes(), second.read_bytes()
    spans = [slice(layout.body + t.start, layout.body + t.end) for t in layout.tensors]
    assert [n for n, span in enumerate(spans) if old[span] != new[span]] == list(range(0, 128, 10))
    assert data_in(tmp_path / "again").bf16().read_bytes() == old


def test_the_relay_counts_both_directions(tmp_path: Path) -> None:
    relay = Path(command.__file__).with_name("relay.py")
    log = tmp_path / "log"
    argv = [sys.executable, str(relay), "-o", "SendEnv=GIT_PROTOCOL", "here", "cat; printf 1234"]
    env = os.environ | {"RELAY_LOG": str(log)}
    done = subprocess.run(argv, check=True, input=b"x" * 3_000_000, env=env, capture_output=True)
    assert done.stdout == b"x" * 3_000_000 + b"1234"
    assert json.loads(log.read_text()) == {"command": argv[-1], "up": 3_000_000, "down": 3_000_004}


@pytest.mark.bench
@pytest.mark.skipif(not shutil.which("git-lfs"), reason="the table compares with git-lfs")
@pytest.mark.parametrize(("group", "rows"), ROWS.items())
def test_a_group_at_toy_size(group: str, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # the real model is not downloaded here
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    numbers = tmp_path / "numbers.json"
    argv = [
        "--only",
        group,
        "--scale",
        "0.001",
        "--runs",
        "1",
        "--data",
        str(tmp_path / "data"),
        "--json",
        str(numbers),
    ]
    assert command.main(argv) in {0, 1}
    found = json.loads(numbers.read_text())["rows"]
    assert [row["ours"] for row in found if row["ours"].startswith("failed")] == []
    assert len(found) == rows
    assert list((tmp_path / "data").glob("work-*")) == []


def test_every_group_has_a_smoke_run() -> None:
    assert set(ROWS) == set(command.CASES)
