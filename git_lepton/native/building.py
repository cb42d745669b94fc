"""Compile the kernels with whatever C compiler there is.

`python -m git_lepton.native.building` does it in place, for who works on them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SOURCES: Final = (
    *("huffman.c", "literals.c", "merging.c", "payload.c", "pipe.c", "planes.c"),
    *("sha1.c", "sparse.c", "stored.c", "streams.c", "tally.c"),
)
FILE: Final = "_kernels.so"
"""What is made, beside the sources; `library` looks for it."""
FLAGS: Final = (
    *("-std=c11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra"),
    "-ffp-contract=off",  # a product is rounded before it is added to, on every machine
    *("-fno-math-errno", "-fno-trapping-math"),  # nobody looks at either: loops with a choice become vectors
)
SECONDS: Final = 120


class BuildError(Exception):
    """No compiler, or it refused."""


def compile_kernels(out: Path) -> None:
    """Compile the sources beside this module into the shared library `out`, which appears whole or not at all.

    Raises:
        BuildError: no compiler, or it refused; the message has what it said.
        OSError: `out` cannot be written.
    """
    here = Path(__file__).parent
    fresh = out.with_name(f"{out.name}.{os.getpid()}")
    failures = []
    try:
        for compiler in _compilers():
            argv = [*compiler, *FLAGS, "-o", str(fresh), *(str(here / name) for name in SOURCES)]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False)
            if done.returncode == 0:
                fresh.replace(out)
                return
            failures.append(f"{' '.join(compiler)}: {done.stderr.strip()}")
    except subprocess.TimeoutExpired as error:
        raise BuildError(str(error)) from error
    finally:
        fresh.unlink(missing_ok=True)
    raise BuildError("\n".join(failures) or "no C compiler on PATH")


def _compilers() -> Iterator[list[str]]:
    """What to try, in order: the one that was asked for, Python's own, the usual names."""
    asked = os.environ.get("CC")
    names = [asked] if asked else [str(sysconfig.get_config_var("CC") or "cc"), "cc", "gcc", "clang"]
    tried = set()
    for name in names:
        argv = name.split()
        if argv and argv[0] not in tried and shutil.which(argv[0]):
            tried.add(argv[0])
            yield argv


def main() -> int:
    """Compile in place."""
    try:
        compile_kernels(Path(__file__).with_name(FILE))
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
