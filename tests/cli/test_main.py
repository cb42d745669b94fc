from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from git_lepton import __version__
from git_lepton.cli import main
from git_lepton.cli.boundary import run
from git_lepton.cli.main import HIDDEN, SECTIONS, VERBS, cli
from git_lepton.cli.verb import EXITS, Verb

HEAVY = {
    "numpy",
    "pygit2",
    "onnx",
    "onnxruntime",
    "sklearn",
    "scipy",
    "rich",
    "prometheus_client",
    "blake3",
    "zstandard",
}


def command(name: str) -> tuple[click.Context, click.Command]:
    root = click.Context(cli, info_name="git lepton", **cli.context_settings)
    found = cli.get_command(root, name)
    assert found is not None
    return click.Context(found, info_name=name, parent=root), found


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_version_and_help_import_nothing_but_click(arguments: list[str]) -> None:
    script = (
        "import sys\n"
        "from git_lepton.cli.boundary import run\n"
        "from git_lepton.cli.main import cli\n"
        f"status = run(cli, {arguments!r})\n"
        "print(*sorted(sys.modules), file=sys.stderr)\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert not loaded & HEAVY
    ours = {name.removeprefix("git_lepton.") for name in loaded if name.startswith("git_lepton.")}
    assert ours == {"cli", "cli.boundary", "cli.main", "cli.verb", "errors", "report", "report.table"}


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["--version"]) == 0
    assert capsys.readouterr().out == f"git-lepton {__version__}\n"


@pytest.mark.parametrize("name", sorted(VERBS))
def test_every_verb_loads_and_has_help_with_examples_and_exit_codes(name: str) -> None:
    context, found = command(name)
    assert found.name == name
    text = found.get_help(context)
    assert text.startswith(f"Usage: git lepton {name}")
    if name in HIDDEN:
        assert found.hidden
        return
    assert isinstance(found, Verb)
    assert found.examples
    assert all(line.startswith(("git lepton", "eval")) for line, _ in found.examples)
    assert "Exit codes:" in text
    assert set(found.exits) <= EXITS.keys()
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("name", [name for name in VERBS if name not in HIDDEN])
def test_every_option_explains_itself(name: str) -> None:
    _, found = command(name)
    commands = found.commands.values() if isinstance(found, click.Group) else [found]
    for one in commands:
        for parameter in one.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"


def test_help_lists_all_sections(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["--help"]) == 0
    text = capsys.readouterr().out
    for section, verbs in SECTIONS.items():
        assert f"{section}:" in text
        assert all(f"  {name} " in text for name in verbs)
    assert not any(f"  {name} " in text for name in HIDDEN)


def test_help_of_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["help", "help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: git lepton help")
    assert run(cli, ["help", "migrate", "info"]) == 0
    assert capsys.readouterr().out.startswith("Usage: git lepton migrate info")
    assert run(cli, ["help", "nothing"]) == 2
    assert "'nothing' is not a command" in capsys.readouterr().err


def test_unknown_verb_suggests_the_one_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["chekout"]) == 2
    assert "Did you mean 'checkout'?" in capsys.readouterr().err
    assert run(cli, ["qqqq"]) == 2
    assert "'git lepton help' lists all commands" in capsys.readouterr().err


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, []) == 2
    assert "Every day:" in "".join(capsys.readouterr())


def test_outside_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", os.fspath(tmp_path.parent))
    assert run(cli, ["status"]) == 2
    assert "git-lepton: not in a git repository" in capsys.readouterr().err


def test_the_command_attribute_is_what_the_table_promises() -> None:
    assert main.COMMAND_ATTRIBUTE == "command"
