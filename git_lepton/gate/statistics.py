"""Is a model worse than its baseline by more than the rule allows? Intervals of paired differences, and the verdict.

Both models see the same examples, so everything here is about the *drop* of each example: how much worse the new model
does on it. Three intervals, each with 95 % on either side by itself:

- right or wrong (drops of -1, 0, 1): the score interval for the difference of matched proportions (Tango, Statistics
  in Medicine 17, 1998). Of Wald, Agresti-Min and this one it lies closest to 95 % at 500 to 10,000 examples with few
  of them changing sides, and refuses a true loss most often (benchmarks/gate_power.py);
- any other value for each example (log loss, absolute error): Student's t;
- metrics that are no mean over examples (F1, AUC, rank correlation): the percentile bootstrap over examples, with a
  fixed seed.

A model that does no worse on every single example loses nothing, without any statistics: its interval ends at 0, and
that of an equal one is [0, 0].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Final

from git_lepton.gate.values import Interval
from git_lepton.record.values import Verdict

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

LEVEL: Final = 0.95
RESAMPLES: Final = 400
MAX_NEEDED: Final = 10**9
_SEED: Final = 20_260
_Z: Final = NormalDist().inv_cdf(LEVEL)
_BISECTIONS: Final = 60


def paired(drops: Array) -> Interval | None:
    """The interval of the mean of `drops` [n]; None for fewer than two examples that are not all equal to 0."""
    import numpy as np

    if len(drops) and not drops.any():
        return Interval(0.0, 0.0, LEVEL)
    if len(drops) < 2:
        return None
    if np.isin(drops, (-1.0, 0.0, 1.0)).all():
        return changed_sides(int((drops == 1).sum()), int((drops == -1).sum()), len(drops))
    mean, error = float(drops.mean()), float(drops.std(ddof=1)) / math.sqrt(len(drops))
    reach = _t_quantile(len(drops) - 1) * error
    high = mean + reach
    return Interval(mean - reach, min(high, 0.0) if (drops <= 0).all() else high, LEVEL)


def changed_sides(lost: int, gained: int, n: int) -> Interval:
    """The interval for models that are right or wrong: `matched`, but for those that lose nowhere."""
    if not lost and not gained:
        return Interval(0.0, 0.0, LEVEL)
    interval = matched(lost, gained, n)
    return interval if lost else Interval(interval.low, min(interval.high, 0.0), LEVEL)


def matched(lost: int, gained: int, n: int) -> Interval:
    """Tango's score interval of (lost - gained) / n, where `lost` were right before only and `gained` are right now."""
    estimate = (lost - gained) / n

    def score(drop: float) -> float:
        """How many standard errors the observed difference lies above `drop`, the errors those under `drop`."""
        linear = -lost - gained + (2 * n - lost + gained) * drop
        constant = -gained * drop * (1 - drop)
        gaining = (math.sqrt(max(linear * linear - 8 * n * constant, 0.0)) - linear) / (4 * n)
        variance = n * (2 * gaining + drop * (1 - drop))
        distance = lost - gained - n * drop
        if variance <= 0:
            return math.copysign(math.inf, distance) if distance else 0.0
        return distance / math.sqrt(variance)

    low = _bisect(-1.0, estimate, lambda drop: score(drop) > _Z)
    high = _bisect(estimate, 1.0, lambda drop: score(drop) >= -_Z)
    return Interval(low, high, LEVEL)


def _bisect(low: float, high: float, goes_up: Callable[[float], bool]) -> float:
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if goes_up(middle):
            low = middle
        else:
            high = middle
    return (low + high) / 2


def bootstrap(n: int, drop_of: Callable[[Array], float], resamples: int = RESAMPLES) -> Interval | None:
    """The percentile interval of a drop that `drop_of` computes for rows [n], drawn with replacement.

    Resamples on which the metric is undefined do not count; None when that is more than half of them, or n < 2.
    """
    import numpy as np

    if n < 2:
        return None
    random = np.random.default_rng(_SEED)
    found = [drop_of(random.integers(0, n, n)) for _ in range(resamples)]
    defined = [drop for drop in found if math.isfinite(drop)]
    if 2 * len(defined) <= resamples:
        return None
    low, high = np.quantile(defined, [1 - LEVEL, LEVEL])
    return Interval(float(low), float(high), LEVEL)


def decide(drop: float, interval: Interval | None, limit: float) -> Verdict:
    """Fail when the drop is certainly above `limit`, pass when it is certainly not, else inconclusive.

    Without an interval (an evaluator that tells one number only) the drop itself decides.
    """
    if not math.isfinite(drop) or not math.isfinite(limit):
        return "fail"
    low, high = (drop, drop) if interval is None else (interval.low, interval.high)
    if not (math.isfinite(low) and math.isfinite(high)) or low > limit:
        return "fail"
    return "pass" if high <= limit else "inconclusive"


def needed(n: int, drop: float, interval: Interval, limit: float) -> int | None:
    """Examples that would decide, if drop and spread stayed as they are: half-widths shrink with the root of n.

    None when the drop lies on the limit, or so near that no data set would do.
    """
    margin = limit - drop
    reach = interval.high - drop if margin > 0 else drop - interval.low
    if margin == 0 or reach <= 0:
        return None
    count = n * (reach / margin) ** 2
    return math.ceil(count) if count <= MAX_NEEDED else None


def _t_quantile(freedom: int) -> float:
    """Student's t at `LEVEL`: exact for 1 and 2 degrees, else Abramowitz & Stegun 26.7.5 (off by < 0.3 %)."""
    tail = 2 * LEVEL - 1
    if freedom == 1:
        return math.tan(math.pi * tail / 2)
    if freedom == 2:
        return tail * math.sqrt(2 / (1 - tail * tail))
    z = _Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(freedom) ** power for power, term in enumerate(terms, start=1))
