"""Progress as a protocol: layers below report bytes, the top decides whether a person sees them."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What long work tells while it runs. Implementations are safe to call from any thread."""

    def start(self, label: str, total: int | None) -> None:
        """A phase begins: `label` in the user's words, `total` in bytes or None when unknown."""

    def advance(self, amount: int) -> None:
        """`amount` more bytes of the phase are done."""

    def finish(self) -> None:
        """The phase is over."""


class Silent:
    """Says nothing: for libraries, tests and standard error that is no terminal."""

    def start(self, label: str, total: int | None) -> None:
        """See `Progress.start`."""

    def advance(self, amount: int) -> None:
        """See `Progress.advance`."""

    def finish(self) -> None:
        """See `Progress.finish`."""
