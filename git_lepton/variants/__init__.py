"""Derived bundles by recipe: smaller number formats, pruned weights, optimised graphs. No git in here."""

from git_lepton.variants.values import Built, FileChange, ModelFolder, Skipped, TensorError

__all__ = ["Built", "FileChange", "ModelFolder", "Skipped", "TensorError"]
