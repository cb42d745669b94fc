"""The effective rank of a change, from one pass over it: is this fine-tune a LoRA?

The randomized range finder of Halko, Martinsson and Tropp ("Finding structure with randomness", SIAM Review 53, 2011,
section 4): a matrix D of m rows times a Gaussian matrix of k columns keeps, in its k singular values, which part of D's
energy lies in how few directions. Rows arrive chunk by chunk and only their products are kept: m x k float32.

A merged LoRA was rounded to the weights' dtype, and that noise has full rank. Its energy is bounded by the dtype, so
up to that bound whatever lies evenly on all directions is taken off, as the eigenvalues of a noise matrix do lie
(Marchenko and Pastur 1967). A fine-tune whose own spectrum is flat exceeds the bound, and is not taken for noise.

The rank is the least number of directions that hold `ENERGY` of the energy that is left. None when that is more than
half of the sketch's columns: then the change is of full rank as far as anyone can tell. No part of a matrix has a
higher rank than the whole, so the first rows tell early when there is nothing to find.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENERGY: Final = 0.999
MAX_COLUMNS: Final = 128
"""Columns of a sketch, so that ranks up to 64 are found; a quarter of the matrix's lesser side if that is fewer."""

MIN_SIDE: Final = 32
MAX_SIDE: Final = 65_536
MAX_ELEMENTS: Final = 1 << 26
"""Larger matrices are not worth the time: 256 operations an element."""

_SEED: Final = 2011
_ROUNDINGS: Final = 2
"""Both sides may have been rounded."""


def worth_asking(shape: tuple[int, ...]) -> bool:
    """Whether a change of this shape has a rank that is cheap to find: a matrix neither tiny nor huge."""
    return len(shape) == 2 and min(shape) >= MIN_SIDE and max(shape) <= MAX_SIDE and math.prod(shape) <= MAX_ELEMENTS


@dataclass(frozen=True, slots=True)
class Sketch:
    """The products of a matrix's rows with random columns. `rows` is shaped [m, k], `columns` [n, k].

    `part` is safe to call from several threads; `add` is not.
    """

    rows: NDArray[np.float32]
    columns: NDArray[np.float32]

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Sketch:
        """An empty sketch of a matrix of this shape; the same one every time."""
        import numpy as np

        count = min(MAX_COLUMNS, min(shape) // 4)
        return cls(np.zeros((shape[0], count), np.float32), _random(shape[1], count))

    def room(self, first: int, count: int) -> NDArray[np.float32]:
        """Zeros for the whole rows in which elements `first` to `first + count` lie, the former at `first % n`."""
        import numpy as np

        width = len(self.columns)
        return np.zeros(-(-(first % width + count) // width) * width, np.float32)

    def part(self, first: int, change: NDArray[np.float32]) -> tuple[int, NDArray[np.float32]]:
        """The products of the rows in `change`, which `room` made for element `first`: first row, and [rows, k]."""
        width = len(self.columns)
        return first // width, change.reshape(-1, width) @ self.columns

    def add(self, part: tuple[int, NDArray[np.float32]]) -> None:
        """Take in what `part` made; a row may come in several parts."""
        first, products = part
        self.rows[first : first + len(products)] += products

    @property
    def enough(self) -> int:
        """After how many rows `rank` tells whether there is any use in going on."""
        return min(2 * int(self.rows.shape[1]), len(self.rows))

    def rank(self, noise: float, stop: int | None = None) -> int | None:
        """The effective rank of the change, if it is low.

        Args:
            noise: what rounding may have left of energy in the change (see `rounding`).
            stop: only of the rows before this one.
        """
        import numpy as np

        count = self.rows.shape[1]
        rows = self.rows[:stop].astype(np.float64)
        gram = rows.T @ rows
        if not np.isfinite(gram).all():
            return None
        energy = np.linalg.eigvalsh(gram)[::-1].clip(min=0.0)
        floor = min(float(energy[count * 3 // 4]), noise)
        narrow = math.sqrt(count / len(rows))
        cut = floor * ((1 + narrow) / (1 - narrow)) ** 2 if narrow < 1 else math.inf
        signal = np.where(energy > cut, energy - floor, 0.0)
        held = np.cumsum(signal)
        if held[-1] <= energy.sum() / 2:  # nothing, or noise for the most part
            return None
        rank = int(np.searchsorted(held, ENERGY * held[-1])) + 1
        return rank if rank <= count // 2 else None


@lru_cache(maxsize=2)
def _random(rows: int, count: int) -> NDArray[np.float32]:
    """The random columns for matrices of so many columns: most of a model's have one of two widths."""
    import numpy as np

    found = np.random.Generator(np.random.PCG64(_SEED)).standard_normal((rows, count), np.float32)
    found.flags.writeable = False
    return found


def rounding(step: float, count: int, squares: float, *, relative: bool) -> float:
    """Bound the energy that rounding to a dtype left in the difference of two tensors.

    Args:
        step: the gap between neighbouring values, as a part of them if `relative`.
        count: how many elements.
        squares: sum of their squares.
        relative: True for floats.
    """
    return _ROUNDINGS * step * step / 12 * (squares if relative else count)
