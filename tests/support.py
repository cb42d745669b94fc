"""Helpers that many tests share: tiny weight files made by hand, and real git in throw-away repositories."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

WIDTHS = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "I32": 4, "U8": 1, "I8": 1, "BOOL": 1}


def safetensors_bytes(
    tensors: Mapping[str, tuple[str, Sequence[int], bytes]], metadata: Mapping[str, str] | None = None
) -> bytes:
    """A safetensors file of `name -> (dtype, shape, bytes)`, in the order given."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((struct.pack("<Q", len(text)), text, *(data for _, _, data in tensors.values())))


def weights(seed: int, count: int, dtype: str = "F32", scale: float = 0.02) -> bytes:
    """Gaussian weights like those of a trained layer."""
    values = np.random.default_rng(seed).standard_normal(count, dtype=np.float32) * np.float32(scale)
    return as_dtype(values, dtype)


def as_dtype(values: NDArray[np.float32], dtype: str) -> bytes:
    """The bytes of float32 values in another float type; bfloat16 by truncation."""
    if dtype == "F32":
        return values.tobytes()
    if dtype == "F16":
        return values.astype(np.float16).tobytes()
    if dtype == "BF16":
        return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    raise ValueError(dtype)


def model_bytes(seed: int = 0, *, layers: int = 3, rows: int = 64, dtype: str = "F32", **changed: int) -> bytes:
    """A small model; `layer_1=7` gives the weight of that layer another seed."""
    return safetensors_bytes(
        {
            f"layer_{n}.weight": (
                dtype,
                (rows, 64),
                weights(changed.get(f"layer_{n}", seed * 1000 + n), rows * 64, dtype),
            )
            for n in range(layers)
        },
        {"format": "pt"},
    )


def clean_environment(home: Path) -> dict[str, str]:
    """An environment in which git reads no configuration of this machine."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    return env | {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "A U Thor",
        "GIT_AUTHOR_EMAIL": "author@example.com",
        "GIT_COMMITTER_NAME": "A U Thor",
        "GIT_COMMITTER_EMAIL": "author@example.com",
    }


def enter_environment(patch: pytest.MonkeyPatch, home: Path, programs: Path) -> None:
    """Make a clean environment that of this process, with `programs` first on PATH; `home` is made."""
    home.mkdir()
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        patch.delenv(name)
    for name, value in clean_environment(home).items():
        patch.setenv(name, value)
    patch.setenv("PATH", f"{programs}:{os.environ['PATH']}")


def git(folder: Path, *args: str, env: Mapping[str, str] | None = None, check: bool = True, data: bytes = b"") -> str:
    """Run real git in `folder`; returns its standard output as text without the last line end."""
    done = subprocess.run(["git", *args], check=False, cwd=folder, env=env, input=data, capture_output=True)
    if check and done.returncode:
        raise AssertionError(f"git {' '.join(args)} -> {done.returncode}\n{done.stdout.decode()}{done.stderr.decode()}")
    return os.fsdecode(done.stdout).removesuffix("\n")


def without_program(path: str) -> str:
    """A PATH without any folder that has git-lepton: neither a test's own nor that of a virtual environment."""
    return os.pathsep.join(p for p in path.split(os.pathsep) if not (Path(p) / "git-lepton").exists())
