"""Man pages from the click commands: `python -m git_lepton.cli.manpage FOLDER`.

`git lepton --help` runs `man git-lepton`, so the wheel ships these pages; `docs/man` holds them, and a test compares
them with what this module writes. Nothing in a page depends on the machine or the day.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from git_lepton import __version__
from git_lepton.cli.main import SECTIONS, cli
from git_lepton.cli.verb import EXITS, Verb

_CONFIGURATION: Final = (
    (
        "lepton.smudgeLimit",
        "files above this size (512m) are written when git is done, since git holds an answer in memory",
    ),
    ("lepton.pushPartSize", "versions with more new bytes than this (1g) are pushed in parts"),
    ("lepton.storeUrl", "the address in lepton.toml that this clone has agreed to"),
    ("lepton.allowIncompletePush", "true lets a push pass although weights that it names are nowhere to be had"),
    ("lepton.hooks", "false keeps the filter from installing hooks by itself"),
    ("lepton.command", "how git starts git-lepton where it is not on PATH; git lepton install and init set it"),
)
_ENVIRONMENT: Final = (
    ("GIT_LEPTON_SKIP_SMUDGE", "set to 1, leaves manifests in the work tree; git lepton pull writes the weights later"),
    ("GIT_LEPTON_ALLOW_DELETE", "set to 1, lets a push delete refs below refs/lepton"),
    ("GIT_LEPTON_DEBUG", "set to anything, prints the traceback of an error that should not happen"),
)


def pages() -> dict[str, str]:
    """All pages: file name to roff text."""
    root = click.Context(cli, info_name="git lepton", **cli.context_settings)
    result = {"git-lepton.1": _root_page(root)}
    for section in SECTIONS.values():
        for name, (_, summary) in section.items():
            command = cli.get_command(root, name)
            assert command is not None
            context = click.Context(command, info_name=name, parent=root)
            result[f"git-lepton-{name}.1"] = _verb_page(context, name, summary)
    return result


def _root_page(root: click.Context) -> str:
    lines = [_title("git-lepton"), *_name("git-lepton", "model weights as ordinary git content")]
    lines += [".SH SYNOPSIS", r"\fBgit lepton\fR \fICOMMAND\fR [\fIARGUMENTS\fR]", ".SH DESCRIPTION"]
    lines += _paragraphs(cli.help or "")
    for section, verbs in SECTIONS.items():
        lines.append(f".SH {section.upper()}")
        for name, (_, summary) in verbs.items():
            lines += [".TP", rf"\fBgit-lepton-{_text(name)}\fR(1)", _text(summary)]
    lines += [".SH OPTIONS", *_options(root)]
    for title, entries in (("CONFIGURATION", _CONFIGURATION), ("ENVIRONMENT", _ENVIRONMENT)):
        lines.append(f".SH {title}")
        for name, meaning in entries:
            lines += [".TP", rf"\fB{_text(name)}\fR", _text(meaning)]
    lines += _exits(tuple(EXITS))
    lines += [".SH SEE ALSO", r"\fBgit\fR(1), \fBgitattributes\fR(5), \fBgithooks\fR(5)"]
    return "\n".join(lines) + "\n"


def _verb_page(context: click.Context, name: str, summary: str) -> str:
    command = context.command
    assert isinstance(command, Verb)
    title = f"git-lepton-{name}"
    lines = [_title(title), *_name(title, summary[0].lower() + summary[1:].rstrip("."))]
    lines += [".SH SYNOPSIS", *_synopsis(context), ".SH DESCRIPTION", *_paragraphs(command.help or "")]
    lines += [".SH OPTIONS", *_options(context)]
    if isinstance(command, click.Group):
        for child_name, child in command.commands.items():
            child_context = click.Context(child, info_name=child_name, parent=context)
            lines += [f".SH {_text(f'git lepton {name} {child_name}'.upper())}", *_synopsis(child_context), ".PP"]
            lines += [*_paragraphs(child.help or ""), *_options(child_context)]
    lines += _examples(command)
    lines += _exits(command.exits)
    lines += [".SH SEE ALSO", r"\fBgit-lepton\fR(1)"]
    return "\n".join(lines) + "\n"


def _title(name: str) -> str:
    return f'.TH "{name.upper()}" "1" "" "git-lepton {__version__}" "git-lepton manual"'


def _name(name: str, summary: str) -> list[str]:
    return [".SH NAME", rf"{_text(name)} \- {_text(summary)}"]


def _synopsis(context: click.Context) -> list[str]:
    pieces = " ".join(context.command.collect_usage_pieces(context))
    return [rf"\fB{_text(context.command_path)}\fR {_text(pieces)}"]


def _options(context: click.Context) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            yield from (".TP", rf"\fB{_text(record[0])}\fR", _text(record[1]))


def _examples(command: Verb) -> Iterator[str]:
    if command.examples:
        yield ".SH EXAMPLES"
        for line, meaning in command.examples:
            yield from (".TP", rf"\fB{_text(line)}\fR", _text(meaning))


def _exits(codes: tuple[int, ...]) -> Iterator[str]:
    yield ".SH EXIT STATUS"
    for code in codes:
        yield from (".TP", rf"\fB{code}\fR", _text(EXITS[code]))


def _paragraphs(text: str) -> Iterator[str]:
    r"""Click's help text: paragraphs apart by empty lines, `\b` before one that keeps its line breaks."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", inspect.cleandoc(text))):
        if number:
            yield ".PP"
        if paragraph.startswith("\b\n"):
            yield from (".nf", *map(_text, paragraph[2:].split("\n")), ".fi")
        else:
            yield from map(_text, paragraph.split("\n"))


def _text(text: str) -> str:
    """Escape what roff would take for a request: backslashes, hyphens that are minus signs, a leading dot or quote."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    return rf"\&{escaped}" if escaped.startswith(".") else escaped


def main(folder: Path) -> None:
    """Write every page to `folder`, and remove pages of verbs that are no more."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = pages()
    for old in folder.glob("git-lepton*.1"):
        if old.name not in texts:
            old.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
