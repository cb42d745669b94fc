"""The compiled kernels, if there are any.

They are found beside this module, checked for their version, and called without the interpreter lock.
`GIT_LEPTON_NATIVE=0` in the environment leaves them alone, to compare or to rule them out.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import ctypes

VERSION: Final = 3
"""`LEPTON_VERSION` of kernels.h."""
FILE: Final = "_kernels.so"
SWITCH: Final = "GIT_LEPTON_NATIVE"


def load(path: Path) -> ctypes.CDLL:
    """The library at `path`. Raises OSError when it cannot be loaded or is of another version."""
    import ctypes

    found = ctypes.CDLL(str(path))
    if found.lepton_version() != VERSION:
        raise OSError(f"{path} was compiled from other sources")
    return found


@cache
def library() -> ctypes.CDLL | None:
    """What was compiled, or None when there is nothing that can be used."""
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        return load(Path(__file__).with_name(FILE))
    except (OSError, AttributeError):
        return None


def declared(function: Any, result: Any, *arguments: Any) -> Any:
    """A function of the library, told its types: None for no result."""
    function.restype, function.argtypes = result, arguments
    return function
