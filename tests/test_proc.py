from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from git_lepton.errors import CommandError
from git_lepton.proc import Spare, run, spawn


def test_input_output_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GONE", "x")
    script = "pwd; echo $MORE-$GONE-; cat; echo oops >&2"
    done = run(["sh", "-c", script], input=b"\0in", cwd=tmp_path, env={"MORE": "m", "GONE": None})
    assert done.stdout.decode() == f"{tmp_path.resolve()}\nm--\n\0in"
    assert done.stderr == b"oops\n"


def test_without_input_the_child_does_not_read_ours() -> None:
    assert run(["cat"]).stdout == b""


def test_arguments_of_bytes_and_paths(tmp_path: Path) -> None:
    assert run(["printf", "%s", b"a\xff", tmp_path]).stdout == b"a\xff" + bytes(tmp_path)


def test_failures_carry_status_and_stderr() -> None:
    with pytest.raises(CommandError, match="sad") as caught:
        run(["sh", "-c", "echo sad >&2; exit 3"])
    assert (caught.value.status, caught.value.stderr) == (3, "sad\n")
    assert run(["sh", "-c", "exit 3"], check=False).status == 3


def test_a_program_that_is_not_there() -> None:
    for start in (run, spawn):
        with pytest.raises(CommandError, match="no-such-program") as caught:
            start(["no-such-program"])
        assert caught.value.status == 127


def test_timeout_kills() -> None:
    with pytest.raises(CommandError, match="did not end within"):
        run(["sleep", "20"], timeout=0.05)


def test_a_long_lived_command_whose_stderr_is_larger_than_a_pipe() -> None:
    script = "import sys\nfor line in sys.stdin: sys.stderr.write('e' * 200000); print(line.strip(), flush=True)"
    with spawn([sys.executable, "-c", script]) as process:
        for number in range(3):
            process.stdin.write(b"%d\n" % number)
            process.stdin.flush()
            assert process.stdout.readline() == b"%d\n" % number
        done = process.close()
    assert done.status == 0
    assert done.stderr == b"e" * 65536


def test_leaving_by_an_error_kills_the_child() -> None:
    with pytest.raises(KeyError), spawn(["sleep", "20"]) as process:
        raise KeyError
    assert process.close().status == -9


def test_a_group_ends_with_all_that_it_started(tmp_path: Path) -> None:
    """Also when the command itself is gone, and although what it left behind holds its standard error."""
    script = f"sleep 20 & echo $! > {tmp_path}/pid; echo last >&2"
    with spawn(["sh", "-c", script], own_group=True) as process:
        assert process.ends(10)
        process.kill()
    assert process.close().stderr == b"last\n"
    stat = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    for _ in range(100):  # it was killed, and dies when it is its turn
        if not stat.exists() or " Z " in stat.read_text():
            return
        time.sleep(0.1)
    pytest.fail("what the group started goes on")


def test_a_command_that_does_not_end_in_time() -> None:
    with spawn(["sleep", "20"], own_group=True) as process:
        assert not process.ends(0.05)
        process.kill()
    assert process.close().status == -9


def test_an_answer_is_all_that_a_command_prints() -> None:
    with spawn(["sh", "-c", 'read=$(cat); printf %s "$read"; echo oops >&2; exit 3']) as process:
        done = process.answer(b"x" * 300_000)
    assert (done.status, done.stdout, done.stderr) == (3, b"x" * 300_000, b"oops\n")
    with spawn(["true"]) as process:
        assert process.answer(b"nobody reads this" * 100_000).stdout == b""


@pytest.mark.parametrize("script", ["exec sleep 60", "exec >&-; exec sleep 60"])
def test_an_answer_that_takes_too_long(script: str) -> None:
    with (
        pytest.raises(CommandError, match="did not end within") as caught,
        spawn(["sh", "-c", script], own_group=True) as process,
    ):
        process.answer(b"", 0.05)
    assert caught.value.status == -signal.SIGKILL


def test_a_spare_command_that_nobody_takes_is_ended(tmp_path: Path) -> None:
    process = spawn(["cat"], own_group=True)
    with Spare(process) as spare:
        assert spare.take() is process
        assert spare.take() is None
        assert process.answer(b"still here").stdout == b"still here"
    process = spawn(["cat"], own_group=True)
    with Spare(process):
        pass
    assert process.close().status == -signal.SIGKILL
