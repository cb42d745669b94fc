"""The schema for editors and the reference say what the parser does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

from git_lepton.config import schema
from git_lepton.config.reading import parse
from git_lepton.errors import UsageError
from tests.config.test_tables import FULL

DOCS = Path(__file__).parent.parent.parent / "docs"
REFERENCE = (DOCS / schema.REFERENCE_FILE).read_text(encoding="utf-8")
EXAMPLE = re.search(r"<!-- example -->\n```toml\n(.*?)```", REFERENCE, re.DOTALL)

CHECKER = jsonschema.Draft202012Validator(schema.schema())


def test_the_documents_are_current() -> None:
    """Else: python -m git_lepton.config.schema docs."""
    assert (DOCS / schema.SCHEMA_FILE).read_text(encoding="utf-8") == schema.schema_text()
    assert schema.with_tables(REFERENCE) == REFERENCE


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema.schema())


def test_every_table_is_in_the_reference() -> None:
    assert set(re.findall(r"<!-- keys: ([a-z-]+) -->", REFERENCE)) == {*schema.SECTIONS, schema.MERGE}


def test_the_example_is_read_and_accepted() -> None:
    assert EXAMPLE is not None
    config = parse(EXAMPLE[1].encode())
    assert [gate.name for gate in config.models["digits"].gates] == ["accuracy", "business"]
    CHECKER.validate(tomllib.loads(EXAMPLE[1]))


def test_a_file_with_everything_is_accepted() -> None:
    CHECKER.validate(tomllib.loads(FULL))


@pytest.mark.parametrize(
    "text",
    [
        "[modle.m]",
        "[model.m]",
        '[model.m]\nmain = "m"\nmian = "m"',
        '[model.m]\nmain = "m"\n[[model.m.gate]]\nname = "g"\nmax_dorp = 1',
        '[model.m]\nmain = "m"\n[[model.m.gate]]\nname = "G"',
        '[model.m]\nmain = "m"\n[[model.m.gate]]\nname = "g"\nwhen = "never"',
        '[model.m]\nmain = "m"\n[[model.m.gate]]\nname = "g"\nmax_drop = "2"',
        '[model.m]\nmain = "m"\n[[model.m.gate]]\nname = "g"\nsample = 0',
        '[model.m]\nmain = "m"\n[[model.m.gate]]\nname = "g"\ntimeout = "soon"',
        "[channel.prod]\ncritical = 1",
        '[merge]\n"*" = "avrage"',
        '[merge]\n"*" = { strategy = "ours", weight = 1 }',
    ],
)
def test_both_refuse(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text.encode())
    assert not CHECKER.is_valid(tomllib.loads(text))
