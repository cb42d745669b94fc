"""What each thread keeps between chunks: compression contexts and scratch arrays.

zstandard's contexts must not be shared by threads, and fresh arrays of hundreds of kilobytes cost as much in page
faults as the arithmetic done in them. Scratch arrays are handed out by name; a name's contents last until its next use
on the same thread, so nothing that outlives a call may refer to one.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import zstandard

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENTROPY_PARAMETERS: Final = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_FAST, window_log=20, hash_log=6, min_match=7, target_length=0
)
"""Almost no search for repeats, all the time for Huffman: weights have skewed bytes, hardly ever repeated ones.

Of a Gaussian bfloat16 tensor's exponents (entropy 0.318) this leaves 0.326 at four times the speed of level 1, which
leaves 0.359; negative levels switch Huffman coding of literals off.
"""

MATCHING_LEVEL: Final = 3
"""zstd level for headers, tables and text, where repeats are what there is to save."""


class Workspace(threading.local):
    """One thread's contexts and scratch. Use the module's `WORKSPACE`."""

    def __init__(self) -> None:
        self.entropy = zstandard.ZstdCompressor(compression_params=ENTROPY_PARAMETERS)
        self.matching = zstandard.ZstdCompressor(level=MATCHING_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()
        self._scratch: dict[str, bytearray] = {}

    def memory(self, name: str, size: int) -> memoryview:
        """Scratch of `size` bytes, with anything in it; it dies at the next call with this `name`."""
        held = self._scratch.get(name)
        if held is None or len(held) < size:
            held = self._scratch[name] = bytearray(size)
        return memoryview(held)[:size]

    def array(self, name: str, dtype: str, count: int) -> NDArray[Any]:
        """As `memory`: `count` elements of numpy's `dtype`."""
        import numpy as np

        kind = np.dtype(dtype)
        return np.frombuffer(self.memory(name, count * kind.itemsize), kind)


WORKSPACE: Final = Workspace()
