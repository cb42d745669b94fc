"""What every parser of a weight file promises, and the check that holds it to that.

A parser is a function from the bytes of a file to a `Layout`: no I/O, no state, no tensor decoded, nothing copied but
headers. It is total: any bytes either give a valid layout or raise `FormatError`, which names the offender. The
layout is a pure function of the bytes, so no rule here may depend on a library's version, a recursion limit or the
machine. Bytes that no tensor claims are *other* bytes and are kept as they are, so a parser may leave out whatever it
does not understand; it may never claim a byte twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, Protocol

from git_lepton.errors import FormatError
from git_lepton.values import DTYPES, Layout, Tensor

MAX_TENSORS: Final = 1_000_000
MAX_NAME: Final = 16 << 10  # bytes of a name in UTF-8
MAX_RANK: Final = 64
MAX_DIMENSION: Final = (1 << 63) - 1
MAX_TEXT: Final = 240 << 20  # bytes of manifest text that all tensors may need, names escaped at their worst

BYTES: Final = "BYTES"
"""The dtype of a tensor whose element type is unknown or does not fit its size; its shape is its length in bytes."""

_ESCAPE_FACTOR: Final = 4  # `\x00` for one byte
_LINE_OVERHEAD: Final = 120  # keyword, dtype, hash and separators
_DIMENSION_DIGITS: Final = 20
_DTYPE_FIRST: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_DTYPE_REST: Final = _DTYPE_FIRST | {"_"}


class Parser(Protocol):
    """Finds the tensors in the bytes of one file."""

    def __call__(self, data: memoryview) -> Layout:
        """Divide `data`, one byte an item, into tensors.

        Raises:
            FormatError: the bytes are not of this format; nothing else for any input.
        """


class Names:
    """Makes names unique: a name that came before gets `#2`, `#3` … in the order of the calls."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._last: dict[str, int] = {}

    def unique(self, name: str) -> str:
        """Return `name`, or the first free `name#N`."""
        candidate = name
        while candidate in self._seen:
            self._last[name] = self._last.get(name, 1) + 1
            candidate = f"{name}#{self._last[name]}"
        self._seen.add(candidate)
        return candidate


def quoted(name: str) -> str:
    """A name for an error message: with quotes, escaped, and cut when it is long."""
    return repr(name if len(name) <= 100 else name[:99] + "…")


def byte_size(dtype: str, shape: Iterable[int]) -> int | None:
    """Bytes of a tensor whose elements lie without gaps (a last partial byte counts whole); None when opaque."""
    known = DTYPES.get(dtype)
    return None if known is None else (math.prod(shape) * known.bits + 7) // 8


def typed(name: str, dtype: str, shape: tuple[int, ...], start: int, stop: int) -> Tensor:
    """Return a tensor of this type, or one of `BYTES` when its shape is impossible or does not fit its size."""
    possible = len(shape) <= MAX_RANK and all(0 <= d <= MAX_DIMENSION for d in shape)
    if possible and byte_size(dtype, shape) in (None, stop - start):
        return Tensor(name, dtype, shape, start, stop)
    return Tensor(name, BYTES, (stop - start,), start, stop)


def build(fmt: str, size: int, tensors: Iterable[Tensor]) -> Layout:
    """Sort the tensors into file order (those of no bytes keep their order) and check the whole.

    Raises:
        FormatError: see `validate_layout`.
    """
    layout = Layout(fmt, size, tuple(sorted(tensors, key=lambda t: (t.start, t.stop))))
    validate_layout(layout)
    return layout


def validate_layout(layout: Layout) -> None:
    """Check everything that readers of a layout rely on.

    Tensors are in file order, inside the file, disjoint and uniquely named; sizes match dtype and shape where the
    width of the dtype is known; a manifest of them stays readable; cuts ascend within the file.

    Raises:
        FormatError: naming the first tensor that breaks a rule.
    """
    fmt = layout.format
    if len(layout.tensors) > MAX_TENSORS:
        raise FormatError(fmt, f"{len(layout.tensors)} tensors are more than {MAX_TENSORS}")
    names: set[str] = set()
    previous = 0, 0
    text = 0
    for tensor in layout.tensors:
        _validate_tensor(fmt, tensor)
        if (tensor.start, tensor.stop) < previous or tensor.start < previous[1]:
            raise FormatError(fmt, f"tensor {quoted(tensor.name)} overlaps the one before it", offset=tensor.start)
        if tensor.stop > layout.size:
            raise FormatError(fmt, f"tensor {quoted(tensor.name)} ends after the file", offset=tensor.start)
        if tensor.name in names:
            raise FormatError(fmt, f"two tensors are named {quoted(tensor.name)}", offset=tensor.start)
        names.add(tensor.name)
        previous = tensor.start, tensor.stop
        text += _LINE_OVERHEAD + _DIMENSION_DIGITS * len(tensor.shape) + _ESCAPE_FACTOR * _name_size(tensor.name)
    if text > MAX_TEXT:
        raise FormatError(fmt, f"names and shapes of the tensors need more than {MAX_TEXT} bytes of text")
    if list(layout.cuts) != sorted(set(layout.cuts)) or not all(0 < cut < layout.size for cut in layout.cuts):
        raise FormatError(fmt, "the cut hints do not ascend within the file")


def _validate_tensor(fmt: str, tensor: Tensor) -> None:
    if _name_size(tensor.name) > MAX_NAME:
        raise FormatError(fmt, f"the tensor name {quoted(tensor.name)} is longer than {MAX_NAME} bytes")
    if not 0 <= tensor.start <= tensor.stop:
        raise FormatError(fmt, f"tensor {quoted(tensor.name)} ends before it begins", offset=tensor.start)
    dtype = tensor.dtype
    if not 0 < len(dtype) <= 32 or dtype[0] not in _DTYPE_FIRST or not _DTYPE_REST.issuperset(dtype):
        raise FormatError(fmt, f"tensor {quoted(tensor.name)} has the impossible dtype {dtype!r}", offset=tensor.start)
    if len(tensor.shape) > MAX_RANK or not all(0 <= d <= MAX_DIMENSION for d in tensor.shape):
        raise FormatError(fmt, f"tensor {quoted(tensor.name)} has an impossible shape", offset=tensor.start)
    if byte_size(dtype, tensor.shape) not in (None, tensor.stop - tensor.start):
        size = tensor.stop - tensor.start
        reason = f"tensor {quoted(tensor.name)} has {size} bytes, which is not its shape times its dtype"
        raise FormatError(fmt, reason, offset=tensor.start)


def _name_size(name: str) -> int:
    return len(name) if name.isascii() else len(name.encode("utf-8", "surrogatepass"))
