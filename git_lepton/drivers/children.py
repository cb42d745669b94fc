"""The child processes of a gated commit, started before the program is loaded and git is read.

Loading numpy, onnxruntime and its quantizers takes longer than the rest of the gate's own work, so it happens beside
it. Whether a child will be wanted is a guess from a few words of lepton.toml, which costs a read: a child that nobody
takes is ended, and one that was not expected is started when it is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from git_lepton.errors import CommandError
from git_lepton.gate.standby import Standby
from git_lepton.proc import Spare
from git_lepton.variants import standby

_GATED: Final = ("pre-commit", "pre-merge-commit")
_SETTINGS: Final = "lepton.toml"
_EVALUATES: Final = re.compile(rb"\.gate\]\].*\.onnx|\.onnx.*\.gate\]\]", re.DOTALL)
_BUILDS: Final = re.compile(rb"^\s*variants\s*=\s*\[[^]]*int", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Children:
    """Those that were started: `evaluator` runs models, `builder` makes a variant."""

    evaluator: Standby | None = None
    builder: Spare | None = None


def of_hook(arguments: Sequence[str]) -> AbstractContextManager[Children]:
    """The children that a hook may want, by its name and arguments; git runs it at the top of the work tree."""
    return expected(Path()) if arguments and arguments[0] in _GATED else nullcontext(Children())


@contextmanager
def expected(top: Path) -> Iterator[Children]:
    """The children that a commit in the work tree `top` may want; those that nobody took are ended.

    None where they cannot be started: who wants one then will say why.
    """
    try:
        text = (top / _SETTINGS).read_bytes()
    except OSError:
        text = b""
    with ExitStack() as stack:
        evaluator = builder = None
        with suppress(CommandError, OSError):
            if _EVALUATES.search(text):
                evaluator = stack.enter_context(Standby(top.absolute()))
                if _BUILDS.search(text):
                    builder = stack.enter_context(Spare(standby.start("--warm")))
        yield Children(evaluator, builder)
