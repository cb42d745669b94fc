"""What editors and readers are told about `lepton.toml`, written from the table of keys that parses it.

`python -m git_lepton.config.schema docs` writes `docs/lepton.schema.json` and the tables in `docs/lepton-toml.md`
between their `keys` comments. The schema accepts what the parser accepts; what holds between keys, and the finer
points of names and paths, only the parser knows.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from git_lepton.config import tables
from git_lepton.config.kinds import Key, Schema, Table
from git_lepton.config.strategies import STRATEGIES

SCHEMA_FILE: Final = "lepton.schema.json"
REFERENCE_FILE: Final = "lepton-toml.md"
URL: Final = "https://json-schema.org/draft/2020-12/schema"

SECTIONS: Final[dict[str, Table]] = {
    "store": tables.STORE,
    "model": tables.MODEL,
    "gate": tables.GATE,
    "gate-variants": tables.VARIANT_RULE,
    "gate-teacher": tables.TEACHER_RULE,
    "budget": tables.BUDGET,
    "golden": tables.GOLDEN,
    "provenance": tables.PROVENANCE,
    "channel": tables.CHANNEL,
}
"""Tables of the reference, by the word in their comments."""

MERGE: Final = "merge"
"""The word of the table of strategies."""

_MARKED: Final = re.compile(r"(<!-- keys: ([a-z-]+) -->\n).*?(<!-- /keys -->)", re.DOTALL)


def schema() -> Schema:
    """The JSON schema of `lepton.toml`."""
    head: dict[str, Any] = {"$schema": URL, "title": "lepton.toml", "description": "Settings of git-lepton."}
    return head | tables.TOP.schema()


def schema_text() -> str:
    """The schema as it is kept in the documents."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def with_tables(document: str) -> str:
    """The reference with its tables of keys written anew."""

    def written(match: re.Match[str]) -> str:
        rows = _strategies() if match[2] == MERGE else key_rows(SECTIONS[match[2]])
        return match[1] + "".join(f"{row}\n" for row in rows) + match[3]

    return _MARKED.sub(written, document)


def key_rows(table: Table) -> list[str]:
    """The rows of a table of keys in Markdown: what each may be, what it is for, and what holds without it."""
    return ["| key | value | what |", "|---|---|---|", *map(_row, table.keys)]


def _strategies() -> list[str]:
    rows = ["| strategy | what | numbers, with their defaults |", "|---|---|---|"]
    for name, kind in STRATEGIES.items():
        numbers = ", ".join(f"`{o}` {v.default:g}" for o, v in kind.options.items())
        rows.append(f"| `{name}` | {kind.summary} | {numbers} |")
    return rows


def _row(key: Key) -> str:
    without = " **Required.**" if key.required else f" Default: {key.default}." if key.default else ""
    what = key.doc.replace("|", "\\|")
    value = key.kind.what.replace("|", "\\|")
    return f"| `{key.name}` | {value} | {what}.{without} |"


def main(folder: Path) -> None:
    """Write both documents in `folder`."""
    (folder / SCHEMA_FILE).write_text(schema_text(), encoding="utf-8")
    reference = folder / REFERENCE_FILE
    reference.write_text(with_tables(reference.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
