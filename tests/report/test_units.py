from __future__ import annotations

import pytest

from git_lepton.report.units import counted, shape, share, size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (10_230, "9.99 KiB"),
        (10_240, "10.0 KiB"),
        (102_400, "100 KiB"),
        (1_048_575, "1024 KiB"),
        (90_868_376, "86.7 MiB"),
        (1 << 30, "1.00 GiB"),
        (3 << 60, "3.00 EiB"),
    ],
)
def test_size(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 0, "-"), (0, 5, "0 %"), (1, 2, "50 %"), (1, 40, "2.5 %"), (1, 10_000, "0.01 %"), (3, 2, "150 %")],
)
def test_share(part: int, whole: int, text: str) -> None:
    assert share(part, whole) == text


def test_counted() -> None:
    assert counted(1, "file") == "1 file"
    assert counted(12_000, "file") == "12,000 files"
    assert counted(2, "copy", "copies") == "2 copies"


def test_shape() -> None:
    assert shape(()) == "[]"
    assert shape((512, 384)) == "[512,384]"
