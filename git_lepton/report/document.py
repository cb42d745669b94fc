"""The JSON that `--json` prints: one object, with the schema's name and version first.

A version number rises when a field is removed or changes its meaning; new fields may come at any time.
"""

from __future__ import annotations

import json
from typing import Any

SCHEMA_PREFIX = "git-lepton"


def document(verb: str, fields: dict[str, Any], *, version: int = 1) -> str:
    """The document of `verb` with `fields`; names that are not UTF-8 keep their lone surrogates as escapes."""
    return json.dumps({"schema": f"{SCHEMA_PREFIX}.{verb}/{version}", **fields}, indent=2, ensure_ascii=True)
