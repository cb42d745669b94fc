"""How often the gate refuses a model that is worse, and one that is not: simulated pairs of classifiers.

    python benchmarks/gate_power.py

Both models are right on most examples; a share of the examples (the churn) changes sides, so that the new model truly
loses as much as the column says. Shares of the verdicts over many rounds, on a fixed seed. Exits with 1 when a figure
misses its requirement.
"""

from __future__ import annotations

import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from git_lepton.gate.statistics import changed_sides, decide
from git_lepton.record.values import Verdict

CHURN: Final = 0.02
LIMIT: Final = 0.005
ROUNDS: Final = 20_000
SEED: Final = 20_260
LEAST_REFUSED: Final = {(2000, 0.01): 0.45, (10_000, 0.01): 0.9}
MOST_REFUSED: Final = {(2000, 0.0): 0.01, (10_000, 0.0): 0.01}


def simulate(n: int, loses: float, *, churn: float, limit: float, rounds: int, seed: int) -> dict[Verdict, float]:
    """Share of each verdict over `rounds` evaluations of `n` examples by a model that truly loses `loses`."""
    lost, gained = (churn + loses) / 2, (churn - loses) / 2
    drawn = np.random.default_rng(seed).multinomial(n, [lost, gained, 1 - churn], size=rounds)
    verdict = cache(lambda lost, gained: decide((lost - gained) / n, changed_sides(lost, gained, n), limit))
    counted = Counter(verdict(int(row[0]), int(row[1])) for row in drawn)
    return {name: counted[name] / rounds for name in ("fail", "inconclusive", "pass")}


def main() -> int:
    """Print the table."""
    print(f"{CHURN:.0%} of examples change sides, a drop of {100 * LIMIT:g} points is allowed, {ROUNDS:,} rounds\n")
    print("| examples | true loss | refused | inconclusive | passed | required |")
    print("|---:|---:|---:|---:|---:|---|")
    failed = False
    for n in (500, 2000, 10_000):
        for loses in (0.0, 0.005, 0.01, 0.02):
            shares = simulate(n, loses, churn=CHURN, limit=LIMIT, rounds=ROUNDS, seed=SEED)
            least, most = LEAST_REFUSED.get((n, loses)), MOST_REFUSED.get((n, loses))
            wanted = f">= {least:.0%} refused" if least else f"<= {most:.0%} refused" if most else ""
            failed |= shares["fail"] < (least or 0.0) or shares["fail"] > (most or 1.0)
            figures = " | ".join(f"{100 * shares[name]:.1f} %" for name in ("fail", "inconclusive", "pass"))
            print(f"| {n:,} | {100 * loses:g} points | {figures} | {wanted} |")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
