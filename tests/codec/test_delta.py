"""Differences from a prediction: exact for any bits, small for near floats, casts as everybody rounds."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from git_lepton.codec.delta import predict, predictable, residual, restore
from git_lepton.codec.planes import UNSIGNED, width_of

FLOATS = ("F32", "BF16", "F16", "F64")
NUMPY = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "BF16": ml_dtypes.bfloat16}


def bits(values: NDArray[np.floating] | list[float], dtype: str) -> NDArray[np.unsignedinteger]:
    array = np.asarray(values, np.float64)
    with np.errstate(all="ignore"):
        return array.astype(np.float32).astype(NUMPY[dtype]).view(UNSIGNED[width_of(dtype)])


@given(st.binary(max_size=256), st.binary(max_size=256), st.sampled_from([1, 2, 4, 8]), st.booleans())
@settings(deadline=None, max_examples=50)
def test_any_bits_return_from_any_prediction(data: bytes, guess: bytes, width: int, floats: bool) -> None:
    count = min(len(data), len(guess)) // width
    elements, predicted = (np.frombuffer(each, UNSIGNED[width], count) for each in (data, guess))
    out = np.empty_like(elements)
    restore(residual(elements, predicted, floats=floats).copy(), predicted, floats=floats, out=out)
    assert np.array_equal(out, elements)


def test_equal_elements_leave_the_centre() -> None:
    elements = np.arange(100, dtype=np.uint32)
    assert set(residual(elements, elements.copy(), floats=True).tolist()) == {0x80808080}


def test_residuals_count_floats_between() -> None:
    here = np.array([1.0, -1.0, 0.0, -0.0, np.inf], np.float32)
    there = np.nextafter(here, np.float32(np.inf))
    there[2] = np.float32(0.0)
    found = residual(there.view("<u4"), here.view("<u4"), floats=True) - np.uint32(0x80808080)
    assert found.view("<i4").tolist() == [1, 1, 0, 2, 0]


def test_integers_subtract_and_wrap() -> None:
    here, there = np.array([0, 5, 255], np.uint8), np.array([255, 7, 0], np.uint8)
    assert residual(there, here, floats=False).tolist() == [0x7F, 0x82, 0x81]


def test_what_can_be_predicted() -> None:
    assert all(predictable(a, b) for a in FLOATS for b in FLOATS)
    assert all(predictable(name, name) for name in ("I8", "U8", "BOOL", "I64", "F8_E4M3"))
    for pair in (("I8", "U8"), ("F32", "I32"), ("F8_E4M3", "F32"), ("C64", "C64"), ("Q4_0", "Q4_0"), ("X", "Y")):
        assert not predictable(*pair)


VALUES = np.concatenate(
    [
        np.random.default_rng(1).standard_normal(2000) * 0.02,
        2.0 ** np.arange(-160, 130),
        -(2.0 ** np.arange(-30, 20)) * 1.3,
        [0.0, -0.0, 65504, 65519.9, 65520, 1e9, 3.4e38, 2.9802322e-08, 2.9802326e-08, 6.1e-5],
    ]
)


@pytest.mark.parametrize(
    ("source", "target"),
    [("F32", "BF16"), ("F32", "F16"), ("BF16", "F32"), ("F16", "F32"), ("F16", "BF16"), ("BF16", "F16")],
)
def test_casts_are_those_of_numpy(source: str, target: str) -> None:
    given_bits = bits(VALUES, source)
    with np.errstate(all="ignore"):
        values = given_bits.view(NUMPY[source]).astype(np.float32).astype(NUMPY[target])
    predicted = predict(given_bits, source, target, given_bits.size)
    assert np.array_equal(predicted, values.view(predicted.dtype))


@pytest.mark.parametrize(("source", "target"), [("F64", "F32"), ("F32", "F64")])
def test_casts_of_float64_are_those_of_numpy_for_normal_numbers(source: str, target: str) -> None:
    values = VALUES[(np.abs(VALUES) >= 2.0**-126) & (np.abs(VALUES) < 2.0**127)]
    values = values.astype(NUMPY[source])
    predicted = predict(values.view(UNSIGNED[width_of(source)]), source, target, values.size)
    assert np.array_equal(predicted.view(NUMPY[target]), values.astype(NUMPY[target]))


@pytest.mark.parametrize("target", FLOATS)
@pytest.mark.parametrize("source", FLOATS)
def test_any_bits_can_be_cast(source: str, target: str) -> None:
    width = width_of(source)
    given_bits = np.frombuffer(np.random.default_rng(2).bytes(8000 * width), UNSIGNED[width])
    assert predict(given_bits, source, target, 8000).dtype == np.dtype(UNSIGNED[width_of(target)])


def test_nans_become_one_constant() -> None:
    halves = np.array([0x7C01, 0x7E00, 0xFFFF], np.uint16)
    assert set(predict(halves, "F16", "F32", 3).tolist()) == {0x7FC00000}
    singles = np.array([0x7F800001, 0x7FC00000, 0xFFFFFFFF], np.uint32)
    assert set(predict(singles, "F32", "F16", 3).tolist()) == {0x7E00}


def test_behind_the_end_of_the_base_zero_is_predicted() -> None:
    assert predict(bits([1.0], "F32"), "F32", "F32", 3).tolist() == [0x3F800000, 0, 0]
    assert predict(bits([1.0], "F32"), "F32", "BF16", 3).tolist() == [0x3F80, 0, 0]
