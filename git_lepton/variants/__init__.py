"""Derived bundles by recipe: smaller number formats, pruned weights, optimised graphs. No git in here."""

from git_lepton.variants.build import build, recipe_key
from git_lepton.variants.values import (
    RECIPE_VERSION,
    Built,
    FileChange,
    ModelFolder,
    Skipped,
    TensorError,
)

__all__ = [
    "RECIPE_VERSION",
    "Built",
    "FileChange",
    "ModelFolder",
    "Skipped",
    "TensorError",
    "build",
    "recipe_key",
]
