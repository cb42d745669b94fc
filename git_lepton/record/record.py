"""The record's text, `.lepton/records/<model>.toml`: version 1 of the format (docs/formats.md, "Record").

The text is TOML that only we write. `parse` accepts one spelling for a record, the one that `to_text` gives, and
checks that the hashes of the bundle and of every variant are those of the files listed, so that an edit by hand or a
merge of two records as text is refused rather than believed.
"""

from __future__ import annotations

import tomllib
from typing import Final

from git_lepton.errors import FrameError
from git_lepton.record import toml
from git_lepton.record.bundle import Bundle, check_path, make
from git_lepton.record.plain import from_plain, to_plain
from git_lepton.record.values import Record

FORMAT: Final = 1
FOLDER: Final = ".lepton/records/"
MAX_BYTES: Final = 16 << 20
_HEAD: Final = "# Written by git lepton gate, and checked by it: a change by hand is refused. See docs/gate.md.\n"


def path_of(model: str) -> str:
    """Where a model's record lies, from the top of the work tree."""
    return f"{FOLDER}{model}.toml"


def to_text(record: Record) -> bytes:
    """The text of a record, the only one that `parse` accepts for it."""
    return (_HEAD + toml.dumps({"format": FORMAT, **to_plain(record)})).encode()


def parse(data: bytes, *, name: str = "the record") -> Record:
    """Read a record strictly.

    Raises:
        FrameError: saying what is wrong; nothing else for any input.
    """
    try:
        return _parse(data)
    except FrameError as error:
        raise FrameError(f"{name}: {error.message}", hint=error.hint or "git lepton gate writes it anew") from error


def _parse(data: bytes) -> Record:
    if len(data) > MAX_BYTES:
        raise FrameError(f"{len(data)} bytes are more than {MAX_BYTES}")
    try:
        table = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # tomllib's own error and that of the decoder are ValueErrors
        raise FrameError("not TOML: it was edited, or two records were merged as text") from error
    version = table.pop("format", None)
    if type(version) is int and version > FORMAT:
        raise FrameError("written by a newer git-lepton", hint="pip install --upgrade git-lepton")
    if type(version) is not int or version != FORMAT:
        raise FrameError(f"format is not {FORMAT}")
    record = from_plain(Record, table)
    _check(record)
    try:
        same = to_text(record) == data
    except UnicodeEncodeError:
        same = False
    if not same:
        raise FrameError("not spelled as git-lepton spells it: it was edited, or merged as text")
    return record


def _check(record: Record) -> None:
    """Refuse a record whose parts contradict each other. Raises FrameError."""
    original = make(record.files)
    if original.hash != record.bundle or original.files != record.files:
        raise FrameError("its bundle is not that of the files it lists: it was edited, or merged as text")
    _check_main(record.main, original)
    if record.root:
        check_path(record.root)
    for variant in record.variant:
        if variant.skipped:
            continue
        whole = variant.all_files(original)
        if (whole.hash, whole.size) != (variant.bundle, variant.size):
            raise FrameError(f"the bundle of variant {variant.recipe} is not that of its files: it was edited")
        _check_main(variant.main, whole)


def _check_main(main: str, whole: Bundle) -> None:
    if main != "." and whole.file(main) is None:
        raise FrameError(f"main is {main!r}, and no file of the bundle")
