"""How two tensors that both sides changed become one: arithmetic on blocks, in float64, or float32 if that is the same.

A strategy first looks at the whole tensor, block by block and as often as it must, and answers with a pure function of
one block, which may then run on any thread in any order. Memory does not depend on the size of the tensor.

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
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from git_lepton.codec.workspace import WORKSPACE
from git_lepton.config.strategies import STRATEGIES, check_options
from git_lepton.errors import UsageError
from git_lepton.store.reading import in_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values: TypeAlias = NDArray[Any]
    """Float64, or float32 where `needs_double` allows it; shape [n]."""

Result = TypeVar("Result")

_PARALLEL: Final = 0.9995
"""Cosine from which on the arc is taken for a line."""
_DIGIT: Final = 13
"""Bits told apart in one pass: the exponent and two more."""
_BITS: Final = 63
"""Of a float64 without its sign."""
_COLLECT: Final = 1 << 20
"""So many candidates for a threshold are collected; more of them are told apart by further bits first."""


@dataclass(frozen=True, slots=True)
class Block:
    """The same elements of all sides: `number` counts blocks from 0; `base` is None without a common ancestor."""

    number: int
    base: Values | None
    ours: Values
    theirs: Values


@dataclass(frozen=True, slots=True)
class TensorBlocks:
    """One tensor in blocks.

    Attributes:
        name: of the tensor.
        elements: how many numbers it has.
        spans: into how many parts it is cut that are read at once.
        load: the blocks of one part, the same ones each time; called on any thread.
        pool: those threads; None for fresh ones.
    """

    name: str
    elements: int
    spans: int
    load: Callable[[int], Iterator[Block]]
    pool: ThreadPoolExecutor | None = None

    def each(self, task: Callable[[Block], Result]) -> Iterator[Result]:
        """Run `task` on every block, on a few threads; the results come in the order of the blocks."""
        spans = in_order(lambda span: [task(block) for block in self.load(span)], range(self.spans), self.pool)
        for results in spans:
            yield from results


Combine: TypeAlias = "Callable[[Block], Values]"


def prepare(strategy: str, options: Mapping[str, float], tensor: TensorBlocks) -> Combine:
    """Look at the whole tensor and answer with what turns a block of it into merged values.

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
    if STRATEGIES[strategy].needs_base and any(block.base is None for block in _first(tensor)):
        raise UsageError(
            f"merge strategy {strategy} works on changes, and {tensor.name!r} has no common ancestor",
            hint="average and slerp need none",
        )
    return _PREPARE[strategy](known, tensor)


def _first(tensor: TensorBlocks) -> Iterator[Block]:
    for span in range(tensor.spans):
        yield from tensor.load(span)
        return


def needs_double(strategy: str, options: Mapping[str, float]) -> bool:
    """Whether float32 would be too narrow for elements of at most 16 bits.

    Their significands have at most 11 bits. Times a weight of eight bits that is exact in float32, so that only the sum
    is rounded; changes may cancel each other, and any other weight is rounded already.
    """
    return strategy != "average" or not (256 * options["weight"]).is_integer()


def _scratch(name: str, like: Values) -> Values:
    """Memory of a thread for a block; it lasts until the next block."""
    return WORKSPACE.array(f"merge {name}", like.dtype.str, like.size)


def _average(options: Mapping[str, float], tensor: TensorBlocks) -> Combine:
    return _weighted(1 - options["weight"], options["weight"])


def _weighted(ours: float, theirs: float) -> Combine:
    """Both sides, each with its factor."""
    import numpy as np

    def combine(block: Block) -> Values:
        result = np.multiply(block.ours, ours, out=_scratch("result", block.ours))
        result += np.multiply(block.theirs, theirs, out=_scratch("part", block.theirs))
        return result

    return combine


def _slerp(options: Mapping[str, float], tensor: TensorBlocks) -> Combine:
    import numpy as np

    weight = options["weight"]

    def products(block: Block) -> tuple[float, float, float]:
        # Not np.dot: its own threads would compete with these, and its order of summation is the machine's.
        pairs = (block.ours, block.theirs), (block.ours, block.ours), (block.theirs, block.theirs)
        product, left, right = (float(np.sum(one * other)) for one, other in pairs)
        return product, left, right

    product, ours, theirs = (math.fsum(part) for part in zip(*tensor.each(products), strict=True))
    norm = np.sqrt(ours) * np.sqrt(theirs)
    cosine = product / norm if norm else 1.0
    if not abs(cosine) <= _PARALLEL:
        return _average(options, tensor)
    angle = np.arccos(cosine)
    return _weighted(np.sin((1 - weight) * angle) / np.sin(angle), np.sin(weight * angle) / np.sin(angle))


def _changes(block: Block) -> tuple[Values, Values, Values]:
    """The base, and both changes from it, in scratch memory."""
    import numpy as np

    base = block.base
    assert base is not None, "prepare has looked"
    ours, theirs = (_scratch(f"change {side}", base) for side in ("ours", "theirs"))
    return base, np.subtract(block.ours, base, out=ours), np.subtract(block.theirs, base, out=theirs)


