"""The canonical text of a model's settings, equal however lepton.toml spells them; and whether a record is theirs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from blake3 import blake3

from git_lepton.config.values import ModelSettings
from git_lepton.record.bundle import Bundle
from git_lepton.record.plain import to_plain
from git_lepton.record.values import Record
from git_lepton.values import Hash

_NAMED = 3


def canonical(settings: ModelSettings) -> bytes:
    """The settings as JSON with sorted keys, without what has its default.

    So a setting that a later version knows, where it is not used, changes nothing.
    """
    return json.dumps(to_plain(settings), sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def rules_hash(settings: ModelSettings) -> Hash:
    """The hash that a record has of the rules it was made under."""
    return Hash(blake3(canonical(settings)).hexdigest())


def fault(record: Record, settings: ModelSettings, whole: Bundle, data: Mapping[str, Hash]) -> str:
    """Why a record is not that of the model beside it; empty when it is.

    Args:
        record: what is recorded.
        settings: the model's rules.
        whole: its files.
        data: path and hash of every set of examples that the settings name and that is known.
    """
    if record.model != settings.name:
        return f"it is the record of model {record.model}"
    if record.bundle != whole.hash:
        changed = sorted({file.path for file in set(record.files) ^ set(whole.files)}, key=os.fsencode)
        more = ", …" if len(changed) > _NAMED else ""
        return f"it is about other files ({', '.join(changed[:_NAMED])}{more})"
    if (record.root, record.main) != (settings.root, settings.main) or record.rules != rules_hash(settings):
        return "it was made under other rules"
    if dict(record.data) != dict(data):
        return "it was made with other examples"
    if [variant.recipe for variant in record.variant] != list(settings.variants):
        return "it lists other variants"
    return ""
