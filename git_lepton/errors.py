"""Every error that git-lepton raises on purpose, and the exit code that each becomes.

    LeptonError                  70  base: never raised itself
    ├── UsageError                2  the caller asked for something that makes no sense here
    ├── FormatError               5  a weight file is not what it claims (parsers raise nothing else)
    ├── ManifestError             5  text that begins like a manifest and is none
    ├── FrameError                5  a chunk blob, an index blob or a pack is malformed
    ├── CorruptError              5  well-formed bytes whose hash is wrong
    ├── UntrustedError            5  a program that lepton.toml names, which nobody allowed to run in this clone
    ├── VerificationError         5  a release that must not be followed; `reason` says why in one word
    ├── MissingError              8  weights that are not here, or a remote that cannot be reached
    ├── RaceLostError             4  another process or person moved the ref first
    ├── ChangedError              6  a file changed while it was read
    ├── CommandError             70  another program could not be started or failed
    └── GitError                 70  git itself failed; carries its arguments, status and standard error

Library code raises these with data; the command line prints `message`, then `hint` (what to do next), and exits
with `exit_code`. Anything else that escapes is our own fault and exits 70.
"""

from __future__ import annotations

from collections.abc import Sequence

EXIT_OK = 0
EXIT_GATE_FAILED = 1
EXIT_DIFFERS = 1
EXIT_USAGE = 2
EXIT_INCONCLUSIVE = 3
EXIT_RACE_LOST = 4
EXIT_REFUSED = 5
EXIT_NOT_MEASURED = 6
EXIT_MISSING = 8
EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130


class LeptonError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        message: one sentence that names the offender.
        hint: what the user can do next, or None.
        exit_code: the exit status of the command line for this kind.
    """

    exit_code = EXIT_INTERNAL

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(LeptonError):
    """The command or call makes no sense here: wrong arguments, not a repository, unknown name."""

    exit_code = EXIT_USAGE


class FormatError(LeptonError):
    """A weight file is malformed. `offset` is the byte at which the parser gave up, when it knows."""

    exit_code = EXIT_REFUSED

    def __init__(self, fmt: str, reason: str, *, offset: int | None = None) -> None:
        where = "" if offset is None else f" at byte {offset}"
        super().__init__(f"not a valid {fmt} file{where}: {reason}")
        self.format = fmt
        self.reason = reason
        self.offset = offset


class ManifestError(LeptonError):
    """Text that begins like a manifest but does not parse, or whose check line is wrong."""

    exit_code = EXIT_REFUSED


class FrameError(LeptonError):
    """One of our own byte formats (chunk frame, index, pack, pack index) is malformed."""

    exit_code = EXIT_REFUSED


class CorruptError(LeptonError):
    """Bytes were read whole but do not have the hash that they should have."""

    exit_code = EXIT_REFUSED


class UntrustedError(LeptonError):
    """`lepton.toml` names a command or a function that nobody in this clone has allowed to run."""

    exit_code = EXIT_REFUSED


class MissingError(LeptonError):
    """Weights are not in this repository, or the remote that should have them cannot be reached."""

    exit_code = EXIT_MISSING


class VerificationError(LeptonError):
    """A release that an agent or a person must not follow: a tag, a signature, a sequence or content that is not right.

    Attributes:
        reason: one word of a fixed list, which metrics and status use as a label.
    """

    exit_code = EXIT_REFUSED

    def __init__(self, message: str, *, reason: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class RaceLostError(LeptonError):
    """A compare-and-swap failed: somebody else moved the ref first."""

    exit_code = EXIT_RACE_LOST


class ChangedError(LeptonError):
    """A file changed while it was being read, so that no single content can be stored."""

    exit_code = EXIT_NOT_MEASURED


class CommandError(LeptonError):
    """A program other than git could not be started, ran out of time or failed.

    Attributes:
        argv: program and arguments.
        status: the exit status; negative for a signal, 127 when the program was not found.
        stderr: what it printed on standard error, decoded leniently.
    """

    def __init__(self, argv: Sequence[str], status: int, stderr: str, *, hint: str | None = None) -> None:
        detail = stderr.strip() or f"exit status {status}"
        super().__init__(f"{argv[0]} failed: {detail}", hint=hint)
        self.argv = tuple(argv)
        self.status = status
        self.stderr = stderr


class GitError(LeptonError):
    """git exited with a status that the caller did not expect.

    Attributes:
        args_: the arguments after `git`.
        status: the exit status; negative for a signal.
        stderr: what git printed on standard error, decoded leniently.
    """

    def __init__(self, args: Sequence[str], status: int, stderr: str, *, hint: str | None = None) -> None:
        verb = next((a for a in args if not a.startswith("-") and "=" not in a), "git")
        detail = stderr.strip() or f"exit status {status}"
        super().__init__(f"git {verb} failed: {detail}", hint=hint)
        self.args_ = tuple(args)
        self.status = status
        self.stderr = stderr
