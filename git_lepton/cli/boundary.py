"""Where errors become text and an exit status, once for all verbs.

A `LeptonError` was foreseen: its message, its hint and its exit code are all that a person needs. Anything else is our
own mistake: one line, and a report file with the traceback and the versions, for a bug report. Hooks know only 0 and
1, because git gives other statuses no meaning; to a merge driver it takes up to 128 for a conflict, so that failures
are above.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from git_lepton import __version__
from git_lepton.errors import (
    EXIT_DIFFERS,
    EXIT_INTERNAL,
    EXIT_INTERRUPTED,
    EXIT_NOT_MEASURED,
    EXIT_OK,
    EXIT_USAGE,
    LeptonError,
)
from git_lepton.report.table import printable

if TYPE_CHECKING:
    from pathlib import Path

    from git_lepton.drivers.children import Children

_DISK_ERRORS: Final = {
    errno.ENOSPC: "free some space, then run the command again: nothing was half stored",
    errno.EDQUOT: "free some space, then run the command again: nothing was half stored",
    errno.EFBIG: "a limit (ulimit -f), or the file system, allows no file of this size",
    errno.EACCES: "check the owner and the permissions of the file",
    errno.EPERM: "check the owner and the permissions of the file",
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the disk reports an error: check its health before anything else",
}


class Session:
    """What the boundary and a running verb know of each other.

    Attributes:
        report_folder: set once the verb has found its repository.
        children: processes that were started for a hook before it was loaded.
    """

    def __init__(self, children: Children | None = None) -> None:
        self.report_folder: Path | None = None
        self.children = children


def run(command: click.Command, arguments: Sequence[str], children: Children | None = None) -> int:
    """Run a click command and return the exit status for the process; nothing escapes but `SystemExit`."""
    status = _run(command, list(arguments), Session(children))
    if arguments and arguments[0] == "hook":
        return min(status, 1)
    if arguments and arguments[0] == "merge-driver" and status > 1:
        return 128 + min(status, 127)
    return status


def _run(command: click.Command, arguments: list[str], session: Session) -> int:
    try:
        result = command.main(
            arguments,
            prog_name="git lepton",
            complete_var="_GIT_LEPTON_COMPLETE",
            standalone_mode=False,
            obj=session,
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else EXIT_OK
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except click.Abort:
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except LeptonError as error:
        _say(error.message, error.hint)
        return error.exit_code
    except BrokenPipeError:
        # The reader (`head`, a pager) has enough. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DIFFERS
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
            _say(f"{name}{error.strerror}", _DISK_ERRORS[error.errno])
            return EXIT_NOT_MEASURED
        return _unforeseen(error, arguments, session)
    except Exception as error:  # the boundary: everything ends here
        return _unforeseen(error, arguments, session)


def _say(message: str, hint: str | None) -> None:
    click.echo(f"git-lepton: {printable(message)}", err=True)
    if hint is not None:
        click.echo(f"hint: {printable(hint)}", err=True)


def _unforeseen(error: Exception, arguments: Sequence[str], session: Session) -> int:
    if os.environ.get("GIT_LEPTON_DEBUG"):
        sys.excepthook(type(error), error, error.__traceback__)
    path = _write_report(arguments, session)
    where = "no report could be written" if path is None else f"the report is {path}"
    _say(
        f"an error that should not happen: {type(error).__name__}: {error} ({where})",
        "please attach the report to a bug report; your weights and the repository were left as they were",
    )
    return EXIT_INTERNAL


def _write_report(arguments: Sequence[str], session: Session) -> Path | None:
    """Write the traceback and the versions to a fresh file: in the repository's lepton folder, else a temporary one."""
    import platform
    import tempfile
    import traceback
    from pathlib import Path

    text = (
        f"git-lepton {__version__}\n"
        f"Python {platform.python_version()} on {platform.platform()}\n"
        f"time {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}\n"
        f"arguments {list(arguments)!r}\n\n"
        f"{traceback.format_exc()}"
    )
    for folder in (session.report_folder, Path(tempfile.gettempdir())):
        if folder is None:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix="report-", suffix=".txt", dir=folder)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as stream:
                stream.write(text)
        except OSError:
            continue
        return Path(name)
    return None
