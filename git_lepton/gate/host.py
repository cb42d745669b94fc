"""What measurements depend on beside model and data: machine and versions, as facts for the record."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Final

_PACKAGES: Final = ("numpy", "onnxruntime")
_FLAGS: Final = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "sve")
"""Instructions that change what int8 computes, or how fast."""


def host_facts() -> dict[str, str]:
    """Machine, processor, its relevant flags, threads, Python, and the versions of what computes."""
    text = _cpu_text()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    return {
        "machine": platform.machine(),
        "cpu": " ".join(name[1].split()) if name else "",
        "cpu-flags": " ".join(flag for flag in _FLAGS if flag in known),
        "threads": str(os.cpu_count() or 1),
        "python": platform.python_version(),
        **{package: _version(package) for package in _PACKAGES},
    }


def _cpu_text() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
