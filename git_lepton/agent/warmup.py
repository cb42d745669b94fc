"""Trying a release before it serves, in a child process that may do little and not for long.

A model can take all memory, or never end, when it is loaded: so the agent itself never loads one, and imports nothing
that could. The child is `git_lepton.agent.tryout`, or a command of the operator's.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from git_lepton import proc
from git_lepton.agent.notify import environment
from git_lepton.agent.settings import Follow
from git_lepton.agent.values import Release
from git_lepton.errors import CommandError, VerificationError

MODULE: Final = "git_lepton.agent.tryout"
_PACKAGE: Final = Path(__file__).parent.parent.parent
_LEAST_MEMORY: Final = 4 << 30
_SAID: Final = 600


def warm_up(follow: Follow, release: Release, folder: Path, golden: Path | None) -> str:
    """Try the release in `folder`; returns one sentence.

    Raises:
        VerificationError: it does not answer as it should; `reason` is "warmup".
    """
    how = follow.warmup
    if not how.enabled:
        return "not tried"
    if golden is None and how.golden == "required":
        raise _failed("the release has no golden file, and agent.toml requires one")
    env: Mapping[str, str | None]
    argv: list[str]
    if how.command:
        argv, env = list(how.command), environment(follow, release)
    else:
        argv = [sys.executable, "-P", "-m", MODULE]
        paths = os.pathsep.join(filter(None, (str(_PACKAGE), os.environ.get("PYTHONPATH"))))
        # One thread: a warm-up must not take the processor from the server that runs beside it.
        env = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    job = {
        "folder": os.fspath(folder),
        "main": release.main,
        "variant": release.variant,
        "golden": None if golden is None else os.fspath(golden),
        "rtol": how.rtol,
        "atol": how.atol,
        "memory": how.memory or _LEAST_MEMORY + 4 * release.size,
        "seconds": how.timeout,
    }
    try:
        done = proc.run(argv, input=json.dumps(job).encode(), cwd=folder, env=env, timeout=how.timeout, check=False)
    except CommandError as error:
        raise _failed(error.message) from error
    if done.status == 0:
        return _said(done.stdout) or "it answers"
    if done.status == 1 and not how.command and (answer := _said(done.stdout)):
        raise _failed(answer)
    cause = f"ended by signal {-done.status}" if done.status < 0 else f"status {done.status}"
    if how.command:
        raise _failed(_said(done.stderr) or f"{how.command[0]}: {cause}")
    last = _said(done.stderr).rpartition("\n")[2]
    raise _failed(f"{cause}{': ' * bool(last)}{last}; warmup.memory lets it take {job['memory']} bytes")


def _said(output: bytes) -> str:
    return output.decode(errors="replace").strip()[-_SAID:]


def _failed(message: str) -> VerificationError:
    return VerificationError(f"warm-up: {message}", reason="warmup")
