"""The canonical text of a model's settings: equal settings give equal text, however lepton.toml spells them."""

from __future__ import annotations

import json

from blake3 import blake3

from git_lepton.config.values import ModelSettings
from git_lepton.record.plain import to_plain
from git_lepton.values import Hash


def canonical(settings: ModelSettings) -> bytes:
    """The settings as JSON with sorted keys, without what has its default.

    So a setting that a later version knows, where it is not used, changes nothing.
    """
    return json.dumps(to_plain(settings), sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def rules_hash(settings: ModelSettings) -> Hash:
    """The hash that a record has of the rules it was made under."""
    return Hash(blake3(canonical(settings)).hexdigest())
