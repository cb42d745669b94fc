"""What the figures depend on: the machine, and the versions of all programs that were measured."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PROGRAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "git-lepton": ("git", "lepton", "--version"),
    "git": ("git", "--version"),
    "git-lfs": ("git-lfs", "--version"),
    "borg": ("borg", "--version"),
    "restic": ("restic", "version"),
    "bup": ("bup", "--version"),
}
_SPEED: Final = ("openssl", "speed", "-mr", "-seconds", "1", "-bytes", "1048576", "-evp", "sha256")


def description(env: Mapping[str, str]) -> dict[str, str]:
    """Name and value of each line that stands above the table."""
    lines = {
        "machine": f"{_cpu('model name') or platform.machine()}, {os.cpu_count()} cores, {_memory()}",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "SHA-256 a core (openssl speed sha256)": _sha256_speed(env),
        "SHA instructions": "yes" if {"sha_ni", "sha2"} & set(_cpu("flags").split()) else "no",
    }
    return lines | {name: _first_line(command, env) or "not installed" for name, command in PROGRAMS.items()}


def _cpu(field: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    found = re.search(rf"^{field}\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30):.0f} GiB of memory"


def _sha256_speed(env: Mapping[str, str]) -> str:
    """The machine-readable line is `+F:number:name:bytes a second`."""
    found = re.search(r"^\+F:.*:([0-9.]+)$", _output(_SPEED, env), re.MULTILINE)
    return f"{float(found[1]) / 1e6:,.0f} MB/s" if found else "unknown: no openssl"


def _first_line(command: tuple[str, ...], env: Mapping[str, str]) -> str:
    return _output(command, env).partition("\n")[0]


def _output(command: tuple[str, ...], env: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(command, check=False, env=env, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout
