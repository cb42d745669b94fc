"""Elements of two or three sides to merged elements: by the native kernels, or by numpy to the same bits.

What is computed is defined here, on float64 numbers of which each result is rounded once to the dtype (`rounding`).
Sums and products are written in the order in which they are computed; where the order is free, as in a sum over a whole
tensor, it is fixed, so that every machine gives the same bits. numpy makes many passes, so it gets blocks that stay in
the cache with all that is made of them; a kernel makes one and takes a span at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from git_lepton.codec.workspace import WORKSPACE
from git_lepton.compare.decoding import Decoder
from git_lepton.compare.rounding import round_to
from git_lepton.native.merging import KINDS, LANES, STREAMS, Chance, Choice, Election, MergeKernels, kernels
from git_lepton.values import DTYPES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Codes: TypeAlias = NDArray[np.unsignedinteger[Any]]
    """Bit patterns of elements."""
    Values: TypeAlias = NDArray[np.float64]
    Magnitudes: TypeAlias = NDArray[np.int64]
    """Bits of float64 without their sign, in the order of the magnitudes; NaN is behind infinity."""

_CACHED: Final = 1 << 15
"""Elements that numpy works on at once: all that is made on the way fits a processor's cache."""


@dataclass(frozen=True, slots=True)
class Block:
    """The same elements of all sides, as bit patterns.

    Attributes:
        first: place of the first one in its tensor.
        base: None without a common ancestor.
    """

    first: int
    base: Codes | None
    ours: Codes
    theirs: Codes


def weighted(dtype: str, block: Block, ours: float, theirs: float) -> memoryview:
    """Both sides, each with its factor."""
    native, out = _native(dtype), _like(block.ours)
    if native is not None:
        native.weighted(dtype, block.ours, block.theirs, (ours, theirs), out)
        return _bytes(out)

    def combine(part: Block) -> Values:
        result = _numbers(dtype, "ours", part.ours)
        result *= ours
        other = _numbers(dtype, "theirs", part.theirs)
        other *= theirs
        result += other
        return result

    return _combined(dtype, block, combine, out)


def added(dtype: str, block: Block, factors: tuple[float, float], scale: float) -> memoryview:
    """The base and `scale` times the sum of both changes, each with its factor."""
    native, out = _native(dtype), _like(block.ours)
    if native is not None:
        assert block.base is not None
        native.added(dtype, block.base, block.ours, block.theirs, factors, scale, out)
        return _bytes(out)

    def combine(part: Block) -> Values:
        base, ours, theirs = _changes(dtype, part)
        ours *= factors[0]
        theirs *= factors[1]
        ours += theirs
        ours *= scale
        ours += base
        return ours

    return _combined(dtype, block, combine, out)


def elected(dtype: str, block: Block, how: Election) -> memoryview:
    """The base and what an election leaves of both changes."""
    native, out = _native(dtype), _like(block.ours)
    if native is not None:
        assert block.base is not None
        native.elected(dtype, block.base, block.ours, block.theirs, how, out)
        return _bytes(out)
    trims = [_Trim(how.ours), _Trim(how.theirs)]
    streams = [] if how.chance is None else _streams(how.chance)

    def combine(part: Block) -> Values:
        base, ours, theirs = _changes(dtype, part)
        if how.chance is None:
            for trim, change in zip(trims, (ours, theirs), strict=True):
                trim.apply(change)
        else:
            _drop(how.chance, streams, ours, theirs)
        ours *= how.ours.factor
        theirs *= how.theirs.factor
        result = _elect(ours, theirs, how.mean)
        result *= how.scale
        result += base
        return result

    return _combined(dtype, block, combine, out)


def products(dtype: str, block: Block) -> list[list[float]]:
    """Sums whose exact sums are those of ours times theirs, of ours squared, and of theirs squared."""
    import numpy as np

    native = _native(dtype)
    if native is not None:
        found = native.products(dtype, block.ours, block.theirs)
        return [found[at : at + LANES] for at in range(0, 3 * LANES, LANES)]
    totals = np.zeros((3, LANES))
    for part in _parts(block):
        ours, theirs = (_padded(_numbers(dtype, *side)) for side in (("ours", part.ours), ("theirs", part.theirs)))
        for total, (one, other) in zip(totals, ((ours, theirs), (ours, ours), (theirs, theirs)), strict=True):
            # Along the slow axis numpy adds row to row from the first to the last, in each lane as the kernel does.
            np.add.reduce(np.concatenate((total[None], one * other)), axis=0, out=total)
    return [lanes.tolist() for lanes in totals]


def window(dtype: str, block: Block, windows: Sequence[tuple[int, int]]) -> list[tuple[int, Magnitudes]]:
    """Of each change: how many magnitudes are above its window (least, most), and those inside, in order."""
    import numpy as np

    assert block.base is not None
    native = _native(dtype)
    if native is not None:
        rooms = [WORKSPACE.array(f"merge inside {side}", "<i8", block.ours.size) for side in ("ours", "theirs")]
        told = native.window(dtype, (block.base, block.ours, block.theirs), windows, rooms)
        return [(above, room[:held].copy()) for (above, held), room in zip(told, rooms, strict=True)]
    counts = [0, 0]
    found: list[list[Magnitudes]] = [[], []]
    for part in _parts(block):
        for at, (sizes, (least, most)) in enumerate(zip(_magnitudes(dtype, part), windows, strict=True)):
            beyond = sizes > most
            counts[at] += int(np.count_nonzero(beyond))
            found[at].append(sizes[(sizes >= least) ^ beyond])
    return [(count, np.concatenate(inside)) for count, inside in zip(counts, found, strict=True)]


def magnitudes(dtype: str, block: Block) -> Iterator[tuple[Magnitudes, Magnitudes]]:
    """Those of both changes, a part at a time, in scratch memory that lasts until the next."""
    for part in _parts(block):
        yield _magnitudes(dtype, part)


def _native(dtype: str) -> MergeKernels | None:
    return kernels() if dtype in KINDS else None


def _like(codes: Codes) -> Codes:
    import numpy as np

    return np.empty(codes.size, codes.dtype)


def _bytes(codes: Codes) -> memoryview:
    import numpy as np

    return codes.view(np.uint8).data


def _parts(block: Block) -> Iterator[Block]:
    for at in range(0, block.ours.size, _CACHED):
        part = slice(at, at + _CACHED)
        base = None if block.base is None else block.base[part]
        yield Block(block.first + at, base, block.ours[part], block.theirs[part])


def _combined(dtype: str, block: Block, combine: Callable[[Block], Values], out: Codes) -> memoryview:
    """What `combine` makes of each part, rounded."""
    import numpy as np

    with np.errstate(all="ignore"):
        for part in _parts(block):
            at = part.first - block.first
            out[at : at + part.ours.size] = np.frombuffer(round_to(dtype, combine(part)), out.dtype)
    return _bytes(out)


def _numbers(dtype: str, name: str, codes: Codes) -> Values:
    """Float64 of elements, in scratch memory of this name."""
    out: Values = WORKSPACE.array(f"merge {name}", "<f8", codes.size)
    Decoder(dtype, DTYPES[dtype].bits).values(codes, out)
    return out


def _changes(dtype: str, part: Block) -> tuple[Values, Values, Values]:
    """The base, and both changes from it."""
    assert part.base is not None
    base = _numbers(dtype, "base", part.base)
    ours, theirs = _numbers(dtype, "ours", part.ours), _numbers(dtype, "theirs", part.theirs)
    ours -= base
    theirs -= base
    return base, ours, theirs


def _magnitudes(dtype: str, part: Block) -> tuple[Magnitudes, Magnitudes]:
    import numpy as np

    with np.errstate(all="ignore"):
        _, ours, theirs = _changes(dtype, part)
    return np.abs(ours, out=ours).view("<i8"), np.abs(theirs, out=theirs).view("<i8")


def _padded(values: Values) -> Values:
    """As rows of `LANES`, the last one filled up with zeros."""
    import numpy as np

    return np.pad(values, (0, -values.size % LANES)).reshape(-1, LANES)


class _Trim:
    """Zeroes what is too small, part after part: of those equal to the threshold only the first ones stay."""

    def __init__(self, choice: Choice) -> None:
        self._least, self._left = choice.least, choice.equal

    def apply(self, change: Values) -> None:
        import numpy as np

        sizes = np.abs(change, out=WORKSPACE.array("merge sizes", "<f8", change.size)).view("<i8")
        stays = sizes >= self._least
        equal = np.flatnonzero(sizes == self._least)
        stays[equal[self._left :]] = False
        self._left -= min(self._left, equal.size)
        np.copyto(change, 0.0, where=~stays)


def _streams(chance: Chance) -> list[np.random.SFC64]:
    """Where the random numbers come from: the raw output, unlike Generator's methods, never changes with numpy."""
    import numpy as np

    found = []
    for words in np.frombuffer(chance.state, "<u8").reshape(4, STREAMS).T:
        stream = np.random.SFC64()
        stream.state = {"bit_generator": "SFC64", "state": {"state": words.copy()}, "has_uint32": 0, "uinteger": 0}
        found.append(stream)
    return found


def _drop(chance: Chance, streams: list[np.random.SFC64], ours: Values, theirs: Values) -> None:
    """Zero what the next random numbers do not keep, and rescale what stays."""
    import numpy as np

    rows = -(-ours.size // STREAMS)
    words = np.stack([stream.random_raw(rows) for stream in streams], axis=1).reshape(-1)[: ours.size]
    for change, halves in ((ours, words >> np.uint64(32)), (theirs, words & np.uint64(0xFFFFFFFF))):
        np.multiply(change, chance.rescale, out=change)
        np.copyto(change, 0.0, where=halves >= np.uint64(chance.stays))


def _elect(one: Values, other: Values, mean: tuple[float, float, float]) -> Values:
    """Of each element the sum of the changes whose sign won, times one of `mean`; see `Election`."""
    import numpy as np

    total = np.add(one, other, out=WORKSPACE.array("merge total", "<f8", one.size))
    both = ((one > 0) & (other > 0)) | ((one < 0) & (other < 0)) | np.isnan(total)
    # Where the signs differ the larger one wins, and has the sign of the sum; of equal ones the positive one.
    positive = one > 0
    np.abs(one, out=one)
    np.abs(other, out=other)
    ours_won = (one > other) | ((total == 0) & positive)
    winner: Values = np.copysign(np.maximum(one, other, out=one), total, out=one)
    winner *= np.where(ours_won, mean[0], mean[1])
    total *= mean[2]
    np.copyto(winner, total, where=both)
    return winner
