"""The child process of a build: `python -m git_lepton.variants.worker`, a request on standard input, one answer out.

With `--warm` it loads the quantizers of ONNX before it reads; without a request it ends.

Tools print, crash, and use much memory, so they run here and nowhere else. Standard output carries the answer, one
line of JSON; whatever tools print there goes to standard error. When the parent dies, which is looked for twice a
second, the worker deletes the folder it writes in and ends: a build that is killed leaves nothing.
"""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from git_lepton.config.recipes import parse_recipe
from git_lepton.errors import UsageError
from git_lepton.variants import folder, gguf_out, onnx_out, safetensors_out
from git_lepton.variants.values import ModelFolder, Outcome, Request, Unsuitable, to_json

_WATCH_SECONDS: Final = 0.5
_MAX_REASON: Final = 400  # characters
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_COPIES: Final = 2
_ROOM: Final = 1 << 20
_CODE: Final = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_PATH: Final = re.compile(r"(?:/[^\s:'\"]+)+/([^\s/:'\"]+)|(?:[^\s/'\"]+/)+([^\s/'\"]+\.onnx)\b")


def build(request: Request) -> Outcome:
    """Build in this process.

    Raises:
        Unsuitable: no such variant of this model. Tools may raise anything else.
    """
    model = ModelFolder(Path(request.path), request.main, request.files)
    steps = parse_recipe(request.recipe)
    new, scratch = Path(request.stage) / "new", Path(request.stage) / "tmp"
    calibration = None if request.calibration is None else Path(request.calibration)
    family = folder.family(model)
    if family is None:
        raise Unsuitable("variants are built of ONNX and safetensors models, and it has no such file")
    if family == "onnx":
        outcome = onnx_out.build(model, steps, new, scratch, request.exclude, calibration)
    elif steps[-1].kind in gguf_out.TYPES:
        outcome = gguf_out.build(model, steps, new, request.exclude)
    else:
        outcome = safetensors_out.build(model, steps, new, request.exclude)
    outcome.unmatched = _unmatched(model, family, request.exclude)
    return outcome


def _unmatched(model: ModelFolder, family: str, globs: Sequence[str]) -> list[str]:
    """Globs that match nothing of the model, which are mistakes of spelling."""
    if not globs:
        return []
    if family == "onnx":
        names = onnx_out.names(model)
    else:
        sources = folder.mapped(model, folder.with_suffix(model, safetensors_out.SUFFIX))
        names = {tensor.name for _, layout in sources for tensor in layout.tensors}
    return [glob for glob in globs if not any(fnmatchcase(name, glob) for name in names)]


def answer(request: Request) -> dict[str, Any]:
    """Build, and put whatever happens into words: `outcome`; `skipped` or `usage` with a sentence; or `full`.

    `passing` beside `skipped` says that another try may succeed. Where the disk is nearly full no other reason is
    believed: tools whose writes are cut short notice nothing, and then find their own file damaged.
    """
    try:
        return {"outcome": to_json(build(request))}
    except UsageError as error:
        return {"usage": error.message}
    except MemoryError:
        return {"skipped": "there was not enough memory", "passing": True}
    except Exception as error:
        full = (isinstance(error, OSError) and error.errno in _FULL) or "No space left on device" in str(error)
        if full or _is_nearly_full(request):
            return {"full": True}
        return {"skipped": error.message if isinstance(error, Unsuitable) else reason(error, request)}


def _is_nearly_full(request: Request) -> bool:
    """Whether there is less room than a tool may have needed, counting what it has deleted again since."""
    size = sum((Path(request.path) / name).stat().st_size for name in request.files)
    return shutil.disk_usage(request.stage).free < _COPIES * size + _ROOM


def reason(error: BaseException, request: Request) -> str:
    """The last line that a tool's error says, with its kind, without the folders of our own files and codes of errors.

    It becomes part of the record, which must be the same wherever the build is repeated.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else "no reason given"
    for place in (request.stage, request.path):
        text = text.replace(f"{place}/", "")
    text = _PATH.sub(r"\1\2", _CODE.sub("", text))
    return f"{type(error).__name__}: {text}"[:_MAX_REASON]


def _watch(parent: int, stage: Path) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    shutil.rmtree(stage, ignore_errors=True)
    os._exit(1)


def main() -> None:
    """Read the request, build, answer."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if "--warm" in sys.argv:
        with suppress(ImportError):
            import onnx  # noqa: F401
            import onnxruntime.quantization  # noqa: F401
    if not (data := sys.stdin.buffer.read()):
        return
    request = Request.decoded(data)
    threading.Thread(target=_watch, args=(request.parent, Path(request.stage)), daemon=True).start()
    if request.memory is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (request.memory, request.memory))
    os.chdir(request.stage)
    os.environ["TMPDIR"] = tempfile.tempdir = str(Path(request.stage) / "tmp")
    with channel:
        channel.write(json.dumps(answer(request)).encode())


if __name__ == "__main__":
    main()
