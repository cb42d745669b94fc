"""Children that are started early: when, and that none is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_lepton.drivers.children import Children, expected, of_hook

GATE = '[[model.m.gate]]\nname = "accuracy"\n'
MODEL = '[model.m]\nmain = "m.onnx"\n'


@pytest.mark.parametrize(
    ("text", "started"),
    [
        ("", (False, False)),
        (MODEL, (False, False)),
        (GATE, (False, False)),
        (MODEL + GATE, (True, False)),
        (MODEL + 'variants = ["fp16"]\n' + GATE, (True, False)),
        (MODEL + 'variants = [\n  "fp16",\n  "prune50+int8",\n]\n' + GATE, (True, True)),
        (MODEL + GATE + "variants = { int8 = { max_drop = 0.1 } }\n", (True, False)),
    ],
)
def test_what_lepton_toml_looks_like_decides(tmp_path: Path, text: str, started: tuple[bool, bool]) -> None:
    (tmp_path / "lepton.toml").write_text(text)
    with expected(tmp_path) as found:
        assert (found.evaluator is not None, found.builder is not None) == started


def test_only_hooks_before_a_commit_start_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lepton.toml").write_text(MODEL + GATE)
    monkeypatch.chdir(tmp_path)
    for arguments in ([], ["post-commit"], ["pre-push", "origin"]):
        with of_hook(arguments) as found:
            assert found == Children()
    with of_hook(["pre-commit"]) as found:
        assert found.evaluator is not None
        assert found.evaluator.top == tmp_path


def test_nothing_is_started_without_settings_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with expected(tmp_path) as found:
        assert found == Children()
    (tmp_path / "lepton.toml").write_text(MODEL + 'variants = ["int8"]\n' + GATE)
    with expected(tmp_path) as found:
        assert found.builder is not None
        process = found.builder.take()
        assert process is not None
        assert found.builder.take() is None
        assert process.answer(b"").status == 0  # nobody asked for anything
        assert found.evaluator is not None
    assert found.evaluator.take() is None
