"""Elements to planes and back, with a prediction or without: by the native kernels, or by numpy to the same bits.

`planes` and `delta` define what is done here and are what runs where nothing was compiled. numpy makes several passes,
so it gets blocks that stay in the cache with their results; a kernel makes one and takes a chunk at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from git_lepton.codec import delta
from git_lepton.codec.frame import Buffer
from git_lepton.codec.planes import UNSIGNED, blocks, is_float, merge, width_of
from git_lepton.codec.planes import split as split_plain
from git_lepton.codec.workspace import WORKSPACE
from git_lepton.native.planes import kernels
from git_lepton.values import Hash

if TYPE_CHECKING:
    from git_lepton.codec.planes import Elements, Plane


@dataclass(frozen=True, slots=True)
class Base:
    """A chunk that both sides have, from which another is predicted element by element.

    Attributes:
        hash: BLAKE3 of `raw`.
        dtype: element type of `raw`; it may differ from the predicted chunk's.
        raw: the chunk's bytes; it may be shorter or longer than the predicted chunk.
    """

    hash: Hash
    dtype: str
    raw: Buffer

    def elements(self) -> Elements:
        """The bits of the whole elements in `raw`."""
        import numpy as np

        width = width_of(self.dtype)
        return np.frombuffer(self.raw, UNSIGNED[width], len(self.raw) // width)


def split(elements: Elements, planes: Sequence[Plane], dtype: str, base: Base | None) -> None:
    """Fill `planes`, lowest byte first and as long as `elements`, from these or their differences from `base`."""
    native, floats = kernels(), is_float(dtype)
    for part, predicted in _parts(elements.size, dtype, base):
        block, fill = elements[part], [plane[part] for plane in planes]
        if native is not None:
            native.split(block, predicted, fill, floats=floats)
        elif predicted is None:
            split_plain(block, fill, floats=floats)
        else:
            split_plain(delta.residual(block, predicted, floats=floats), fill, floats=False)


def join(planes: Sequence[Plane], out: Elements, dtype: str, base: Base | None) -> None:
    """Undo `split`: fill `out`."""
    for part, predicted in _parts(out.size, dtype, base):
        _join([plane[part] for plane in planes], predicted, out[part], floats=is_float(dtype))


def holds(planes: Sequence[Plane], elements: Elements, dtype: str, base: Base | None) -> bool:
    """Whether `join` would give these elements; compared while they are in the cache."""
    import numpy as np

    native, floats = kernels(), is_float(dtype)
    for part, predicted in _parts(elements.size, dtype, base):
        taken, block = [plane[part] for plane in planes], elements[part]
        if native is not None:
            if not native.holds([np.ascontiguousarray(plane) for plane in taken], predicted, block, floats=floats):
                return False
            continue
        joined: Elements = WORKSPACE.array("joined", UNSIGNED[block.itemsize], block.size)
        _join(taken, predicted, joined, floats=floats)
        words = "<u8" if joined.nbytes % 8 == 0 else joined.dtype  # four times as fast as elements of two bytes
        if not np.array_equal(joined.view(words), block.view(words)):
            return False
    return True


def _join(planes: Sequence[Plane], predicted: Elements | None, out: Elements, *, floats: bool) -> None:
    import numpy as np

    native = kernels()
    if native is not None:
        native.join([np.ascontiguousarray(plane) for plane in planes], predicted, out, floats=floats)
    elif predicted is None:
        merge(planes, out, floats=floats)
    else:
        residuals: Elements = WORKSPACE.array("residual", UNSIGNED[out.itemsize], out.size)
        merge(planes, residuals, floats=False)
        delta.restore(residuals, predicted, floats=floats, out=out)


def _parts(count: int, dtype: str, base: Base | None) -> Iterator[tuple[slice, Elements | None]]:
    """What is worked on at a time, and what is predicted there: in scratch that lasts until the next part."""
    plain = base is None or base.dtype == dtype
    parts = (slice(0, count),) if plain and kernels() is not None else blocks(count, width_of(dtype))
    known = None if base is None else base.elements()
    for part in parts:
        if base is None or known is None:
            yield part, None
        else:
            yield part, delta.predict(known[part], base.dtype, dtype, part.stop - part.start)
