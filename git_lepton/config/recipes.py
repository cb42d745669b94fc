"""The grammar of a variant's recipe: steps joined by `+`, such as `int8` or `prune50+int8` (docs/variants.md).

A recipe is a name in `lepton.toml`, in records and in tables, so that there is one spelling for each: steps that
change the graph or its weights (`ort`, `prune…`) come first and at most once each, and at most one number format ends
the chain. Nothing here knows what a step does.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Final, Literal, cast

from git_lepton.errors import UsageError

Kind = Literal[
    "ort", "prune", "prune2:4", "fp16", "bf16", "fp8", "int8", "int8-static", "int4", "gguf-q8_0", "gguf-f16"
]

PREPARING: Final = frozenset({"ort", "prune", "prune2:4"})
"""Steps that keep the number format; they may come before another."""

FORMATS: Final = frozenset({"fp16", "bf16", "fp8", "int8", "int8-static", "int4", "gguf-q8_0", "gguf-f16"})
"""Steps that change the number format; at most one, at the end."""

MAX_LENGTH: Final = 64  # characters of a recipe

_PRUNE: Final = re.compile(r"prune([1-9][0-9]?)")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a recipe; `amount` is the percentage of a `prune` step, and None for every other kind."""

    kind: Kind
    amount: int | None = None

    def __str__(self) -> str:
        return self.kind if self.amount is None else f"{self.kind}{self.amount}"


def parse_recipe(text: str) -> tuple[Step, ...]:
    """Read a recipe.

    Raises:
        UsageError: an unknown step (with the nearest known one), a step given twice, or steps out of order.
    """
    if len(text) > MAX_LENGTH:
        raise UsageError(f"a recipe of {len(text)} characters is longer than {MAX_LENGTH}")
    steps = tuple(_step(word, text) for word in text.split("+"))
    kinds = [step.kind for step in steps]
    if len(set(kinds)) != len(kinds) or {"prune", "prune2:4"} <= set(kinds):
        raise UsageError(f"the recipe {text!r} has a step twice", hint="each step may be there once: prune50+int8")
    if any(kind in FORMATS for kind in kinds[:-1]):
        raise UsageError(
            f"the recipe {text!r} goes on after a number format",
            hint="ort and prune come first, then at most one of " + ", ".join(sorted(FORMATS)),
        )
    return steps


def _step(word: str, text: str) -> Step:
    if word in PREPARING | FORMATS and word != "prune":
        return Step(cast("Kind", word))
    if match := _PRUNE.fullmatch(word):
        return Step("prune", int(match[1]))
    known = sorted(PREPARING - {"prune"} | FORMATS | {"prune30", "prune50"})
    near = difflib.get_close_matches(word, known, 1)
    where = "" if word == text else f" in the recipe {text!r}"
    hint = f"did you mean {near[0]}?" if near else "known: " + ", ".join(known) + " (pruneNN: percent, 1 to 99)"
    raise UsageError(f"{word!r}{where} is no step of a recipe", hint=hint)
