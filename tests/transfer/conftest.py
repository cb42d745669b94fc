"""A server and a clone of it, for most tests of transfer."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_lepton.store.store import Store
from tests.transfer.kit import clone
from tests.transfer.servers import make_bare


@pytest.fixture
def bare(tmp_path: Path, env: dict[str, str]) -> Path:
    """An empty bare repository."""
    return make_bare(tmp_path / "srv" / "code.git")


@pytest.fixture
def store(tmp_path: Path, bare: Path) -> Store:
    """A repository whose origin is `bare`."""
    return clone(tmp_path / "work", origin=bare.as_uri())
