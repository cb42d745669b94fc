"""Building one variant: a folder with a model in, a folder with the variant's changed files out, or the reason why not.

All work happens in a child process (`worker`) that writes into a folder of its own beside the output. Only when it has
answered, its files are on the disk and they keep what a variant promises (it is smaller, it loads) does that folder's
`new` take the output's name, in one rename. The model's folder is only ever read.

A build is a function: the same files, recipe, exclusions, examples and tools give the same bytes. `recipe_key` names
that input, so that who stores variants builds each once.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from blake3 import blake3

from git_lepton import atomic
from git_lepton.config.recipes import FORMATS, Step, parse_recipe
from git_lepton.errors import CommandError, RaceLostError, UsageError
from git_lepton.proc import Spare
from git_lepton.values import Hash
from git_lepton.variants import folder, quantizers, standby
from git_lepton.variants.values import (
    RECIPE_VERSION,
    Built,
    FileChange,
    ModelFolder,
    Outcome,
    Request,
    Skipped,
    from_json,
)

_GROWTH: Final = 1.01
"""What pruning and graph optimisation may add to a model's size, as a factor: they have other aims than size."""

_MAX_LINE: Final = 400  # characters of a tool's last words
_STAGE: Final = "variant~"
"""Prefix of the names of our folders, so that nobody takes them for the owned *files* of `atomic`."""

_NOISE: Final = re.compile(r"\s*(File \"|Traceback |\^|~|During handling|The above exception)|\s*$")


