"""Reading objects through git itself: `git cat-file --batch`."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from typing import Final

from git_lepton.closing import Closing
from git_lepton.errors import CorruptError, GitError, MissingError
from git_lepton.git.objectid import Buffer, check_oid, missing_object
from git_lepton.git.repo import Repo
from git_lepton.proc import Process
from git_lepton.values import Oid

# Replacement refs would make the bytes of an object differ from its id.
_CAT_FILE: Final = ("--no-replace-objects", "cat-file")

_DAMAGE = re.compile(r"corrupt|inflate|unable to unpack|mismatch|unable to read|bad object|packed object|garbage")


class CatFile(Closing):
    """Reads through `git cat-file --batch` and `--batch-check`, each started when first asked."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._lock = threading.Lock()
        self._processes: dict[str, Process] = {}

    def read(self, oid: Oid) -> tuple[str, Buffer]:
        """See `ObjectReader.read`."""
        check_oid(oid)
        with self._lock:
            process = self._process("--batch")
            kind, size = self._ask(process, oid)
            content = process.stdout.read(size + 1)
            if len(content) != size + 1:
                raise self._ended(oid)
        return kind, memoryview(content)[:size]

    def contains(self, oids: Iterable[Oid]) -> set[Oid]:
        """See `ObjectReader.contains`."""
        wanted = list(oids)
        for oid in wanted:
            check_oid(oid)
        # A process of its own: one that runs for long answers out of packs that were deleted since.
        questions = "".join(f"{oid}\n" for oid in wanted).encode("ascii")
        done = self._repo.git(*_CAT_FILE, "--batch-check", input=questions, check=False)
        if done.status == 0:
            lines = zip(wanted, done.stdout.splitlines(), strict=True)
            return {oid for oid, line in lines if not line.endswith(b" missing")}
        # In a partial clone this ends at the first object that would have to be fetched: list what is here instead.
        listing = ("--batch-all-objects", "--unordered", "--batch-check=%(objectname)")
        here = frozenset(self._repo.git(*_CAT_FILE, *listing).stdout.split())
        return {oid for oid in wanted if oid.encode("ascii") in here}

    def size(self, oid: Oid) -> int:
        """See `ObjectReader.size`."""
        check_oid(oid)
        with self._lock:
            return self._ask(self._process("--batch-check"), oid)[1]

    def close(self) -> None:
        """See `ObjectReader.close`."""
        with self._lock:
            for process in self._processes.values():
                process.close()
            self._processes.clear()

    def _process(self, mode: str) -> Process:
        process = self._processes.get(mode)
        if process is None:
            process = self._processes[mode] = self._repo.git_spawn(*_CAT_FILE, mode)
        return process

    def _ask(self, process: Process, oid: Oid) -> tuple[str, int]:
        """Type and size of an object, from the line that precedes its content."""
        try:
            process.stdin.write(f"{oid}\n".encode("ascii"))
            process.stdin.flush()
        except BrokenPipeError:
            raise self._ended(oid) from None
        words = process.stdout.readline().decode("ascii", "replace").split()
        if len(words) == 2 and words[1] == "missing":
            raise self._missing(oid)
        if len(words) != 3 or words[0] != oid or not words[2].isdigit():
            raise self._ended(oid)
        return words[1], int(words[2])

    def _missing(self, oid: Oid) -> CorruptError | MissingError:
        """Tell an object that is not here from one whose first bytes are damaged: "missing" is git's word for both."""
        text = self._repo.git(*_CAT_FILE, "-t", oid, check=False).stderr.decode(errors="replace")
        return _corrupt(oid, text) if _DAMAGE.search(text) else missing_object(oid)

    def _ended(self, oid: Oid) -> CorruptError | MissingError | GitError:
        """End a git that stopped over an object or printed nonsense; the next question starts a new one."""
        messages = []
        for process in self._processes.values():
            process.kill()
            messages.append(process.close().stderr.decode(errors="replace"))
        self._processes.clear()
        text = " ".join(messages).strip()
        if "promisor remote" in text:
            return missing_object(oid)
        return _corrupt(oid, text) if _DAMAGE.search(text) else GitError(["cat-file"], 1, text)


def _corrupt(oid: Oid, text: str) -> CorruptError:
    return CorruptError(f"object {oid} cannot be read: {text.strip()}", hint="see `git fsck`")
