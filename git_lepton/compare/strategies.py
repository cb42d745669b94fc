"""How two tensors that both sides changed become one: arithmetic on blocks, in float64.

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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from git_lepton.config.strategies import STRATEGIES, check_options
from git_lepton.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values: TypeAlias = NDArray[Any]
    """Float64, shape [n]."""

_PARALLEL: Final = 0.9995
"""Cosine from which on the arc is taken for a line."""
_DIGIT: Final = 16
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
    """One tensor in blocks: `blocks()` may be called several times and gives the same ones each time."""

    name: str
    elements: int
    blocks: Callable[[], Iterator[Block]]


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
    for block in tensor.blocks():
        yield block
        return


def _average(options: Mapping[str, float], tensor: TensorBlocks) -> Combine:
    weight = options["weight"]
    return lambda block: (1 - weight) * block.ours + weight * block.theirs


def _slerp(options: Mapping[str, float], tensor: TensorBlocks) -> Combine:
    import numpy as np

    weight = options["weight"]
    product = ours = theirs = 0.0
    for block in tensor.blocks():
        product += float(np.dot(block.ours, block.theirs))
        ours += float(np.dot(block.ours, block.ours))
        theirs += float(np.dot(block.theirs, block.theirs))
    norm = np.sqrt(ours) * np.sqrt(theirs)
    cosine = product / norm if norm else 1.0
    if not abs(cosine) <= _PARALLEL:
        return _average(options, tensor)
    angle = np.arccos(cosine)
    left, right = np.sin((1 - weight) * angle) / np.sin(angle), np.sin(weight * angle) / np.sin(angle)
    return lambda block: left * block.ours + right * block.theirs


def _changes(block: Block) -> tuple[Values, Values, Values]:
    """The base, and both changes from it."""
    assert block.base is not None, "prepare has looked"
    return block.base, block.ours - block.base, block.theirs - block.base


def _task_arithmetic(options: Mapping[str, float], tensor: TensorBlocks) -> Combine:
    def combine(block: Block) -> Values:
        base, ours, theirs = _changes(block)
        return base + options["scale"] * (options["ours"] * ours + options["theirs"] * theirs)

    return combine


def _ties(options: Mapping[str, float], tensor: TensorBlocks) -> Combine:
    keep = int(options["density"] * tensor.elements) or min(1, tensor.elements)
    ours = _Trim.find(tensor, lambda block: _changes(block)[1], keep)
    theirs = _Trim.find(tensor, lambda block: _changes(block)[2], keep)

    def combine(block: Block) -> Values:
        base, left, right = _changes(block)
        left, right = ours.apply(block.number, left), theirs.apply(block.number, right)
        return base + options["scale"] * _elect(left, right, options, mean=True)

    return combine


def _dare_ties(options: Mapping[str, float], tensor: TensorBlocks) -> Combine:
    density, seed = options["density"], int(options["seed"])

    def combine(block: Block) -> Values:
        base, left, right = _changes(block)
        left = left * _bernoulli(seed, tensor.name, "ours", block.number, left.size, density) / density
        right = right * _bernoulli(seed, tensor.name, "theirs", block.number, right.size, density) / density
        return base + options["scale"] * _elect(left, right, options, mean=False)

    return combine


_PREPARE: Final[dict[str, Callable[[Mapping[str, float], TensorBlocks], Combine]]] = {
    "average": _average,
    "slerp": _slerp,
    "task-arithmetic": _task_arithmetic,
    "ties": _ties,
    "dare-ties": _dare_ties,
}


def _elect(left: Values, right: Values, options: Mapping[str, float], *, mean: bool) -> Values:
    """Of each element the sum of the weighted changes whose sign won; with `mean`, by the sum of their weights."""
    import numpy as np

    left_weight, right_weight = options["ours"], options["theirs"]
    weighted = left_weight * left, right_weight * right
    sign = np.where(weighted[0] + weighted[1] >= 0, 1.0, -1.0)
    agree = np.sign(weighted[0]) == sign, np.sign(weighted[1]) == sign
    total: Values = weighted[0] * agree[0] + weighted[1] * agree[1]
    if not mean:
        return total
    weights = left_weight * agree[0] + right_weight * agree[1]
    weights[np.abs(weights) < 1e-8] = 1
    total /= weights
    return total


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
        threshold: the smallest magnitude that stays.
        quota: how many elements of exactly that magnitude stay in each block.
    """

    threshold: float
    quota: Mapping[int, int]

    @classmethod
    def find(cls, tensor: TensorBlocks, change: Callable[[Block], Values], keep: int) -> _Trim:
        """The trim that keeps the `keep` largest magnitudes of a change.

        A radix selection on the bit patterns, whose order is that of the magnitudes: each pass counts the next
        16 bits of those that agree in the bits before, until few enough are left to be looked at one by one.
        """
        import numpy as np

        if keep >= tensor.elements:
            return cls(0.0, {})

        def magnitudes() -> Iterator[tuple[int, NDArray[Any]]]:
            for block in tensor.blocks():
                yield block.number, np.abs(change(block)).view("<u8")

        prefix, left, candidates = 0, keep, tensor.elements
        shift = 64
        while candidates > _COLLECT and shift:
            shift -= _DIGIT
            counts = np.zeros(1 << _DIGIT, np.int64)
            for _, bits in magnitudes():
                rest = bits[bits >> np.uint64(shift + _DIGIT) == prefix] if shift + _DIGIT < 64 else bits
                digits = (rest >> np.uint64(shift)) & np.uint64((1 << _DIGIT) - 1)
                counts += np.bincount(digits.astype(np.intp), minlength=1 << _DIGIT)
            above = np.cumsum(counts[::-1])
            at = int(np.searchsorted(above, left))
            left -= int(above[at - 1]) if at else 0
            digit = (1 << _DIGIT) - 1 - at
            prefix, candidates = prefix << _DIGIT | digit, int(counts[digit])
        if shift:
            found = [bits[bits >> np.uint64(shift) == prefix] if shift < 64 else bits for _, bits in magnitudes()]
            pool = np.sort(np.concatenate(found))[::-1]
            pattern = int(pool[left - 1])
            left -= int(np.count_nonzero(pool > np.uint64(pattern)))
        else:
            pattern = prefix
        quota = {}
        for number, bits in magnitudes():
            quota[number] = min(left, int(np.count_nonzero(bits == np.uint64(pattern))))
            left -= quota[number]
        return cls(float(np.uint64(pattern).view(np.float64)), quota)

    def apply(self, number: int, change: Values) -> Values:
        """The change with zeros for what does not stay."""
        import numpy as np

        sizes = np.abs(change)
        stays = sizes > self.threshold if self.quota else np.ones(change.shape, bool)
        stays[np.flatnonzero(sizes == self.threshold)[: self.quota.get(number, 0)]] = True
        return change * stays
