"""Sums over the elements of two tensors, block by block, that merge into the figures of the whole.

Everything is summed in float64, by a kernel that passes once over the bytes of both sides. Where nothing was compiled,
and for complex numbers and integers of 64 bits, numpy and BLAS sum blocks of `BLOCK` elements, and plain addition the
blocks. Either way, means and deviations merge as Chan, Golub and LeVeque (1979) do, so that a mean far from zero
cancels nothing; counts are the same, and sums differ by a few roundings. Arrays are scratch of the thread and used
again: fresh ones would cost more in page faults than the arithmetic.

Complex numbers: differences, norms, cosine (its real part) and the largest change are of the numbers themselves;
moments, and the histogram, are of magnitudes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from git_lepton.codec.workspace import WORKSPACE
from git_lepton.compare.decoding import Decoder, Raw
from git_lepton.compare.values import Moments
from git_lepton.native.tally import KINDS, Reading, kernels

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from git_lepton.compare.decoding import Codes, Values

BLOCK: Final = 65_536
"""Elements worked on at a time: 512 KiB of float64, so that what a block needs stays in the cache: a fifth less time
than with four times as many. With fewer, threads would meet at the interpreter lock after every few microseconds.
"""

CANCELLED: Final = 1e-6
"""A deviation whose square is a smaller part of the mean square than this is summed around the mean."""


@dataclass(slots=True)
class Spread:
    """Moments in the making: `squares` is the sum of squared distances from the mean of `count` finite values."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    zeros: int = 0
    nans: int = 0
    infinities: int = 0

    @property
    def energy(self) -> float:
        """Sum of the squares of the values."""
        return self.squares + self.count * self.mean * self.mean

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Spread:
        """The moments of one block."""
        import numpy as np

        total = float(values.sum())
        if not math.isfinite(total):
            finite = values[np.isfinite(values)]
            nans = int(np.count_nonzero(np.isnan(values)))
            infinities = values.size - finite.size - nans
            if finite.size < values.size:
                return replace(cls.of(finite), nans=nans, infinities=infinities)
        if not values.size:
            return cls()
        mean = total / values.size
        energy = float(np.dot(values, values))
        squares = energy - total * mean
        if not squares > CANCELLED * energy:  # far from zero in proportion to their spread: a second pass
            apart = np.subtract(values, mean, out=WORKSPACE.array("apart", "f8", values.size))
            squares = float(np.dot(apart, apart))
        zeros = int(np.count_nonzero(np.equal(values, 0, out=_flags(values.size))))
        return cls(values.size, mean, squares, zeros)

    def merge(self, other: Spread) -> None:
        """Take in what another one has seen."""
        count = self.count + other.count
        if other.count:
            apart = other.mean - self.mean
            self.squares += other.squares + apart * apart * (self.count * (other.count / count))
            self.mean += apart * (other.count / count)
        self.count = count
        self.zeros += other.zeros
        self.nans += other.nans
        self.infinities += other.infinities

    def moments(self) -> Moments:
        """The figures; mean and deviation are NaN when no value was finite."""
        if not self.count:
            return Moments(math.nan, math.nan, self.zeros, self.nans, self.infinities)
        return Moments(self.mean, math.sqrt(self.squares / self.count), self.zeros, self.nans, self.infinities)


@dataclass(slots=True)
class Tally:
    """Sums over pairs of elements; products and differences are over those that are finite on both sides."""

    compared: int = 0
    changed: int = 0
    difference: float = 0.0
    """Sum of squares of after - before."""
    before: float = 0.0
    after: float = 0.0
    """Sums of squares."""
    product: float = 0.0
    max_abs: float = 0.0
    spread_before: Spread = field(default_factory=Spread)
    spread_after: Spread = field(default_factory=Spread)

    def merge(self, other: Tally) -> None:
        """Take in what another one has seen."""
        self.compared += other.compared
        self.changed += other.changed
        self.difference += other.difference
        self.before += other.before
        self.after += other.after
        self.product += other.product
        self.max_abs = max(self.max_abs, other.max_abs)
        self.spread_before.merge(other.spread_before)
        self.spread_after.merge(other.spread_after)

    @property
    def relative(self) -> float:
        """Norm of the difference by that of before; 0 when there is no difference, infinite when before is zero."""
        if not self.difference:
            return 0.0
        return math.sqrt(self.difference / self.before) if self.before else math.inf

    @property
    def cosine(self) -> float:
        """Cosine of the angle between the two; NaN when either is zero."""
        norms = math.sqrt(self.before) * math.sqrt(self.after)
        return max(-1.0, min(1.0, self.product / norms)) if norms else math.nan


