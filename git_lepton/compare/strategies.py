"""How two tensors that both sides changed become one.

A strategy first looks at the whole tensor, block by block and as often as it must, and answers with a pure function of
one block, which may then run on any thread in any order; `arithmetic` computes it. Memory does not depend on the size
of the tensor.

average           weighted mean
slerp             Shoemake, "Animating Rotation with Quaternion Curves", SIGGRAPH 1985: along the arc between the two
                  flattened tensors; straight where they are nearly parallel, since the formula divides by a sine
task-arithmetic   Ilharco et al., "Editing Models with Task Arithmetic", arXiv:2212.04089: the base and the sum of both
                  changes, each with its factor
ties              Yadav et al., "TIES-Merging", arXiv:2306.01708: of each change keep the largest `density`, elect a
                  sign an element by the sum, take the mean of those that have it
dare-ties         Yu et al., "Language Models are Super Mario", arXiv:2311.03099: of each change keep a random `density`
                  and rescale it by 1/density, then elect signs as above and add up

The factors (`ours`, `theirs`) weigh the changes before signs are elected and in the mean; `scale` multiplies the result
before it is added to the base.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from git_lepton.compare import arithmetic
from git_lepton.compare.arithmetic import Block
from git_lepton.config.strategies import STRATEGIES, check_options
from git_lepton.errors import UsageError
from git_lepton.native.merging import ALL, STREAMS, Chance, Choice, Election
from git_lepton.store.reading import in_order

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from git_lepton.compare.arithmetic import Magnitudes

Result = TypeVar("Result")

Tallied: TypeAlias = "tuple[Magnitudes, NDArray[np.int64]]"
"""Magnitudes, each once, and how often each is there: changes of narrow floats are few different ones."""

_PARALLEL: Final = 0.9995
"""Cosine from which on the arc is taken for a line."""
_DIGIT: Final = 13
"""Bits told apart in one pass: the exponent and two more."""
_BITS: Final = 63
"""Of a float64 without its sign."""
_COLLECT: Final = 1 << 20
"""So many different candidates for a threshold are collected; more of them are told apart by further bits first."""
_SAMPLE: Final = 1 << 15
_SAMPLE_SHARE: Final = 1 << 8
"""Elements by which a threshold is guessed, if there are so many: at least, and one in how many of a tensor."""
_DEVIATIONS: Final = 5
"""Standard deviations of a rank in a sample between which the wanted one is looked for."""


@dataclass(frozen=True, slots=True)
class TensorBlocks:
    """One tensor in blocks.

    Attributes:
        name: of the tensor.
        dtype: of its elements, on all sides.
        elements: how many it has.
        blocks: into how many parts it is cut that are read at once.
        load: one of them, the same each time; called on any thread.
        based: whether blocks have a base.
        kept: whether a second look at a block costs nothing.
        pool: those threads; None for fresh ones.
    """

    name: str
    dtype: str
    elements: int
    blocks: int
    load: Callable[[int], Block]
    based: bool
    kept: bool = False
    pool: ThreadPoolExecutor | None = None

    def each(self, task: Callable[[Block], Result]) -> Iterator[Result]:
        """Run `task` on every block, on a few threads; the results come in the order of the blocks."""
        return in_order(lambda number: task(self.load(number)), range(self.blocks), self.pool)


Combine: TypeAlias = Callable[[Block], memoryview]
"""The merged bytes of a block."""


def prepare(strategy: str, options: Mapping[str, float], tensor: TensorBlocks) -> Combine:
    """Look at the whole tensor and answer with what turns a block of it into merged bytes.

    Args:
        strategy: one of `STRATEGIES` that computes.
        options: its numbers; those that are missing have their defaults.
        tensor: what is merged. Strategies that need a base get one in every block.

    Raises:
        UsageError: no such strategy or option, or there is no base and the strategy needs one.
    """
    known = check_options(strategy, options)
    if strategy not in _PREPARE:
        raise UsageError(f"merge strategy {strategy} does not compute values")
    if STRATEGIES[strategy].needs_base and not tensor.based:
        raise UsageError(
            f"merge strategy {strategy} works on changes, and {tensor.name!r} has no common ancestor",
            hint="average and slerp need none",
        )
    return _PREPARE[strategy](known, tensor)


def _average(options: Mapping[str, float], tensor: TensorBlocks) -> Combine:
    return _weighted(tensor.dtype, 1 - options["weight"], options["weight"])


def _weighted(dtype: str, ours: float, theirs: float) -> Combine:
    return lambda block: arithmetic.weighted(dtype, block, ours, theirs)


def _slerp(options: Mapping[str, float], tensor: TensorBlocks) -> Combine:
    weight = options["weight"]
    # Exact sums of partial ones, so that their order does not count.
    sums = list(tensor.each(lambda block: arithmetic.products(tensor.dtype, block)))
    product, ours, theirs = (_total(part[at] for part in sums) for at in range(3))
    norm = math.sqrt(ours) * math.sqrt(theirs)
    cosine = product / norm if norm else 1.0
    if not abs(cosine) <= _PARALLEL:
        return _average(options, tensor)
    angle = math.acos(cosine)
    return _weighted(
        tensor.dtype, math.sin((1 - weight) * angle) / math.sin(angle), math.sin(weight * angle) / math.sin(angle)
    )


def _total(parts: Iterator[list[float]]) -> float:
    """The sum of all; NaN where it is no number or beyond all of them."""
    try:
        found = math.fsum(number for part in parts for number in part)
    except (OverflowError, ValueError):
        return math.nan
    return found if math.isfinite(found) else math.nan


def _task_arithmetic(options: Mapping[str, float], tensor: TensorBlocks) -> Combine:
    factors = options["ours"], options["theirs"]
    return lambda block: arithmetic.added(tensor.dtype, block, factors, options["scale"])


def _ties(options: Mapping[str, float], tensor: TensorBlocks) -> Combine:
    keep = int(options["density"] * tensor.elements) or min(1, tensor.elements)
    ours, theirs = _trims(tensor, keep)
    left, right = options["ours"], options["theirs"]
    mean = (1 / _divisor(left), 1 / _divisor(right), 1 / _divisor(left + right))

    def combine(block: Block) -> memoryview:
        sides = ours.choice(block.first, left), theirs.choice(block.first, right)
        return arithmetic.elected(tensor.dtype, block, Election(*sides, mean, options["scale"]))

    return combine


def _divisor(weight: float) -> float:
    """What to divide by: nothing is divided by next to nothing."""
    return weight if abs(weight) >= 1e-8 else 1.0


def _dare_ties(options: Mapping[str, float], tensor: TensorBlocks) -> Combine:
    density, seed = options["density"], int(options["seed"])
    sides = Choice(options["ours"]), Choice(options["theirs"])

    def combine(block: Block) -> memoryview:
        # From the seed, the tensor and the place alone, on any machine and thread.
        chance = Chance(_random(f"{seed}\0{tensor.name}\0{block.first}"), round(density * 2**32), 1 / density)
        return arithmetic.elected(tensor.dtype, block, Election(*sides, (1.0, 1.0, 1.0), options["scale"], chance))

    return combine


def _random(text: str) -> bytes:
    """The state of streams of random numbers that begin with `text`."""
    return hashlib.shake_256(text.encode("utf-8", "surrogateescape")).digest(32 * STREAMS)


_PREPARE: Final[dict[str, Callable[[Mapping[str, float], TensorBlocks], Combine]]] = {
    "average": _average,
    "slerp": _slerp,
    "task-arithmetic": _task_arithmetic,
    "ties": _ties,
    "dare-ties": _dare_ties,
}


@dataclass(frozen=True, slots=True)
class _Trim:
    """Keeps elements whose magnitude is above a threshold, and of those equal to it the first few.

    Attributes:
        threshold: the smallest magnitude that stays, as its bits; None keeps everything.
        quota: how many elements of exactly that magnitude stay in each block, by its first element; see `Choice`.
    """

    threshold: int | None
    quota: Mapping[int, int]

    def choice(self, first: int, factor: float) -> Choice:
        """What stays of a block."""
        return Choice(factor) if self.threshold is None else Choice(factor, self.threshold, self.quota[first])


@dataclass(slots=True)
class _Search:
    """A radix selection of the `left`-th largest magnitude by its bit pattern, whose order is that of magnitudes.

    Attributes:
        left: how many are still to be found among the candidates.
        prefix: the upper bits that candidates share.
        shift: how many bits are not known yet.
        candidates: how many share them.
    """

    left: int
    candidates: int
    prefix: int = 0
    shift: int = _BITS

    @property
    def is_narrow(self) -> bool:
        """Whether the candidates are few enough to be looked at one by one, or all equal."""
        return self.candidates <= _COLLECT or self.shift == 0

    def digit(self) -> tuple[int, int]:
        """Width of the next digit, and how many bits are below it."""
        width = min(_DIGIT, self.shift)
        return width, self.shift - width

    def count(self, bits: Magnitudes) -> NDArray[Any]:
        """How often each value of the next digit is among the candidates in `bits`."""
        import numpy as np

        width, below = self.digit()
        if self.shift < _BITS:
            bits = self.candidates_in(bits)
        digits = bits >> below
        if self.shift < _BITS:
            digits &= (1 << width) - 1
        return np.bincount(digits, minlength=1 << width)

    def candidates_in(self, bits: Magnitudes) -> Magnitudes:
        """Those that agree in all bits that are known."""
        return bits if self.shift == _BITS else bits[bits >> self.shift == self.prefix]

    def narrow(self, counts: NDArray[Any]) -> None:
        """Take the digit that the wanted one has."""
        import numpy as np

        width, self.shift = self.digit()
        above = np.cumsum(counts[::-1])
        at = int(np.searchsorted(above, self.left))
        self.left -= int(above[at - 1]) if at else 0
        digit = (1 << width) - 1 - at
        self.prefix, self.candidates = self.prefix << width | digit, int(counts[digit])

    def finish(self, found: Sequence[tuple[int, Tallied]]) -> _Trim:
        """The trim, from the candidates of every block, by its first element."""
        import numpy as np

        sizes, counts = (np.concatenate(parts) for parts in zip(*(tallied for _, tallied in found), strict=True))
        order = np.argsort(sizes)
        above = np.cumsum(counts[order][::-1])
        at = int(np.searchsorted(above, self.left))
        threshold = int(sizes[order[-1 - at]])
        left = self.left - int(counts[sizes > threshold].sum())
        quota = {}
        for first, (own, often) in found:
            count = int(often[own == threshold].sum())
            quota[first] = ALL if count <= left else left
            left -= min(left, count)
        return _Trim(threshold, quota)


def _tallied(bits: Magnitudes) -> Tallied:
    import numpy as np

    return np.unique(bits, return_counts=True)


def _trims(tensor: TensorBlocks, keep: int) -> list[_Trim]:
    """For the change of ours and of theirs: the trim that keeps its `keep` largest magnitudes."""
    if keep >= tensor.elements:
        return [_Trim(None, {}), _Trim(None, {})]
    return _guessed(tensor, keep) or _searched(tensor, keep)


def _guessed(tensor: TensorBlocks, keep: int) -> list[_Trim] | None:
    """The trims in one pass, if a sample tells about where the thresholds are; the answer is exact or None."""
    windows = _windows(tensor, keep)
    counts, held = [0, 0], [0, 0]
    pools: list[list[tuple[int, Tallied]]] = [[], []]
    distinct = [0, 0]

    def look(block: Block) -> list[tuple[int, int, Tallied]]:
        found = arithmetic.window(tensor.dtype, block, windows)
        return [(above, bits.size, _tallied(bits)) for above, bits in found]

    for first, found in tensor.each(lambda block: (block.first, look(block))):
        for side, (above, inside, tallied) in enumerate(found):
            counts[side] += above
            held[side] += inside
            distinct[side] += tallied[0].size
            pools[side].append((first, tallied))
        if max(distinct) > _COLLECT:
            return None
    if not all(above < keep <= above + inside for above, inside in zip(counts, held, strict=True)):
        return None
    return [_Search(keep - above, inside).finish(pool) for above, inside, pool in zip(counts, held, pools, strict=True)]


def _windows(tensor: TensorBlocks, keep: int) -> list[tuple[int, int]]:
    """Between which magnitudes the thresholds of ours and theirs should be: of all blocks, if that costs nothing."""
    import numpy as np

    looked = range(tensor.blocks) if tensor.kept else range(tensor.blocks // 2, tensor.blocks // 2 + 1)
    # Odd, so that it has no common measure with the rows.
    step = tensor.elements * len(looked) // tensor.blocks // max(_SAMPLE, tensor.elements // _SAMPLE_SHARE) | 1

    def sample(number: int) -> list[Magnitudes]:
        block = tensor.load(number)
        assert block.base is not None
        base, ours, theirs = (np.ascontiguousarray(side[::step]) for side in (block.base, block.ours, block.theirs))
        found = arithmetic.window(tensor.dtype, Block(0, base, ours, theirs), [(0, ALL - 1)] * 2)
        return [bits for _, bits in found]

    found = in_order(sample, looked, tensor.pool)
    windows = []
    for bits in map(np.concatenate, zip(*found, strict=True)):
        share = keep / tensor.elements
        place, margin = bits.size * (1 - share), _DEVIATIONS * math.sqrt(bits.size * share * (1 - share)) + 1
        low, high = (min(max(int(place + shift), 0), bits.size - 1) for shift in (-margin, margin))
        bits.sort()
        windows.append((int(bits[low]), int(bits[high])))
    return windows


def _searched(tensor: TensorBlocks, keep: int) -> list[_Trim]:
    """As `_trims`, wherever the thresholds are."""
    searches = [_Search(keep, tensor.elements) for _ in range(2)]

    def count(block: Block) -> list[Any]:
        totals: list[Any] = [0, 0]
        for both in arithmetic.magnitudes(tensor.dtype, block):
            for side, bits in enumerate(both):
                if not searches[side].is_narrow:
                    totals[side] = totals[side] + searches[side].count(bits)
        return totals

    while not all(search.is_narrow for search in searches):
        totals = [sum(counts) for counts in zip(*tensor.each(count), strict=True)]
        for search, total in zip(searches, totals, strict=True):
            if not search.is_narrow:
                search.narrow(total)

    def collect(block: Block) -> tuple[int, list[Tallied]]:
        import numpy as np

        found: list[list[Magnitudes]] = [[], []]
        for both in arithmetic.magnitudes(tensor.dtype, block):
            for side, bits in enumerate(both):
                found[side].append(searches[side].candidates_in(bits))
        return block.first, [_tallied(np.concatenate(parts)) for parts in found]

    pools = list(tensor.each(collect))
    return [search.finish([(first, found[side]) for first, found in pools]) for side, search in enumerate(searches)]
