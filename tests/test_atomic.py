from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from git_lepton import atomic
from git_lepton.errors import RaceLostError


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def dead_token() -> str:
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    _, host, boot = atomic.owner_token().split(" ")
    return f"{int(child.stdout)} {host} {boot}"


@pytest.mark.parametrize("durable", [True, False])
def test_write_file_replaces_whole(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "a"
    atomic.write_file(path, b"one", durable=durable)
    atomic.write_file(path, memoryview(b"two"), mode=0o640, durable=durable)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o640
    assert names(tmp_path) == ["a"]


def test_default_mode_obeys_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        atomic.write_file(tmp_path / "a", b"")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), atomic.writer(path) as stream:
        stream.write(b"half")
        raise KeyError
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_temporary_is_removed_and_names_us(tmp_path: Path) -> None:
    with atomic.temporary(tmp_path, ".x") as path:
        path.write_bytes(b"")
        assert path.suffix == ".x"
        assert atomic.clean_owned(tmp_path) == []
    assert names(tmp_path) == []


def test_owner_tokens() -> None:
    pid, host, boot = atomic.owner_token().split(" ")
    assert int(pid) == os.getpid()
    assert not atomic.owner_is_dead(atomic.owner_token() + "\n")
    assert atomic.owner_is_dead(dead_token())
    assert not atomic.owner_is_dead(f"{dead_token().split(' ')[0]} {host}x {boot}")
    for text in (
        "",
        "0 a b",
        "x y z",
        "1 2",
        "-5 host boot",
        f"{pid} {host} {boot} more",
        "9" * 18 + f" {host} {boot}",
    ):
        assert not atomic.owner_is_dead(text)
    if boot != "-":
        assert atomic.owner_is_dead(f"{pid} {host} 00000000-0000-0000-0000-000000000000:1")
        assert not atomic.owner_is_dead(f"{pid} {host} -")
        assert not atomic.owner_is_dead(f"{dead_token().split(' ')[0]} {host} {boot}1")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")
def test_a_process_that_nobody_waited_for_is_dead() -> None:
    _, host, boot = atomic.owner_token().split()
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert not atomic.owner_is_dead(f"{process.pid} {host} {boot}")
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert atomic.owner_is_dead(f"{process.pid} {host} {boot}")


def test_clean_owned_takes_only_what_the_dead_left(tmp_path: Path) -> None:
    mine = tmp_path / atomic.owned_name(".pack-part")
    theirs = tmp_path / (dead_token().replace(" ", "~") + "~0123456789ab.part")
    other = tmp_path / "user.txt"
    for path in (mine, theirs, other):
        path.write_bytes(b"")
    assert atomic.clean_owned(tmp_path) == [theirs]
    assert names(tmp_path) == sorted([mine.name, other.name])
    assert atomic.clean_owned(tmp_path / "absent") == []


def test_lock_excludes_and_names_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with atomic.Lock(path):
        assert path.read_text().strip() == atomic.owner_token()
        with pytest.raises(RaceLostError, match=str(os.getpid())):
            atomic.Lock(path, timeout=0.05).acquire()
    with atomic.Lock(path, timeout=0):
        pass


def test_lock_dies_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    script = (
        "import sys,os; from pathlib import Path; from git_lepton.atomic import Lock\n"
        "Lock(Path(sys.argv[1])).acquire(); print('held', flush=True); sys.stdin.read()"
    )
    root = Path(__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(RaceLostError):
            atomic.Lock(path, timeout=0).acquire()
        child.kill()
        child.wait()
    atomic.Lock(path, timeout=5).acquire()


def test_lock_file_commits_or_leaves_everything(tmp_path: Path) -> None:
    path = tmp_path / "index"
    path.write_bytes(b"old")
    with atomic.LockFile(path, timeout=0):
        with pytest.raises(RaceLostError, match=r"index\.lock"), atomic.LockFile(path, timeout=0.05):
            pass
        assert names(tmp_path) == ["index", "index.lock"]
    assert path.read_bytes() == b"old"
    with atomic.LockFile(path, timeout=0) as lock:
        lock.commit(b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["index"]
