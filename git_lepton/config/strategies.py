"""The strategies of a merge and their options, in one table: settings are checked by it, the engine is driven by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from git_lepton.errors import UsageError


@dataclass(frozen=True, slots=True)
class Option:
    """One number of a strategy: what it is without a word, and what it may be."""

    default: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class StrategyKind:
    """What a strategy is called and takes.

    Attributes:
        summary: for help.
        options: its numbers by name.
        needs_base: whether it works on differences from the common ancestor.
        computes: whether it makes new values; those that do not work for every dtype.
    """

    summary: str
    options: Mapping[str, Option] = field(default_factory=dict)
    needs_base: bool = False
    computes: bool = True


_WEIGHT: Final = Option(0.5, 0.0, 1.0)
_SCALE: Final = Option(1.0, -10.0, 10.0)
_DENSITY: Final = Option(0.2, 1e-6, 1.0)
_SEED: Final = Option(0, 0, 2**53)
_VECTORS: Final = {"ours": _SCALE, "theirs": _SCALE, "scale": _SCALE}

STRATEGIES: Final[Mapping[str, StrategyKind]] = {
    "conflict": StrategyKind("leave it to a person", computes=False),
    "ours": StrategyKind("the tensor of this branch", computes=False),
    "theirs": StrategyKind("the tensor of the other branch", computes=False),
    "average": StrategyKind("mean of both, `weight` is the share of theirs", {"weight": _WEIGHT}),
    "slerp": StrategyKind("spherical interpolation, `weight` is the share of theirs", {"weight": _WEIGHT}),
    "task-arithmetic": StrategyKind(
        "base + scale * (ours * change here + theirs * change there)", _VECTORS, needs_base=True
    ),
    "ties": StrategyKind(
        "the largest `density` of each change, signs elected, mean of those that agree",
        {**_VECTORS, "density": _DENSITY},
        needs_base=True,
    ),
    "dare-ties": StrategyKind(
        "a random `density` of each change, rescaled, signs elected, sum of those that agree",
        {**_VECTORS, "density": Option(0.5, 1e-6, 1.0), "seed": _SEED},
        needs_base=True,
    ),
}


def check_options(strategy: str, options: Mapping[str, float]) -> dict[str, float]:
    """All options of a strategy, those not given at their defaults.

    Raises:
        UsageError: no such strategy or option, or a number out of its range.
    """
    kind = STRATEGIES.get(strategy)
    if kind is None:
        raise UsageError(f"no merge strategy is called {strategy!r}", hint=f"known: {', '.join(STRATEGIES)}")
    for name, value in options.items():
        option = kind.options.get(name)
        if option is None:
            known = ", ".join(kind.options) or "none"
            raise UsageError(f"merge strategy {strategy} has no option {name!r}", hint=f"its options: {known}")
        if not option.least <= value <= option.most:
            raise UsageError(f"{name} of merge strategy {strategy} is {value}: not in [{option.least}, {option.most}]")
    return {name: options.get(name, option.default) for name, option in kind.options.items()}
