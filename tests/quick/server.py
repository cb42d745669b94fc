"""A `git-lepton` that starts in a tenth of the time, for the many tests in which git calls it.

Nearly all that `git add` of a small file or a hook costs is a start of Python that imports a hundred modules, and the
tests do that thousands of times. This server imports them once, then forks for every call: what runs is the same
`main()` in a process of its own, with the arguments, environment, folder and standard streams of the caller, which is
tests/quick/client.py. The caller passes signals on, and the exit status back; when it is killed, so is the program.

Tests of the start itself, the stories of tests/scenarios, the documents, the examples and the demo take the installed
program instead, as a user has it.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import threading
import time
from typing import Final

import git_lepton.__main__
from git_lepton.cli.main import VERBS

PROGRAM: Final = git_lepton.__main__


def serve(listener: socket.socket) -> None:
    """Answer callers until standard input ends; returns in the process of every call."""
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            os._exit(0)
        caller, _ = listener.accept()
        with caller:
            if os.fork() == 0:
                listener.close()
                attend(caller)
                return
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def attend(caller: socket.socket) -> None:
    """Fork once more: one process becomes the program and returns, the other watches over it and tells how it ended."""
    header, descriptors, _, _ = socket.recv_fds(caller, 8, 4)
    with caller.makefile("rb") as stream:
        fields = stream.read(int.from_bytes(header, "big")).split(b"\0")
    alive, held = os.pipe()
    program = os.fork()
    if program == 0:
        os.setpgid(0, 0)
        become(fields, descriptors)
        return
    for descriptor in (held, *descriptors):
        os.close(descriptor)
    # The pipe ends with the program: nothing that it starts has it.
    ends = (alive, caller.fileno())
    while alive not in select.select(ends, (), ())[0]:
        number = caller.recv(1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program, number[0] if number else signal.SIGKILL)
        if not number:
            break
    _, status = os.waitpid(program, 0)
    with contextlib.suppress(BrokenPipeError):
        caller.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))
    os._exit(0)


def become(fields: list[bytes], descriptors: list[int]) -> None:
    """Take the caller's place."""
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    os.fchdir(descriptors[3])
    for descriptor in descriptors:
        os.close(descriptor)
    count = int(fields[0])
    sys.argv = [str(PROGRAM.__file__), *map(os.fsdecode, fields[1 : count + 1])]
    os.environb.clear()
    for field in fields[count + 1 :]:
        name, _, value = field.partition(b"=")
        os.environb[name] = value
    time.tzset()


def main(listener: int) -> None:
    """Import every verb, then answer at the socket of this number."""
    for module, _ in VERBS.values():
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=listener))
    try:
        PROGRAM.main()
    except SystemExit as end:
        # As at the end of Python, but the memory is left to the system: most of it is the server's.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(end.code or 0))


if __name__ == "__main__":
    main(int(sys.argv[1]))