def build(
    recipe: str,
    model: ModelFolder,
    out: Path,
    *,
    calibration: Path | None = None,
    exclude: Sequence[str] = (),
    timeout: float | None = None,
    memory: int | None = None,
    spare: Spare | None = None,
) -> Built | Skipped:
    """Build one variant.

    Args:
        recipe: e.g. "int8", "prune50+int8".
        model: the original.
        out: folder for the files that the variant replaces or adds, under their relative paths; it must not exist, or
            be empty, and appears only when the variant was built.
        calibration: examples for int8-static (.npz or .safetensors), an array for each input.
        exclude: globs of tensor and node names that are left alone.
        timeout: seconds for the whole build.
        memory: bytes that the child may allocate (Linux); None for no limit.
        spare: a child that was started early, if nobody took it yet.

    Raises:
        UsageError: an unknown recipe, files that are not there, examples that cannot be read, an output that is not
            empty.
        CommandError: a worker that failed in a way that says nothing about the model.
        OSError: no space left.
        RaceLostError: another build took the output's name first.
    """
    steps = parse_recipe(recipe)
    folder.check(model)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not an empty folder")
    if calibration is not None and not calibration.is_file():
        raise UsageError(f"the calibration data {calibration} is not there")
    out.parent.mkdir(parents=True, exist_ok=True)
    _sweep(out.parent)
    stage = (out.parent / (_STAGE + atomic.owned_name())).absolute()
    for part in ("new", "tmp"):
        (stage / part).mkdir(parents=True)
    try:
        request = Request(
            recipe,
            str(model.path.absolute()),
            model.main,
            tuple(model.files),
            tuple(exclude),
            None if calibration is None else str(calibration.absolute()),
            str(stage),
            os.getpid(),
            memory,
        )
        made = _run(request, timeout, spare)
        if isinstance(made, Skipped):
            return made
        built = _built(recipe, steps, model, stage / "new", made)
        refused = _refusal(steps, built)
        if refused is not None:
            return Skipped(recipe, refused)
        _publish(stage / "new", out)
        return built
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def recipe_key(recipe: str, bundle: Hash, calibration: Hash | None, exclude: Sequence[str]) -> str:
    """A name for everything that decides a variant's bytes: equal keys, equal variants.

    Args:
        recipe: as for `build`.
        bundle: the original's identity.
        calibration: hash of the examples; counts only where the recipe looks at them.
        exclude: globs; neither order nor repetition counts.

    Returns:
        64 hexadecimal digits. They change with `RECIPE_VERSION` and with the versions of the tools.
    """
    steps = parse_recipe(recipe)
    seen = calibration if any(step.kind == "int8-static" for step in steps) else None
    value = {
        "recipe": [str(step) for step in steps],
        "version": RECIPE_VERSION,
        "bundle": bundle,
        "calibration": seen,
        "exclude": sorted(set(exclude)),
        "tools": quantizers.tools(steps, onnx=True),  # what a safetensors model needs is a part of it
    }
    return blake3(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _run(request: Request, timeout: float | None, spare: Spare | None) -> Outcome | Skipped:
    """The worker's outcome, or the reason why there is none."""
    try:
        with (spare.take() if spare else None) or standby.start() as process:
            done = process.answer(request.encoded(), timeout)
    except CommandError as error:
        if timeout is not None and error.status == -signal.SIGKILL:
            return Skipped(request.recipe, f"it did not end within {timeout:g} seconds", passing=True)
        raise
    if done.status < 0:
        name = signal.Signals(-done.status).name
        if name == "SIGKILL":
            reason = "its process was killed, which happens when memory runs out"
            return Skipped(request.recipe, reason, passing=True)
        return Skipped(request.recipe, f"a tool crashed ({name}): {_last_words(done.stderr)}")
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        raise CommandError((standby.MODULE,), done.status, _last_words(done.stderr)) from error
    if "usage" in answer:
        raise UsageError(answer["usage"])
    if "full" in answer:
        raise OSError(errno.ENOSPC, f"no room on the disk to build {request.recipe}", str(Path(request.stage).parent))
    if "skipped" in answer:
        return Skipped(request.recipe, answer["skipped"], passing="passing" in answer)
    return from_json(answer["outcome"])


def _last_words(stderr: bytes) -> str:
    """The last line of what was printed that says something."""
    lines = [line for line in stderr.decode(errors="replace").splitlines() if not _NOISE.match(line)]
    return lines[-1].strip()[:_MAX_LINE] if lines else "no message"


def _built(recipe: str, steps: Sequence[Step], model: ModelFolder, new: Path, outcome: Outcome) -> Built:
    before = folder.total_size(model)
    changes = [
        FileChange(name, "replaced" if name in model.files else "added", (new / name).stat().st_size)
        for name in outcome.written
    ] + [FileChange(name, "dropped", 0) for name in outcome.dropped]
    gone = sum((model.path / change.path).stat().st_size for change in changes if change.change != "added")
    return Built(
        recipe=recipe,
        files=tuple(sorted(changes, key=lambda change: change.path)),
        recipe_version=RECIPE_VERSION,
        tools=quantizers.tools(steps, onnx=folder.family(model) == "onnx"),
        tensor_errors=tuple(outcome.errors),
        size_before=before,
        size_after=before - gone + sum(change.size for change in changes),
        unmatched=tuple(outcome.unmatched),
    )


def _refusal(steps: Sequence[Step], built: Built) -> str | None:
    """Why a variant is not worth its name, or None."""
    if any(step.kind in FORMATS for step in steps):
        if built.size_after >= built.size_before:
            return f"it is not smaller: {built.size_after} bytes instead of {built.size_before}"
    elif built.size_after > built.size_before * _GROWTH:
        return f"it is larger: {built.size_after} bytes instead of {built.size_before}"
    return None


def _publish(new: Path, out: Path) -> None:
    """Flush every file and folder, then give the folder its name."""
    for path in sorted(new.rglob("*"), reverse=True):
        if path.is_dir():
            atomic.fsync_dir(path)
        else:
            with path.open("rb") as stream:
                atomic.fsync_file(stream.fileno())
    atomic.fsync_dir(new)
    try:
        atomic.replace(new, out)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            raise RaceLostError(f"another build has written {out} meanwhile") from error
        raise


def _sweep(parent: Path) -> None:
    """Delete what builds left whose processes are dead, both of them killed at once."""
    for path in parent.glob(f"{_STAGE}*~*~*~*"):
        if atomic.owner_is_dead(" ".join(path.name.split("~")[1:4])):
            shutil.rmtree(path, ignore_errors=True)