def _task_arithmetic(options: Mapping[str, float], tensor: TensorBlocks) -> Combine:
    def combine(block: Block) -> Values:
        base, ours, theirs = _changes(block)
        ours *= options["ours"]
        theirs *= options["theirs"]
        ours += theirs
        return _added(base, ours, options["scale"])

    return combine


def _ties(options: Mapping[str, float], tensor: TensorBlocks) -> Combine:
    keep = int(options["density"] * tensor.elements) or min(1, tensor.elements)
    ours, theirs = _trims(tensor, keep)

    def combine(block: Block) -> Values:
        base, left, right = _changes(block)
        left, right = ours.apply(block.number, left), theirs.apply(block.number, right)
        return _added(base, _elect(left, right, options, mean=True), options["scale"])

    return combine


def _dare_ties(options: Mapping[str, float], tensor: TensorBlocks) -> Combine:
    density, seed = options["density"], int(options["seed"])

    def combine(block: Block) -> Values:
        base, left, right = _changes(block)
        left = left * _bernoulli(seed, tensor.name, "ours", block.number, left.size, density) / density
        right = right * _bernoulli(seed, tensor.name, "theirs", block.number, right.size, density) / density
        return _added(base, _elect(left, right, options, mean=False), options["scale"])

    return combine


_PREPARE: Final[dict[str, Callable[[Mapping[str, float], TensorBlocks], Combine]]] = {
    "average": _average,
    "slerp": _slerp,
    "task-arithmetic": _task_arithmetic,
    "ties": _ties,
    "dare-ties": _dare_ties,
}


def _added(base: Values, change: Values, scale: float) -> Values:
    """The base and the scaled change, in the memory of the change."""
    if scale != 1:
        change *= scale
    change += base
    return change


def _elect(left: Values, right: Values, options: Mapping[str, float], *, mean: bool) -> Values:
    """Of each element the sum of the weighted changes whose sign won; with `mean`, by the sum of their weights."""
    import numpy as np

    left_weight, right_weight = options["ours"], options["theirs"]
    one = left if left_weight == 1 else left_weight * left
    other = right if right_weight == 1 else right_weight * right
    total: Values = np.add(one, other, out=_scratch("total", one))
    winner = np.multiply(one, other, out=_scratch("winner", one))
    both = winner > 0
    # Where the signs differ the larger one wins, and has the sign of the sum; of equal ones the positive one.
    sizes = np.abs(one, out=_scratch("size of one", one)), np.abs(other, out=_scratch("size of other", other))
    np.maximum(*sizes, out=winner)
    np.copysign(winner, total, out=winner)
    if mean and left_weight == right_weight == 1:
        total *= 0.5
    elif mean:
        left_wins = (sizes[0] > sizes[1]) | ((total == 0) & (one > 0))
        winner /= np.where(left_wins, _divisor(left_weight), _divisor(right_weight))
        total /= _divisor(left_weight + right_weight)
    np.copyto(winner, total, where=both)
    return winner


def _divisor(weight: float) -> float:
    """What to divide by: nothing is divided by next to nothing."""
    return weight if abs(weight) >= 1e-8 else 1.0


def _bernoulli(seed: int, name: str, side: str, block: int, count: int, density: float) -> Values:
    """Which elements stay: from the seed, the tensor, the side and the place alone, on any machine and thread."""
    import numpy as np

    key = hashlib.sha256(f"{seed}\0{side}\0{name}".encode("utf-8", "surrogateescape")).digest()
    stream = np.random.Philox(key=int.from_bytes(key[:16], "little"), counter=[0, 0, block, 0])
    # 53 bits of the raw output make a float in [0, 1): this, unlike Generator's methods, never changes with numpy.
    stays: Values = (stream.random_raw(count) >> np.uint64(11)) * 2.0**-53 < density
    return stays


