"""SHA-1 of several messages side by side: the kernel of sha1.c."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Final

from git_lepton.native.library import declared, library
from git_lepton.native.memory import address

if TYPE_CHECKING:
    import ctypes

    from git_lepton.native.memory import Memory

LANES: Final = 16
"""Most messages of one call, which takes as long as its longest one."""

_DIGEST: Final = 20


class Sha1Kernels:
    """The function of sha1.c."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Declare the functions of a library that was loaded."""
        import ctypes

        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        pointers, sizes = ctypes.POINTER(pointer), ctypes.POINTER(size)
        self._hash = declared(library.lepton_sha1, ctypes.c_int, pointers, sizes, sizes, size, pointer)
        self._pointer, self._size = pointer, size

    def hash(self, messages: Sequence[Sequence[Memory]]) -> list[bytes] | None:
        """The digests of 1 to `LANES` messages, each the concatenation of its parts.

        None where the processor is no faster at it than at one after another.
        """
        counts = [len(parts) for parts in messages]
        parts = list(chain.from_iterable(messages))
        sizes = (self._size * len(parts))(*map(len, parts))
        out = bytearray(_DIGEST * len(messages))
        pointers = (self._pointer * len(parts))(*map(address, parts))
        done = self._hash(pointers, sizes, (self._size * len(counts))(*counts), len(counts), address(out))
        return [bytes(out[at : at + _DIGEST]) for at in range(0, len(out), _DIGEST)] if done else None


@cache
def kernels() -> Sha1Kernels | None:
    """These functions, or None where nothing was compiled."""
    found = library()
    return None if found is None else Sha1Kernels(found)
