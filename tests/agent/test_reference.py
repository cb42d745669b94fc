"""docs/agent.md has every key of agent.toml as the parser has it, and every reason."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from git_lepton.agent import tables
from git_lepton.agent.events import VERIFICATION_REASONS
from git_lepton.agent.values import State
from git_lepton.config.schema import key_rows

PAGE = Path(__file__).parent.parent.parent / "docs" / "agent.md"


def test_every_key_is_documented() -> None:
    text = PAGE.read_text(encoding="utf-8")
    names = ("TOP", "MODEL", "WARMUP", "NOTIFY", "WATCH", "HTTP", "STATUS")
    for name in names:
        assert "\n".join(key_rows(getattr(tables, name))) in text, name


def test_every_state_and_reason_is_explained() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for word in (*get_args(State), *VERIFICATION_REASONS):
        assert f"| `{word}` |" in text
