"""From an error to the one word that metrics count, and the sentence that a person reads."""

from __future__ import annotations

import errno
import traceback
from typing import Final

from git_lepton.agent.events import VERIFICATION_REASONS, PollReason, SwapReason, VerificationReason
from git_lepton.agent.mirror import is_full
from git_lepton.errors import (
    CorruptError,
    FormatError,
    FrameError,
    LeptonError,
    ManifestError,
    MissingError,
    VerificationError,
)
from git_lepton.git.remote import NoSuchRefError

_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM})
_CONTENT: Final = (CorruptError, FrameError, FormatError, ManifestError, VerificationError)


def sentence(error: Exception) -> str:
    """What a person is told: what is wrong, and of content and tags also what to do."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if not isinstance(error, LeptonError):
        return f"{type(error).__name__}: {error}"
    return f"{error.message} ({error.hint})" if error.hint and isinstance(error, _CONTENT) else error.message


def reason_of(error: Exception) -> VerificationReason:
    """Why content or a tag is refused."""
    if isinstance(error, VerificationError) and error.reason in VERIFICATION_REASONS:
        return error.reason
    return "corrupt"


def poll_reason(error: Exception) -> PollReason:
    """Why a remote, or a channel of it, could not be asked."""
    if isinstance(error, NoSuchRefError):
        return "absent"
    if _is_disk(error):
        return "disk"
    if isinstance(error, MissingError):
        return "unreachable"
    if isinstance(error, _CONTENT):
        return "corrupt"
    _report(error)
    return "internal"


def swap_reason(error: Exception) -> SwapReason:
    """Why a release is not in place."""
    if isinstance(error, VerificationError) and error.reason == "warmup":
        return "warmup"
    if _is_disk(error):
        return "disk"
    if isinstance(error, _CONTENT):
        return "verification"
    if isinstance(error, MissingError):
        return "fetch"
    if isinstance(error, OSError):
        return "swap"
    _report(error)
    return "internal"


def _is_disk(error: Exception) -> bool:
    return is_full(error) or (isinstance(error, OSError) and error.errno in _DISK)


def _report(error: Exception) -> None:
    """Our own fault: the journal gets what a bug report needs."""
    if not isinstance(error, LeptonError):
        traceback.print_exception(error)
