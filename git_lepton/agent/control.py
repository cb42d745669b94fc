"""The administrator's door to a running agent: a socket in the state folder that only its owner can open.

A client sends one line of JSON and reads one: `{"do": "rollback", "name": "digits"}`. What changes anything is handed
to the engine's thread, which does it between two steps; status is answered at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from git_lepton.errors import EXIT_INTERNAL, CommandError, LeptonError, MissingError, UsageError

SOCKET: Final = "control.sock"
_MAX_LINE: Final = 1 << 24
_CLIENT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 900.0
_LONGEST: Final = 100

Answer = dict[str, Any]
Handler = Callable[[dict[str, Any]], Answer]
"""Carries out a request; LeptonErrors become answers."""


class ControlServer:
    """Listens in the state folder until it is closed."""

    def __init__(self, state: Path, handler: Handler) -> None:
        self._path = state / SOCKET
        self._handler = handler
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Listen, in a thread. The state folder is ours alone (`agent.lock`), so an old socket is a dead agent's."""
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            with _short(self._path) as address:
                self._socket.bind(address)
        finally:
            os.umask(mask)
        self._socket.listen(8)
        threading.Thread(target=self._serve, name="control", daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            self._socket.close()
            self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        assert self._socket is not None
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._answer, args=(connection,), name="control-client", daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(_CLIENT_SECONDS)
            try:
                request = json.loads(_read_line(connection))
                answer = self._handler(request) if isinstance(request, dict) else {"error": "not a request"}
            except LeptonError as error:
                answer = {"error": error.message, "hint": error.hint, "exit": error.exit_code}
            except (ValueError, RecursionError):
                answer = {"error": "not a request"}
            connection.sendall(json.dumps(answer).encode() + b"\n")


def ask(state: Path, request: dict[str, Any]) -> Answer | None:
    """What the agent that runs on `state` answers; None when none runs.

    Raises:
        LeptonError: its refusal.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_ANSWER_SECONDS)
        try:
            with _short(state / SOCKET) as address:
                client.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError as error:
            raise UsageError(f"{state / SOCKET} cannot be opened: {error.strerror}") from error
        try:
            client.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(_read_line(client))
        except (OSError, ValueError) as error:
            raise MissingError(f"the agent on {state} does not answer: {error}") from error
    if not isinstance(answer, dict):
        raise MissingError(f"the agent on {state} does not answer with an object")
    if "error" in answer:
        raise _refusal(answer)
    return answer


def _refusal(answer: Answer) -> LeptonError:
    message, hint = str(answer["error"]), answer.get("hint")
    if answer.get("exit", EXIT_INTERNAL) == UsageError.exit_code:
        return UsageError(message, hint=hint)
    return CommandError(["agent"], 1, message, hint=hint)


def _read_line(connection: socket.socket) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n"):
        piece = connection.recv(1 << 16)
        if not piece or len(data) > _MAX_LINE:
            raise ValueError("no line")
        data += piece
    return bytes(data)


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """An address for `path`, which the kernel wants shorter than paths may be."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)
