"""git-lepton: model weights as ordinary git content.

`git_lepton.open(path)` opens a repository for reading and writing models; everything else is the command
`git lepton`. Importing this package imports nothing heavy: the API module is loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from git_lepton.api import Model, Repository
    from git_lepton.api import open_repository as open  # noqa: A004

__all__ = ["Model", "Repository", "__version__", "open"]


def __getattr__(name: str) -> Any:
    """Load the Python API when it is asked for (PEP 562), so that the command line starts without it."""
    if name in {"Model", "Repository", "open"}:
        from git_lepton import api

        return api.open_repository if name == "open" else getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What a person who looks around may use, loaded or not."""
    return __all__
