"""Every kind of error becomes its exit code, a message, and a hint."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import pytest

from git_lepton import errors
from git_lepton.cli import completion
from git_lepton.cli.boundary import run
from git_lepton.cli.context import repository
from git_lepton.cli.main import cli

KINDS = [
    (errors.UsageError("wrong"), 2),
    (errors.FormatError("onnx", "cut short", offset=7), 5),
    (errors.ManifestError("no check line"), 5),
    (errors.FrameError("bad magic"), 5),
    (errors.CorruptError("wrong hash"), 5),
    (errors.MissingError("not here"), 8),
    (errors.RaceLostError("moved"), 4),
    (errors.ChangedError("shorter"), 6),
    (errors.CommandError(["tool"], 3, "boom"), 70),
    (errors.GitError(["push"], 1, "refused"), 70),
    (OSError(errno.ENOSPC, "No space left on device", "/big"), 6),
    (KeyboardInterrupt(), 130),
    (click.UsageError("no such option"), 2),
    (click.Abort(), 130),
]


def raising(error: BaseException) -> click.Command:
    @click.command()
    @click.argument("words", nargs=-1)
    def command(words: tuple[str, ...]) -> int:
        raise error

    return command


@pytest.mark.parametrize(("error", "status"), KINDS, ids=lambda value: type(value).__name__)
def test_exit_codes(error: BaseException, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(error), []) == status
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(("error", "status"), KINDS, ids=lambda value: type(value).__name__)
def test_hooks_know_only_0_and_1(error: BaseException, status: int) -> None:
    assert run(raising(error), ["hook"]) == 1


def test_message_then_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(errors.MissingError("nothing here", hint="git lepton pull")), []) == 8
    assert capsys.readouterr().err == "git-lepton: nothing here\nhint: git lepton pull\n"


def test_names_cannot_disturb_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(errors.MissingError("a\x1b[2Jb\udcff\n  list", hint="\u202e")), []) == 8
    assert capsys.readouterr().err == "git-lepton: a\\x1b[2Jb\\udcff\n  list\nhint: \\u202e\n"


def test_a_status_that_is_returned_is_the_exit_code() -> None:
    @click.command()
    def command() -> int:
        return 5

    assert run(command, []) == 5


def test_a_mistake_of_ours_leaves_a_report_in_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path)

    @click.command()
    @click.argument("words", nargs=-1)
    def command(words: tuple[str, ...]) -> int:
        repository()
        raise ZeroDivisionError("by zero")

    assert run(command, ["words"]) == 70
    err = capsys.readouterr().err
    (report,) = (tmp_path / ".git" / "lepton").glob("report-*.txt")
    assert str(report) in err
    assert "ZeroDivisionError: by zero" in err
    text = report.read_text()
    assert "Traceback" in text
    assert "Python " in text
    assert "['words']" in text


def test_the_report_goes_to_a_temporary_folder_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", os.fspath(tmp_path.parent))
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(tmp_path))
    assert run(raising(ZeroDivisionError()), []) == 70
    assert len(list(tmp_path.glob("report-*.txt"))) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_debugging_prints_the_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_LEPTON_DEBUG", "1")
    assert run(raising(ZeroDivisionError()), []) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_pipe_that_breaks_inside_is_our_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(**_: object) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(tempfile, "tempdir", os.fspath(tmp_path))
    monkeypatch.setattr(completion.command, "callback", broken)
    assert run(cli, ["completion", "bash"]) == 70
    assert "another program closed its end of a pipe" in capfd.readouterr().err


def test_a_reader_that_stops_is_told_nothing() -> None:
    done = subprocess.run(
        f"{sys.executable} -m git_lepton completion bash | true",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