@dataclass(frozen=True, slots=True)
class _Trim:
    """Keeps elements whose magnitude is above a threshold, and of those equal to it the first few.

    Attributes:
        threshold: the smallest magnitude that stays; 0 keeps everything.
        quota: how many elements of exactly that magnitude stay in each block.
    """

    threshold: float
    quota: Mapping[int, int]

    def apply(self, number: int, change: Values) -> Values:
        """Make zeros of what does not stay."""
        import numpy as np

        if not self.quota:
            return change
        sizes = np.abs(change, out=_scratch("sizes", change))
        stays = sizes > self.threshold
        if quota := self.quota.get(number, 0):
            stays[np.flatnonzero(sizes == self.threshold)[:quota]] = True
        return np.multiply(change, stays, out=change)


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

    def count(self, bits: NDArray[Any]) -> NDArray[Any]:
        """How often each value of the next digit is among the candidates in `bits`."""
        import numpy as np

        width, below = self.digit()
        if self.shift < _BITS:
            bits = self.candidates_in(bits)
        digits = bits >> np.uint64(below)
        if self.shift < _BITS:
            digits &= np.uint64((1 << width) - 1)
        return np.bincount(digits.view("<i8"), minlength=1 << width)

    def candidates_in(self, bits: NDArray[Any]) -> NDArray[Any]:
        """Those that agree in all bits that are known."""
        import numpy as np

        return bits if self.shift == _BITS else bits[bits >> np.uint64(self.shift) == self.prefix]

    def narrow(self, counts: NDArray[Any]) -> None:
        """Take the digit that the wanted one has."""
        import numpy as np

        width, self.shift = self.digit()
        above = np.cumsum(counts[::-1])
        at = int(np.searchsorted(above, self.left))
        self.left -= int(above[at - 1]) if at else 0
        digit = (1 << width) - 1 - at
        self.prefix, self.candidates = self.prefix << width | digit, int(counts[digit])

    def collect(self, bits: NDArray[Any]) -> NDArray[Any] | int:
        """The candidates in `bits`; only their number where all are equal."""
        import numpy as np

        if not self.shift:
            return int(np.count_nonzero(bits == np.uint64(self.prefix)))
        found = self.candidates_in(bits)
        return found.copy() if found is bits else found

    def finish(self, found: list[tuple[int, NDArray[Any] | int]]) -> _Trim:
        """The trim, from what was collected of every block."""
        import numpy as np

        if self.shift == 0:
            return self._shared(np.uint64(self.prefix), self.left, [(n, count) for n, count in found])
        pool = np.concatenate([bits for _, bits in found])
        pattern = np.partition(pool, pool.size - self.left)[pool.size - self.left]
        left = self.left - int(np.count_nonzero(pool > pattern))
        return self._shared(pattern, left, [(number, int(np.count_nonzero(bits == pattern))) for number, bits in found])

    @staticmethod
    def _shared(pattern: Any, left: int, counts: list[tuple[int, Any]]) -> _Trim:
        """The trim at `pattern`, of which the first `left` stay."""
        import numpy as np

        quota = {}
        for number, count in counts:
            quota[number] = min(left, count)
            left -= quota[number]
        return _Trim(float(pattern.view(np.float64)), quota)


def _magnitudes(block: Block) -> Iterator[NDArray[Any]]:
    """The bit patterns of both changes without their sign, in scratch memory."""
    import numpy as np

    for change in _changes(block)[1:]:
        yield np.abs(change, out=change).view("<u8")


def _guessed(tensor: TensorBlocks, keep: int) -> list[_Trim] | None:
    """The trims in one pass, if one block tells about where the thresholds are; the answer is exact or None."""
    import numpy as np

    blocks = tensor.load(tensor.spans // 2)
    sample = [np.sort(bits) for bits in _magnitudes(next(blocks))]
    count = sample[0].size
    place, margin = count * (1 - keep / tensor.elements), 4 * math.sqrt(count)
    low, high = (min(max(int(place + shift), 0), count - 1) for shift in (-margin, margin))
    windows = [(bits[low], bits[high]) for bits in sample]

    def look(block: Block) -> list[tuple[int, NDArray[Any]]]:
        found = []
        for bits, (least, most) in zip(_magnitudes(block), windows, strict=True):
            inside = bits >= least
            above = bits > most
            inside ^= above
            found.append((int(np.count_nonzero(above)), bits[inside]))
        return found

    counts, held = [0, 0], [0, 0]
    pools: list[list[tuple[int, NDArray[Any] | int]]] = [[], []]
    for number, found in tensor.each(lambda block: (block.number, look(block))):
        for side, (above, bits) in enumerate(found):
            counts[side] += above
            held[side] += bits.size
            pools[side].append((number, bits))
        if max(held) > _COLLECT:
            return None
    if not all(above < keep <= above + inside for above, inside in zip(counts, held, strict=True)):
        return None
    return [_Search(keep - above, inside).finish(pool) for above, inside, pool in zip(counts, held, pools, strict=True)]


def _trims(tensor: TensorBlocks, keep: int) -> list[_Trim]:
    """For the change of ours and of theirs: the trim that keeps its `keep` largest magnitudes."""
    if keep >= tensor.elements:
        return [_Trim(0.0, {}), _Trim(0.0, {})]
    return _guessed(tensor, keep) or _searched(tensor, keep)


def _searched(tensor: TensorBlocks, keep: int) -> list[_Trim]:
    """As `_trims`, wherever the thresholds are."""
    searches = [_Search(keep, tensor.elements) for _ in range(2)]

    while not all(search.is_narrow for search in searches):

        def count(block: Block) -> list[NDArray[Any] | None]:
            both = zip(searches, _magnitudes(block), strict=True)
            return [None if search.is_narrow else search.count(bits) for search, bits in both]

        totals: list[Any] = [0, 0]
        for counts in tensor.each(count):
            totals = [total if one is None else total + one for total, one in zip(totals, counts, strict=True)]
        for search, total in zip(searches, totals, strict=True):
            if not search.is_narrow:
                search.narrow(total)

    def collect(block: Block) -> tuple[int, list[NDArray[Any] | int]]:
        both = zip(searches, _magnitudes(block), strict=True)
        return block.number, [search.collect(bits) for search, bits in both]

    found = list(tensor.each(collect))
    return [search.finish([(number, bits[at]) for number, bits in found]) for at, search in enumerate(searches)]
