"""The refs of the store, spelled in one place (docs/formats.md, "Refs")."""

from __future__ import annotations

from typing import Final

from git_lepton.values import Hash

ROOT: Final = "refs/lepton/"
MODELS: Final = "refs/lepton/models/"
INDEXES: Final = "refs/lepton/index/"
HEADS_ROOT: Final = "refs/heads/lepton/"
"""Where the same commits go on hosts that accept nothing but heads and tags."""


def model_ref(file_hash: Hash) -> str:
    """The ref whose commit W keeps every object of a stored version."""
    return MODELS + file_hash


def index_ref(file_hash: Hash) -> str:
    """The ref whose commit holds the index alone, so that a client can learn what it lacks."""
    return INDEXES + file_hash
