"""Every command in the documents is run, in the order in which a reader meets it, and prints what the document says.

In a block marked `console`, lines that begin with `$ ` are commands, and what follows is their output: `…` stands for
anything within a line, and a line `…` for any lines. A comment `<!-- test: … -->` holds commands that a reader does not
need to see (making a file, going to another folder); a block marked `sh` is for the reader's own machine, and only its
syntax is checked. All blocks of one document share one folder, one home and one shell.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import clean_environment

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
_BLOCK = re.compile(r"^```(console|sh)\n(.*?)^```$|^<!-- test:\n?(.*?)-->$", re.MULTILINE | re.DOTALL)
_END = "--lepton-docs-end--"


@dataclass(frozen=True)
class Command:
    """A command, and the output that the document shows; None where it shows none to compare."""

    text: str
    expected: tuple[str, ...] | None
    line: int


def commands(document: Path) -> list[Command]:
    text = document.read_text(encoding="utf-8")
    found: list[Command] = []
    for match in _BLOCK.finditer(text):
        line = text[: match.start()].count("\n") + 1
        kind, body, hidden = match.groups()
        if hidden is not None:
            found.append(Command(hidden, None, line))
        elif kind == "console":
            found += _session(body, line + 1)
    return found


def _session(body: str, line: int) -> list[Command]:
    found = []
    text: list[str] = []
    expected: list[str] = []
    start = line

    def flush() -> None:
        if text:
            found.append(Command("\n".join(text), tuple(expected), start))

    continued = False
    for number, row in enumerate(body.splitlines(), start=line):
        if row.startswith("$ "):
            flush()
            text, expected, start = [row[2:]], [], number
        elif continued:
            text.append(row.removeprefix("> "))
        else:
            expected.append(row)
        continued = row.endswith("\\") and (row.startswith("$ ") or continued)
    flush()
    return found


def pattern(expected: tuple[str, ...]) -> str:
    rows = []
    for row in expected:
        if row.strip() == "…":
            rows.append(r"(?:.*\n)*?")
        else:
            rows.append(r"[^\n]*?".join(re.escape(part) for part in row.rstrip().split("…")) + r"[ ]*\n")
    return "".join(rows)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_commands_of_a_document_do_what_it_says(document: Path, tmp_path: Path, quick_program: Path) -> None:
    session = commands(document)
    if not session:
        pytest.skip("no commands")
    home = tmp_path / "home"
    work = tmp_path / "work"
    for folder in (home, work):
        folder.mkdir()
    env = clean_environment(home) | {"PS1": "", "TERM": "dumb", "COLUMNS": "100", "EXAMPLES": str(ROOT / "examples")}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    if document.name != "README.md":  # what a new user does first runs as the new user has it
        env["PATH"] = f"{quick_program.parent}:{env['PATH']}"
    shell = subprocess.Popen(
        ["bash", "--noprofile", "--norc"],
        cwd=work,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert shell.stdin
    assert shell.stdout
    with shell:
        for command in session:
            shell.stdin.write(f"{command.text}\necho {_END}$?\n")
            shell.stdin.flush()
            output = ""
            for row in shell.stdout:
                output += row
                if _END in row:
                    break
            printed, _, status = output.rpartition(_END)
            where = f"{document.name}:{command.line}: {command.text}"
            if printed and not printed.endswith("\n"):
                printed += "\n"
            fails = any(row.startswith("git-lepton:") for row in command.expected or ())
            assert status.strip() == "0" or fails, f"{where}\nexit {status.strip()}\n{printed}"
            if command.expected is not None:
                wanted = pattern(command.expected)
                shown = "\n".join(row.rstrip() for row in printed.splitlines()) + ("\n" if printed else "")
                assert re.fullmatch(wanted, shown) or not command.expected, f"{where}\nprinted:\n{shown}"
        shell.stdin.close()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_shell_blocks_parse(document: Path) -> None:
    for match in _BLOCK.finditer(document.read_text(encoding="utf-8")):
        if match.group(1) == "sh":
            done = subprocess.run(["bash", "-n"], input=match.group(2), text=True, capture_output=True, check=False)
            assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (document.parent / target).exists(), target
