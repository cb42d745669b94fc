"""The only door to rename, fsync and locks: files that appear whole or not at all.

A file is written under a temporary name in its own folder, flushed to the disk, renamed, and the folder is flushed, so
that after a crash a reader finds the old file or the new one. Temporary files carry their owner in the name
(`owned_name`): process id, host, and the boot that the process lives in. `clean_owned` deletes those whose owner is
certainly dead; a token of another host, or of another process namespace, is never judged.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from git_lepton.errors import RaceLostError

_POLL_SECONDS: Final = 0.02
_TOKEN = re.compile(r"([1-9][0-9]{0,18}) ([A-Za-z0-9._-]{1,255}) ([A-Za-z0-9:-]{1,80})")
_OWNED = re.compile(r"([0-9]+)~([A-Za-z0-9._-]+)~([A-Za-z0-9:-]+)~[0-9a-f]{12}(\..*)?")


def fsync_file(fd: int) -> None:
    """Flush an open file to the disk itself (on macOS plain fsync stops at the drive's cache)."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        try:
            fcntl.fcntl(fd, full)
        except OSError:  # file systems without it, network shares mostly
            os.fsync(fd)
    else:
        os.fsync(fd)


def fsync_dir(path: Path) -> None:
    """Flush a folder, so that names created or renamed in it survive a crash."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # some network file systems cannot
            raise
    finally:
        os.close(fd)


def replace(src: Path, dst: Path) -> None:
    """Rename `src` to `dst`, over an existing file, and flush the folder of `dst`."""
    src.replace(dst)
    fsync_dir(dst.parent)


@contextmanager
def writer(path: Path, *, mode: int | None = None, durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a file that appears under `path` when the block ends, or never if it raises.

    Args:
        path: the name in the end; its folder must exist.
        mode: permission bits; the default is what the umask leaves of 0666.
        durable: flush file and folder to the disk.
    """
    with temporary(path.parent) as draft:
        with draft.open("xb") as stream:
            yield stream
            stream.flush()
            if mode is not None:
                os.fchmod(stream.fileno(), mode)
            if durable:
                fsync_file(stream.fileno())
        if durable:
            replace(draft, path)
        else:
            draft.replace(path)


def write_file(
    path: Path, data: bytes | bytearray | memoryview, *, mode: int | None = None, durable: bool = True
) -> None:
    """Write a whole file atomically; arguments as for `writer`."""
    with writer(path, mode=mode, durable=durable) as stream:
        stream.write(data)


@contextmanager
def temporary(folder: Path, suffix: str = "") -> Iterator[Path]:
    """A fresh owned path in `folder`, not created; whatever file is there in the end is removed."""
    path = folder / owned_name(suffix)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@cache
def _host_and_boot() -> tuple[str, str]:
    """Host name in safe characters, and a name for this boot and process-id namespace ("-" where unknown)."""
    host = re.sub(r"[^A-Za-z0-9._-]", "-", platform.node())[:255] or "-"
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return host, "-"
    return host, f"{boot}:{re.sub('[^0-9]', '', namespace)}"


def owner_token() -> str:
    """This process as `pid host boot-id`, for files that must not outlive it. Computed anew after a fork."""
    host, boot = _host_and_boot()
    return f"{os.getpid()} {host} {boot}"


def owner_is_dead(token: str) -> bool:
    """Whether the process named by an `owner_token` has certainly ended.

    False for text that is no token, for other hosts, and for other process namespaces of this boot. A process id that
    was used again keeps a dead token alive until that process ends: a leak, never a loss.
    """
    match = _TOKEN.fullmatch(token.strip())
    if match is None:
        return False
    pid, host, boot = int(match[1]), match[2], match[3]
    our_host, our_boot = _host_and_boot()
    if host != our_host:
        return False
    if boot != our_boot:
        return "-" not in {boot, our_boot} and boot.partition(":")[0] != our_boot.partition(":")[0]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Whether nothing is left of a process but its number, which its parent has not asked for yet (proc(5))."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] == b"Z"
    except OSError:
        return False  # gone just now, or no Linux


def owned_name(suffix: str = "") -> str:
    """A fresh file name that tells its owner; `suffix` is empty or begins with a dot."""
    return f"{owner_token().replace(' ', '~')}~{secrets.token_hex(6)}{suffix}"


def clean_owned(folder: Path) -> list[Path]:
    """Remove the files in `folder` that `owned_name` named for processes that are dead; returns what went."""
    removed = []
    with suppress(FileNotFoundError):
        for path in sorted(folder.iterdir()):
            match = _OWNED.fullmatch(path.name)
            if match is not None and owner_is_dead(f"{match[1]} {match[2]} {match[3]}"):
                path.unlink(missing_ok=True)
                removed.append(path)
    return removed


class Lock:
    """An exclusive lock between processes, held on a file that stays (`flock`, so it dies with its holder).

    The file's text is the holder's `owner_token`, for messages only. Not reentrant: one `Lock` a holder.
    """

    def __init__(self, path: Path, *, timeout: float | None = None) -> None:
        """Prepare a lock on `path`, whose folder must exist; `timeout` in seconds, None waits for ever."""
        self.path = path
        self._timeout = timeout
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            RaceLostError: another process held it until the timeout.
        """
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            while not _try_flock(fd):
                if deadline is not None and time.monotonic() >= deadline:
                    holder = os.pread(fd, 400, 0).decode("ascii", "replace").strip() or "unknown"
                    raise RaceLostError(
                        f"{self.path} is locked by another process ({holder})",
                        hint="wait for it to end, then try again",
                    )
                time.sleep(_POLL_SECONDS)
            os.ftruncate(fd, 0)
            os.pwrite(fd, owner_token().encode("ascii") + b"\n", 0)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)  # a child forked meanwhile still has the descriptor
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class LockFile:
    """git's way to change a file: `<path>.lock` is created, which fails while another has it, and becomes the file.

    Leave the context without `commit`, and the file stays as it was. Not durable: git does not flush its index either.
    """

    def __init__(self, path: Path, *, timeout: float) -> None:
        """Prepare to change `path`; `timeout` in seconds."""
        self._path = path
        self._lock = path.with_name(path.name + ".lock")
        self._timeout = timeout
        self._fd: int | None = None

    def __enter__(self) -> Self:
        """Take the lock. Raises RaceLostError when another process has it until the timeout."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                self._fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                return self
            except FileExistsError:
                if time.monotonic() >= deadline:
                    raise RaceLostError(
                        f"another process has {self._lock}", hint="if no git runs here, delete that file"
                    ) from None
                time.sleep(_POLL_SECONDS)

    def commit(self, data: bytes | bytearray | memoryview, *, mode: int) -> None:
        """Replace the file by `data` with permission bits `mode`, and give the lock back."""
        assert self._fd is not None
        with os.fdopen(self._fd, "wb") as stream:
            self._fd = None
            stream.write(data)
            os.fchmod(stream.fileno(), mode)
        self._lock.replace(self._path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            self._lock.unlink(missing_ok=True)


def _try_flock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
