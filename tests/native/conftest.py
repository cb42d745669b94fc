"""The kernels as they are in the sources now, whatever was compiled before."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from git_lepton.native.building import FILE, BuildError, compile_kernels
from git_lepton.native.library import load
from git_lepton.native.planes import PlaneKernels


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    path: Path = tmp_path_factory.mktemp("kernels") / FILE
    try:
        compile_kernels(path)
    except BuildError as error:
        pytest.skip(f"nothing can be compiled here: {error}")
    return load(path)


@pytest.fixture(scope="session")
def native(compiled: ctypes.CDLL) -> PlaneKernels:
    return PlaneKernels(compiled)
