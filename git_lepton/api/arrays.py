"""Bytes of a tensor as an array of numpy or torch, and an array as such bytes.

Neither has all element types: those that numpy lacks are of `ml_dtypes`, and bytes go between numpy and torch as bytes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from git_lepton.errors import CorruptError, UsageError
from git_lepton.store.manifest import TensorLine
from git_lepton.values import DTYPES, NUMPY

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

_ML_DTYPES: Final = {
    "BF16": ("bfloat16", "<u2"),
    "F8_E4M3": ("float8_e4m3fn", "u1"),
    "F8_E5M2": ("float8_e5m2", "u1"),
    "F8_E8M0": ("float8_e8m0fnu", "u1"),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", "u1"),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", "u1"),
}
"""Element types that `ml_dtypes` has: its name, and the numpy type of the same width to fall back to."""

_TORCH: Final = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "C128": "complex128",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}

_DTYPE_OF_NUMPY: Final = {
    "bool": "BOOL",
    **{f"{kind}int{bits}": f"{letter}{bits}" for kind, letter in (("u", "U"), ("", "I")) for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    "complex64": "C64",
    "complex128": "C128",
    **{name: dtype for dtype, (name, _) in _ML_DTYPES.items()},
}
"""Numpy's (and ml_dtypes') names of element types to those of safetensors."""


def width(line: TensorLine) -> int | None:
    """Bytes of one element, or None where elements are not whole bytes or not known."""
    known = DTYPES.get(line.dtype)
    return None if known is None or known.bits % 8 else known.bits // 8


def numpy_array(line: TensorLine, data: bytes, shape: tuple[int, ...]) -> Array:
    """The array over a copy of `data`, so that it can be written to.

    Raises:
        CorruptError: `data` is not as long as the shape needs.
    """
    import numpy as np

    if line.dtype in NUMPY:
        dtype = np.dtype(NUMPY[line.dtype])
    elif line.dtype in _ML_DTYPES:
        dtype = _ml_dtype(*_ML_DTYPES[line.dtype])
    else:
        return np.frombuffer(bytearray(data), np.uint8)
    return np.frombuffer(bytearray(data), dtype).reshape(_checked(line, len(data), dtype.itemsize, shape))


def _ml_dtype(name: str, fallback: str) -> numpy.dtype[Any]:
    import numpy as np

    try:
        import ml_dtypes
    except ImportError:
        return np.dtype(fallback)
    # Versions before 0.5 lack the youngest of the types.
    return np.dtype(getattr(ml_dtypes, name, fallback))


def torch_tensor(line: TensorLine, data: bytes, shape: tuple[int, ...]) -> Any:
    """The tensor over a copy of `data`.

    Raises:
        UsageError: torch is not there, or lacks the type.
        CorruptError: `data` is not as long as the shape needs.
    """
    try:
        import torch
    except ImportError as error:
        raise UsageError("framework 'pt' needs torch, which is not installed", hint="pip install torch") from error
    dtype = getattr(torch, _TORCH.get(line.dtype, "uint8"), None)
    if dtype is None:
        raise UsageError(f"this torch has no type for {line.dtype}", hint="use a newer torch, or framework 'np'")
    if not data:
        return torch.empty(shape if line.dtype in _TORCH else (0,), dtype=dtype)
    flat = torch.frombuffer(bytearray(data), dtype=dtype)
    if line.dtype not in _TORCH:
        return flat
    return flat.reshape(_checked(line, len(data), flat.element_size(), shape))


def _checked(line: TensorLine, length: int, width: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    if math.prod(shape) * width != length:
        raise CorruptError(f"tensor {line.name!r} is stored with {length} bytes, which is not what its shape needs")
    return shape


def as_stored(name: str, value: Any) -> tuple[str, Array]:
    """Element type of an array or tensor, and its elements in the byte order of weight files.

    Raises:
        UsageError: safetensors does not have its type.
    """
    import numpy as np

    if hasattr(value, "detach"):
        dtype, value = _of_torch(value)
    else:
        dtype = _DTYPE_OF_NUMPY.get(np.asarray(value).dtype.newbyteorder("=").name)
    array = np.ascontiguousarray(value).reshape(np.shape(value))
    if dtype is None:
        raise UsageError(f"tensor {name!r} has type {array.dtype}, which safetensors does not have")
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return dtype, array


def _of_torch(value: Any) -> tuple[str | None, Array]:
    """Element type and bytes of a torch tensor; the bytes go through uint8, for torch has types that numpy lacks."""
    import torch

    names = {torch_name: dtype for dtype, torch_name in _TORCH.items()}
    dtype = names.get(str(value.dtype).removeprefix("torch."))
    tensor = value.detach().cpu().contiguous()
    raw = tensor.reshape(-1).view(torch.uint8).numpy()
    width = tensor.element_size()
    return dtype, raw.view(f"V{width}").reshape(tuple(tensor.shape))
