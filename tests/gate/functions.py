"""Functions that rules in the gate's tests name."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def absolute(truth: Array, outputs: Array) -> Array:
    each: Array = np.abs(truth - outputs)
    return each


def matrix(truth: Array, outputs: Array) -> Array:
    return np.zeros((2, 2))


def largest(truth: Array, outputs: Array) -> float:
    return float(np.abs(truth - outputs).max())
