from __future__ import annotations

import pytest

from git_lepton.errors import FormatError
from git_lepton.formats.base import (
    MAX_NAME,
    MAX_RANK,
    MAX_TENSORS,
    MAX_TEXT,
    Names,
    build,
    byte_size,
    typed,
    validate_layout,
)
from git_lepton.values import Layout, Tensor


def f32(name: str, start: int, stop: int) -> Tensor:
    return Tensor(name, "F32", ((stop - start) // 4,), start, stop)


def test_build_sorts_and_keeps_the_order_of_empty_tensors() -> None:
    tensors = [f32("c", 8, 12), f32("z", 4, 4), f32("a", 4, 4), f32("b", 0, 4), f32("d", 4, 8)]
    assert [t.name for t in build("x", 12, tensors).tensors] == ["b", "z", "a", "d", "c"]


@pytest.mark.parametrize(
    ("layout", "reason"),
    [
        (Layout("x", 8, (f32("b", 4, 8), f32("a", 0, 4))), "overlaps"),
        (Layout("x", 8, (f32("a", 0, 8), f32("b", 4, 4))), "overlaps"),
        (Layout("x", 8, (f32("a", 0, 8), f32("b", 4, 8))), "overlaps"),
        (Layout("x", 7, (f32("a", 0, 8),)), "ends after the file"),
        (Layout("x", 8, (f32("a", 0, 4), f32("a", 4, 8))), "are named 'a'"),
        (Layout("x", 8, (Tensor("a", "F32", (1,), 8, 4),)), "ends before it begins"),
        (Layout("x", 8, (Tensor("a", "F32", (1,), -4, 0),)), "ends before it begins"),
        (Layout("x", 8, (Tensor("a", "F32", (3,), 0, 8),)), "its shape times its dtype"),
        (Layout("x", 8, (Tensor("a", "F32", (-1,), 0, 8),)), "impossible shape"),
        (Layout("x", 8, (Tensor("a", "Q9", (1 << 63,), 0, 8),)), "impossible shape"),
        (Layout("x", 8, (Tensor("a", "Q9", (1,) * (MAX_RANK + 1), 0, 8),)), "impossible shape"),
        (Layout("x", 8, (Tensor("a", "f32", (2,), 0, 8),)), "impossible dtype"),
        (Layout("x", 8, (Tensor("a", "_F", (2,), 0, 8),)), "impossible dtype"),
        (Layout("x", 8, (Tensor("a", "", (2,), 0, 8),)), "impossible dtype"),
        (Layout("x", 8, (Tensor("é" * MAX_NAME, "Q9", (2,), 0, 8),)), "longer than"),
        (Layout("x", 8, (), cuts=(4, 2)), "cut hints"),
        (Layout("x", 8, (), cuts=(4, 4)), "cut hints"),
        (Layout("x", 8, (), cuts=(8,)), "cut hints"),
    ],
)
def test_broken_layouts_are_refused(layout: Layout, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        validate_layout(layout)


def test_limits_on_the_whole() -> None:
    tensor = f32("a", 0, 0)
    with pytest.raises(FormatError, match="more than"):
        validate_layout(Layout("x", 0, (tensor,) * (MAX_TENSORS + 1)))
    long = MAX_NAME - 8
    many = tuple(f32(f"{n:08}".ljust(long, "x"), 0, 0) for n in range(MAX_TEXT // (4 * long) + 1))
    with pytest.raises(FormatError, match="bytes of text"):
        validate_layout(Layout("x", 0, many))


def test_names_become_unique_without_taking_a_name_that_is_there() -> None:
    names = Names()
    assert [names.unique(n) for n in ("a", "a#2", "a", "a", "b")] == ["a", "a#2", "a#3", "a#4", "b"]


def test_byte_size_and_typed() -> None:
    assert byte_size("F4", (3,)) == 2
    assert byte_size("F64", ()) == 8
    assert byte_size("Q4_K", (256,)) is None
    assert typed("t", "I4", (3,), 10, 12) == Tensor("t", "I4", (3,), 10, 12)
    assert typed("t", "I4", (5,), 10, 12) == Tensor("t", "BYTES", (2,), 10, 12)
    assert typed("t", "Q4_K", (-1,), 10, 12) == Tensor("t", "BYTES", (2,), 10, 12)
