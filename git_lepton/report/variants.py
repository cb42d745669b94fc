"""Variants of models as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from git_lepton.record.values import Variant
from git_lepton.report.table import safe, table
from git_lepton.report.units import share, size

_HEADER = ("variant", "size", "of it", "most lost", "")


def variants_text(found: Mapping[str, tuple[int, Sequence[Variant]]]) -> str:
    """For each model with its size its variants: size, share of the original, and the tensor that lost most."""
    lines = []
    for model, (original, variants) in found.items():
        lines.append(f"{safe(model)}: {size(original)}")
        rows = [_row(variant, original) for variant in variants]
        lines.append(table(rows, right="lrrrl", header=_HEADER, indent=2) if rows else "  no variants")
    return "\n".join(lines) if lines else "no model of lepton.toml is staged or committed"


def _row(variant: Variant, original: int) -> tuple[str, ...]:
    if variant.skipped:
        return (variant.recipe, "-", "-", "-", f"skipped: {safe(variant.skipped)}")
    loss = variant.losses[0] if variant.losses else None
    lost = "-" if loss is None else f"{loss.relative_l2:.2%}"
    return (variant.recipe, size(variant.size), share(variant.size, original), lost, safe(loss.name) if loss else "")
