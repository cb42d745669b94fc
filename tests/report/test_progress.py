from __future__ import annotations

import io
import sys

import pytest

from git_lepton.progress import Silent
from git_lepton.report import progress
from git_lepton.report.progress import Bar, for_terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_no_bar_without_a_terminal_or_when_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(for_terminal(), Silent)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert isinstance(for_terminal(quiet=True), Silent)
    assert isinstance(for_terminal(), Bar)


def test_short_work_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = Bar()
    bar.start("sending", 10)
    bar.advance(10)
    bar.finish()
    assert terminal.getvalue() == ""


def test_long_work_draws_a_bar_and_takes_it_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "_PATIENCE_SECONDS", -1.0)
    monkeypatch.setenv("TERM", "xterm")
    bar = Bar()
    bar.start("sending [weights]", 1000)
    bar.advance(500)
    bar.advance(500)
    bar.start("next phase", None)
    bar.advance(1)
    bar.finish()
    bar.finish()
    assert "sending [weights]" in terminal.getvalue()