@dataclass(frozen=True, slots=True)
class Pair:
    """The same elements of both sides, decoded block by block."""

    decode_before: Decoder
    decode_after: Decoder
    before: Codes
    after: Codes

    @classmethod
    def of(cls, decode_before: Decoder, before: Raw, decode_after: Decoder, after: Raw, count: int) -> Pair:
        """`count` elements from the raw bytes of each side."""
        return cls(decode_before, decode_after, decode_before.codes(before, count), decode_after.codes(after, count))

    def tally(self, change: NDArray[np.float32] | None = None) -> Tally:
        """Sum over all elements; after - before goes into `change` too, 0 where either is not finite."""
        native, before, after = kernels(), _reading(self.decode_before), _reading(self.decode_after)
        if native is None or before is None or after is None:
            return self._tally(change)
        alike = self.decode_before == self.decode_after
        sums, *sides = native.tally((before, after), self.before, self.after, change, alike=alike)
        changed, difference, energy_before, energy_after, product, max_abs = sums
        return Tally(
            len(self.before),
            int(changed),
            difference,
            energy_before,
            energy_after,
            product,
            max_abs,
            *(Spread(int(count), mean, squares, *map(int, odd)) for count, mean, squares, *odd in sides),
        )

    def _tally(self, change: NDArray[np.float32] | None) -> Tally:
        """The same with numpy."""
        import numpy as np

        found = Tally(compared=len(self.before))
        with np.errstate(all="ignore"):
            for block, before, after, difference in self._blocks():
                spread_before, spread_after = Spread.of(_real(before)), Spread.of(_real(after))
                found.spread_before.merge(spread_before)
                found.spread_after.merge(spread_after)
                found.changed += self._changed(block, before, after)
                if spread_before.count == spread_after.count == len(before):
                    found.before += spread_before.energy
                    found.after += spread_after.energy
                else:
                    _silence(before, after, difference)
                    found.before += _dot(before, before)
                    found.after += _dot(after, after)
                found.difference += _dot(difference, difference)
                found.product += _dot(before, after)
                found.max_abs = max(found.max_abs, _largest(difference))
                if change is not None:
                    change[block] = difference
        return found

    def histogram(self, limit: float, bins: int) -> NDArray[np.int64]:
        """Counts of after - before in `bins` equal bins over [-limit, limit], where it is finite."""
        import numpy as np

        counts = np.zeros(bins, np.int64)
        with np.errstate(all="ignore"):
            for _, _, _, difference in self._blocks():
                counts += np.histogram(_real(difference), bins, (-limit, limit))[0]
        return counts

    def _blocks(self) -> Iterator[tuple[slice, Values, Values, Values]]:
        """Which elements, before, after, after - before. The arrays are those of the block that came first."""
        import numpy as np

        count = len(self.before)
        kinds = ["c16" if d.is_complex else "f8" for d in (self.decode_before, self.decode_after)]
        for start in range(0, count, BLOCK):
            block = slice(start, min(start + BLOCK, count))
            size = block.stop - start
            before = WORKSPACE.array("before", kinds[0], size)
            after = WORKSPACE.array("after", kinds[1], size)
            difference = WORKSPACE.array("difference", max(kinds, key=len), size)
            self.decode_before.values(self.before[block], before)
            self.decode_after.values(self.after[block], after)
            if self.decode_before.is_wide and self.decode_after.is_wide:
                high_before, low_before = self.decode_before.split(self.before[block])
                high_after, low_after = self.decode_after.split(self.after[block])
                np.copyto(difference, (high_after - high_before) * 2.0**32 + (low_after - low_before))
            else:
                np.subtract(after, before, out=difference)
            yield block, before, after, difference

    def _changed(self, block: slice, before: Values, after: Values) -> int:
        """Elements that differ: in their bits for one dtype, else in their value, NaN being equal to NaN."""
        import numpy as np

        if self.decode_before == self.decode_after:
            codes_before, codes_after = self.before[block], self.after[block]
            apart = np.not_equal(codes_before, codes_after, out=_flags(codes_before.size).reshape(codes_before.shape))
            return int(np.count_nonzero(apart.any(axis=1) if apart.ndim > 1 else apart))
        return int(np.count_nonzero((before != after) & ~(np.isnan(before) & np.isnan(after))))


def _reading(decode: Decoder) -> Reading | None:
    """How the kernel reads these elements, if it can."""
    listed = decode.listed
    if listed is not None:
        return Reading("LISTED", listed)
    return Reading(decode.dtype) if decode.dtype in KINDS else None


def _flags(count: int) -> NDArray[np.bool_]:
    return WORKSPACE.array("flags", "?", count)


def _real(values: Values) -> NDArray[np.float64]:
    """The values, or their magnitudes when they are complex."""
    return abs(values) if values.dtype.kind == "c" else values


def _silence(before: Values, after: Values, difference: Values) -> None:
    """Set to zero, in place, what is not finite on both sides."""
    import numpy as np

    loud = ~(np.isfinite(before) & np.isfinite(after))
    for values in (before, after, difference):
        values[loud] = 0


def _dot(left: Values, right: Values) -> float:
    import numpy as np

    if left.dtype != right.dtype or left.dtype.kind == "c":
        return float(np.vdot(left, right).real)
    return float(np.dot(left, right))


def _largest(difference: Values) -> float:
    if difference.dtype.kind == "c":
        return float(abs(difference).max(initial=0.0))
    return float(max(difference.max(initial=0.0), -difference.min(initial=0.0)))
