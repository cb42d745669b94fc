"""The only door to other programs.

`run` is for commands that end by themselves: input goes in whole, output comes back whole. `spawn` is for commands
that stay (`git cat-file --batch`): the caller owns standard input and output, while a thread drains standard error and
keeps its tail, because a child that fills an undrained pipe stops for ever.

Output is bytes; who knows what it means decodes it. An environment given here is laid over our own, and a value of
None removes a variable.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

from git_lepton.closing import Closing
from git_lepton.errors import CommandError

Argument = str | bytes | Path
"""One argument of a command line; bytes pass through unchanged."""

Environment = Mapping[str, str | None]
"""Variables laid over our own environment; None removes one."""

FRUGAL: Environment = {"MALLOC_TRIM_THRESHOLD_": "4000000", "MALLOC_MMAP_THRESHOLD_": "1000000"}
"""For a command that holds one large thing after another: glibc gives those back at once, and keeps what a loop over
arrays of some 100 kB needs again and again. Other allocators ignore it."""

_STDERR_TAIL = 64 * 1024
_NOT_FOUND = 127
_POLL_SECONDS = 0.01
_ORPHAN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended. `status` is its exit status, negative when a signal ended it."""

    status: int
    stdout: bytes
    stderr: bytes


def merged_environment(env: Environment | None) -> dict[str, str]:
    """Our environment with `env` laid over it."""
    result = dict(os.environ)
    for name, value in (env or {}).items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return result


def run(
    argv: Sequence[Argument],
    *,
    input: bytes | None = None,  # noqa: A002 - the word that subprocess.run uses
    cwd: Path | None = None,
    env: Environment | None = None,
    check: bool = True,
    timeout: float | None = None,
) -> Completed:
    """Run a command to its end. Without `input` it reads an empty standard input, never our own.

    Args:
        argv: program and arguments.
        input: bytes for standard input.
        cwd: folder to run in; ours when None.
        env: see `Environment`.
        check: raise when the status is not 0.
        timeout: seconds after which the command, with all that it started, is killed; None waits for ever.

    Raises:
        CommandError: not found, timed out, or (with `check`) a status that is not 0.
    """
    try:
        # In a group of its own, what the command started (git starts ssh) does not outlive it, nor hold its pipes open.
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=merged_environment(env),
            start_new_session=timeout is not None,
        )
    except OSError as error:
        raise _not_started(argv, error) from error
    with process:
        try:
            stdout, stderr = process.communicate(b"" if input is None else input, timeout)
        except subprocess.TimeoutExpired as error:
            _kill(process, group=True)
            raise CommandError(_texts(argv), -9, f"did not end within {timeout:g} seconds") from error
        except BaseException:
            _kill(process, group=timeout is not None)
            raise
    completed = Completed(process.returncode, stdout, stderr)
    if check and completed.status != 0:
        raise CommandError(_texts(argv), completed.status, completed.stderr.decode(errors="replace"))
    return completed


class Process:
    """A running command with pipes for input and output. Leaving the context closes the pipes and waits.

    Attributes:
        stdin: buffered pipe to the command; flush it.
        stdout: buffered pipe from the command.
    """

    def __init__(
        self,
        argv: Sequence[Argument],
        *,
        cwd: Path | None = None,
        env: Environment | None = None,
        own_group: bool = False,
    ) -> None:
        self._own_group = own_group
        self._argv = tuple(argv)
        try:
            self._popen = subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                env=merged_environment(env),
                bufsize=1 << 16,
                start_new_session=own_group,
            )
        except OSError as error:
            raise _not_started(argv, error) from error
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self.stdin: IO[bytes] = self._popen.stdin
        self.stdout = cast("BufferedReader", self._popen.stdout)
        self._tail = bytearray()
        self._drain = threading.Thread(target=self._drain_stderr, name="stderr", daemon=True)
        self._drain.start()

    def _drain_stderr(self) -> None:
        assert self._popen.stderr is not None
        with self._popen.stderr as pipe:
            while data := os.read(pipe.fileno(), 1 << 14):
                self._tail += data
                del self._tail[:-_STDERR_TAIL]

    def close(self) -> Completed:
        """Close both pipes, wait for the end, and return the status and the tail of standard error."""
        for pipe in (self.stdin, self.stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # what was still buffered has no reader any more
        status = self._popen.wait()
        self._drain.join(
            _ORPHAN_SECONDS if self._own_group else None
        )  # a process that left the group may hold the pipe
        return Completed(status, b"", bytes(self._tail))

    def kill(self) -> None:
        """End the command at once, with all that it started when it has its own group; `close` must still be called."""
        _kill(self._popen, group=self._own_group)

    def answer(self, data: bytes, timeout: float | None = None) -> Completed:
        """Give all of its input to a command that reads it before it prints, and wait for its end.

        Args:
            data: for standard input, which is closed then.
            timeout: seconds after which the command is killed; None waits for ever.

        Returns:
            Its status, all that it printed, and the tail of standard error.

        Raises:
            CommandError: it did not end in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with suppress(BrokenPipeError):
            self.stdin.write(data)
            self.stdin.close()
        printed = bytearray()
        fd = self.stdout.fileno()
        while select.select([fd], [], [], _left(deadline))[0]:
            if not (piece := os.read(fd, 1 << 16)):
                break
            printed += piece
        if deadline is not None and not self.ends(deadline - time.monotonic()):
            self.kill()
            self.close()
            raise CommandError(_texts(self._argv), -signal.SIGKILL, f"did not end within {timeout:g} seconds")
        done = self.close()
        return Completed(done.status, bytes(printed), done.stderr)

    def ends(self, seconds: float) -> bool:
        """Whether the command ends by itself within `seconds`; it is not waited for, so that its group can be ended."""
        deadline = time.monotonic() + seconds
        flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
        while os.waitid(os.P_PID, self._popen.pid, flags) is None:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        self.close()


class Spare(Closing):
    """A command that was started before it is wanted, until somebody takes it; closing ends it if nobody did."""

    def __init__(self, process: Process) -> None:
        """Keep `process`, which waits for its input."""
        self._process: Process | None = process

    def take(self) -> Process | None:
        """The command, once; then None."""
        process, self._process = self._process, None
        return process

    def close(self) -> None:
        """End the command if nobody took it."""
        if (process := self.take()) is not None:
            process.kill()
            process.close()


def spawn(
    argv: Sequence[Argument], *, cwd: Path | None = None, env: Environment | None = None, own_group: bool = False
) -> Process:
    """Start a long-lived command, in a session and process group of its own if asked to.

    Raises:
        CommandError: it cannot be started.
    """
    return Process(argv, cwd=cwd, env=env, own_group=own_group)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _kill(process: subprocess.Popen[bytes], *, group: bool) -> None:
    if not group:
        process.kill()
    elif process.returncode is None:  # until it is waited for, its number cannot be another group's
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _texts(argv: Sequence[Argument]) -> list[str]:
    return [os.fsdecode(argument) for argument in argv]


def _not_started(argv: Sequence[Argument], error: OSError) -> CommandError:
    return CommandError(_texts(argv), _NOT_FOUND, error.strerror or str(error))
