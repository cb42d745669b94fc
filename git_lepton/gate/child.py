"""The parent's side of the gate's child process: tasks in, a result or a reason for each of them out.

Each task has its own time limit, from the moment the child says that it begins. When that runs out, or the child dies,
its whole process group is killed, the task has failed with what the child said last on standard error, and another
child goes on with the tasks behind it. Nothing of the child outlives `run`, however it is left.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from git_lepton import proc
from git_lepton.errors import FrameError
from git_lepton.gate.standby import Standby, start
from git_lepton.gate.tasks import Event, Failed, Job, Result, Task
from git_lepton.record.plain import from_plain, to_plain

_START_SECONDS: Final = 60.0
_MAX_LINE: Final = 64 << 20
_SAID: Final = 600


def run(
    top: Path, tasks: Sequence[Task], begins: Callable[[Task], None], standby: Standby | None = None
) -> list[Result | Failed]:
    """Do the tasks, in their order, in one child where none fails badly.

    Args:
        top: where commands run and functions are imported from.
        tasks: what to do.
        begins: called as each task begins.
        standby: a child that waits in `top` already.

    Raises:
        CommandError: a child cannot be started.
    """
    answers: list[Result | Failed] = []
    while len(answers) < len(tasks):
        process = standby.take() if standby is not None and standby.top == top else None
        answers += _run_some(process or start(top), Job(top, tuple(tasks[len(answers) :])), begins)
    return answers


def _run_some(process: proc.Process, job: Job, begins: Callable[[Task], None]) -> list[Result | Failed]:
    """Answers of one child: to all tasks, or up to the one that ended it. Never empty."""
    answers: list[Result | Failed] = []
    ended = ""
    limit = _START_SECONDS
    with process:
        try:
            _send(process, job)
            lines = _Lines(process.stdout.fileno())
            while len(answers) < len(job.tasks):
                event = from_plain(Event, json.loads(lines.next(limit)))
                if event.number != len(answers):
                    raise FrameError(f"it is about task {event.number}")
                if (answer := event.result or event.failed) is not None:
                    answers.append(answer)
                    limit = _START_SECONDS
                else:
                    begins(job.tasks[len(answers)])
                    limit = job.tasks[len(answers)].timeout
        except TimeoutError:
            ended = f"did not end within {limit:g} seconds"
        except (FrameError, ValueError) as error:
            ended = f"said what cannot be understood: {error}"
        except EOFError:
            process.ends(_START_SECONDS)  # so that its own status can be told
        finally:
            process.kill()  # and whatever it started; when all is told, nobody waits for its last breath
    done = process.close()
    if len(answers) < len(job.tasks):
        answers.append(_failed(ended or _cause(done.status), done.stderr))
    return answers


def _send(process: proc.Process, job: Job) -> None:
    try:
        process.stdin.write(json.dumps(to_plain(job)).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError as error:  # it ended already; its output ends too
        raise EOFError from error


class _Lines:
    """Lines of a pipe, each with a time limit."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = bytearray()

    def next(self, seconds: float) -> bytes:
        """The next line. Raises TimeoutError, EOFError, or FrameError for a line without end."""
        deadline = time.monotonic() + seconds
        while (end := self._rest.find(b"\n")) < 0:
            if len(self._rest) > _MAX_LINE:
                raise FrameError("a line without end")
            ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            piece = os.read(self._fd, 1 << 16)
            if not piece:
                raise EOFError
            self._rest += piece
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        return line


def _cause(status: int) -> str:
    if status < 0:
        return f"was ended by signal {-status}" + (": is there enough memory?" if status == -9 else "")
    return f"ended with status {status}"


def _failed(cause: str, stderr: bytes) -> Failed:
    said = stderr.decode(errors="replace").strip()[-_SAID:]
    return Failed(f"the evaluator {cause}" + (f": {said}" if said else ""))
