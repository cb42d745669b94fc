"""`filter.lepton.process`: the process that git starts once a command and asks to clean and smudge files.

This module is the conversation: it reads events, collects content, and turns results and errors into answers. What
the answers are is decided in `clean` and `smudge`. It must start fast, since `git status` waits for it.

Clean answers `status=error` for every failure, so that nothing half stored is ever tracked. Smudge answers with what
came in. A mistake of our own is an error to clean and a manifest to smudge, like any other failure.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import Final

from git_lepton.drivers.clean import Cleaner, spool_folder
from git_lepton.drivers.install import ensure_hooks
from git_lepton.drivers.pipe import FilterPipe, GitWentAwayError
from git_lepton.drivers.smudge import Answered, Delayed, Smudger
from git_lepton.drivers.worktree import write_answered
from git_lepton.errors import EXIT_INTERNAL, EXIT_OK, FrameError, LeptonError
from git_lepton.git.filterproto import (
    Answer,
    Available,
    Capabilities,
    Command,
    Content,
    ContentEnd,
    Hello,
    Received,
)
from git_lepton.git.repo import Repo
from git_lepton.report.progress import for_terminal
from git_lepton.store import manifest
from git_lepton.store.store import Store
from git_lepton.store.tidying import tidy

CAPABILITIES: Final = ("clean", "smudge", "delay")
DEBUG_VARIABLE: Final = "GIT_LEPTON_DEBUG"
_IN_MEMORY: Final = 8 << 20
_BLOCK: Final = 1 << 20


def run(repo: Repo, stdin_fd: int, stdout_fd: int) -> int:
    """Serve git until it closes the pipe, then write the files that were too large for it; returns an exit status."""
    out = os.dup(stdout_fd)
    if stdout_fd == 1:
        os.dup2(2, 1)  # nothing but packets may reach git, whatever a library prints
    with Store(repo, progress=for_terminal()) as store:
        session = _Session(store, FilterPipe(stdin_fd, out))
        try:
            session.serve()
        except GitWentAwayError:
            return EXIT_OK
        except FrameError as error:
            say(error.message)
            return EXIT_INTERNAL
        finally:
            os.close(out)
        session.write_late()
        if session.cleaner.stored:
            tidy(repo)
    return EXIT_OK


def say(message: str, hint: str | None = None) -> None:
    """Print a line on standard error, and perhaps what to do about it."""
    text = f"git-lepton: {message}\n" + (f"hint: {hint}\n" if hint else "")
    sys.stderr.write(text.encode(errors="backslashreplace").decode())
    sys.stderr.flush()


def _content(events: Iterator[Received]) -> Iterator[bytes | bytearray | memoryview]:
    """The pieces of the content that git sends now."""
    for event in events:
        if not isinstance(event, Content):
            return
        yield event.data


@dataclass(slots=True)
class _Session:
    """One conversation with git."""

    store: Store
    pipe: FilterPipe
    cleaner: Cleaner = field(init=False)
    smudger: Smudger = field(init=False)
    _checked_hooks: bool = False

    def __post_init__(self) -> None:
        self.cleaner = Cleaner(self.store, say)
        self.smudger = Smudger(self.store, say)

    def serve(self) -> None:
        events = self.pipe.events()
        for event in events:
            if isinstance(event, Hello):
                self.pipe.send(Hello())
            elif isinstance(event, Capabilities):
                self.pipe.send(Capabilities(tuple(c for c in CAPABILITIES if c in event.names)))
            elif isinstance(event, Command):
                self._answer(event, events)

    def write_late(self) -> None:
        """Write what was too large for git's memory; it waits for us, and its locks are released."""
        self.smudger.summarise()
        if not self.smudger.late:
            return
        try:
            done = write_answered(self.store.repo, self.store, self.smudger.late)
        except (LeptonError, OSError) as error:
            say(f"{len(self.smudger.late)} large files were left as manifests: {error}", "git lepton pull")
            return
        for path, reason in done.missing.items():
            say(f"{path} was left as its manifest: {reason} (to try again: git lepton pull)")

    def _answer(self, command: Command, events: Iterator[Received]) -> None:
        if command.name == "list_available_blobs":
            self.pipe.send(Available(self.smudger.available()), Answer("success"))
            return
        if not self._checked_hooks:
            self._checked_hooks = True
            self._check_hooks()
        if command.name == "clean":
            self._clean(command, events)
        else:
            self._smudge(command, events)

    def _check_hooks(self) -> None:
        try:
            for line in ensure_hooks(self.store.repo):
                say(line)
        except (LeptonError, OSError) as error:
            say(f"hooks could not be installed: {error}", "git lepton init")

    def _clean(self, command: Command, events: Iterator[Received]) -> None:
        content = self.cleaner.intake(command.pathname)
        self.pipe.expect(content)
        try:
            for piece in _content(events):
                content.feed(piece)
            try:
                text = self.cleaner.clean(command.pathname, content)
            except Exception as error:  # whatever it is, nothing may be tracked
                _explain(command.pathname, error)
                self.pipe.send(Answer("error"))
            else:
                self._send([text] if text else ())
        finally:
            self.pipe.expect(None)
            content.close()

    def _smudge(self, command: Command, events: Iterator[Received]) -> None:
        """Collect the input and answer; input that can be no manifest is handed back as it came."""
        with SpooledTemporaryFile(_IN_MEMORY, dir=self._spool_folder()) as received:
            for piece in _content(events):
                received.write(piece)
            size = received.tell()
            received.seek(0)
            head = received.read(len(manifest.PREFIX))
            received.seek(0)
            if size > manifest.MAX_BYTES or not (manifest.looks_like(head) or size == 0):
                self._send(iter(lambda: received.read(_BLOCK), b""))
                return
            answer = self._smudge_text(command, received.read())
        if isinstance(answer, Delayed):
            self.pipe.send(Answer("delayed"))
        else:
            self._send(answer.blocks())

    def _smudge_text(self, command: Command, text: bytes) -> Answered | Delayed:
        try:
            return self.smudger.smudge(command, text)
        except Exception as error:  # an error would make git leave files deleted
            _explain(command.pathname, error)
            return Answered(text)

    def _spool_folder(self) -> str | None:
        """A folder for input that does not fit in memory; the system's where the repository is read-only."""
        folder = spool_folder(self.store)
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            return str(folder)
        return None

    def _send(self, blocks: Iterable[bytes]) -> None:
        self.pipe.send(Answer("success"))
        verdict = Answer("success")
        try:
            self.pipe.send_blocks(blocks)
        except OSError as error:
            say(f"a temporary file cannot be read back: {error}")
            verdict = Answer("error")
        self.pipe.send(ContentEnd(), verdict)


def _explain(path: bytes, error: Exception) -> None:
    name = path.decode(errors="backslashreplace")
    if isinstance(error, LeptonError):
        say(f"{name}: {error.message}", error.hint)
    elif isinstance(error, OSError):
        say(f"{name}: {error.strerror or error}", "nothing was half stored; run git add again when that is mended")
    else:
        say(f"{name}: an error that should not happen: {type(error).__name__}: {error}")
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exc()
