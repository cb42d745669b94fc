"""Versions that records name are found by whoever pushes or prunes."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.store.named import is_record, versions_in

GOLDEN = Path(__file__).parents[1] / "golden/record-1.toml"


def test_variants_and_golden_examples_are_named_and_the_model_is_not() -> None:
    assert dict(versions_in(GOLDEN.read_bytes())) == {"c" * 64: 170_000, "e" * 64: 100}
    assert is_record(b".lepton/records/digits.toml")
    assert not is_record(b"lepton.toml")


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=64), st.integers(0, 4000), st.integers(0, 40))
def test_any_text_names_some_or_none(noise: bytes, at: int, cut: int) -> None:
    text = GOLDEN.read_bytes()
    versions_in(text[:at] + noise + text[at + cut :])
    versions_in(b'golden = 3\n[[variant]]\nfiles = "x"\n[[variant]]\nfiles = [1]\n')
    assert versions_in(b"variant = 1\n") == ()
