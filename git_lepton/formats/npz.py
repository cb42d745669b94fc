"""NumPy archives: a zip of .npy files, as `numpy.savez` writes them.

A stored member is located behind its .npy header (numpy/lib/format.py, versions 1 to 3), which is matched by a
grammar of what NumPy writes for plain arrays and never evaluated. Everything else stays other bytes: compressed
members, structured, string, date and object arrays. Arrays in Fortran order keep their shape, their bytes do not move.
"""

from __future__ import annotations

import re
from typing import Final

from git_lepton.errors import FormatError
from git_lepton.formats.base import build, byte_size, quoted
from git_lepton.formats.zipdir import Member, read_directory
from git_lepton.values import Layout, Tensor

FORMAT: Final = "npz"
SUFFIX: Final = ".npy"
MAX_HEADER: Final = 1 << 16  # bytes; a plain array needs under 200

_MAGIC: Final = b"\x93NUMPY"
_VALUE: Final = r"'[^'\\]*'|\"[^\"\\]*\"|True|False|\([0-9, ]*\)"
_PAIR: Final = rf"['\"](descr|fortran_order|shape)['\"]: *({_VALUE})"
_HEADER: Final = re.compile(rf"\{{ *{_PAIR}, *{_PAIR}, *{_PAIR},? *\}}[ \n]*")
_SHAPE: Final = re.compile(r"\( *(?:[0-9]{1,19}(?: *, *[0-9]{1,19})*(?: *,)?)? *\)")
_DESCR: Final = re.compile(r"['\"]([<>|=])([fiubcV])([0-9]{1,3})['\"]")
_KINDS: Final = {
    "f": {2: "F16", 4: "F32", 8: "F64"},
    "i": {1: "I8", 2: "I16", 4: "I32", 8: "I64"},
    "u": {1: "U8", 2: "U16", 4: "U32", 8: "U64"},
    "b": {1: "BOOL"},
    "c": {8: "C64", 16: "C128"},
}


def parse(data: memoryview) -> Layout:
    """Find the arrays of an .npz archive; see `base.Parser`. An array is named as `numpy.load` names it.

    Raises:
        FormatError: the archive or a .npy header is malformed, or an array is not as large as its header says.
    """
    tensors = []
    for member in read_directory(data):
        if member.stored and member.name.endswith(SUFFIX):
            tensor = _array(data, member)
            if tensor is not None:
                tensors.append(tensor)
    return build(FORMAT, len(data), tensors)


def _array(data: memoryview, member: Member) -> Tensor | None:
    """The tensor in a stored .npy member, or None when its elements are not plain numbers."""

    def refuse(reason: str) -> FormatError:
        return FormatError(FORMAT, f"member {quoted(member.name)} {reason}", offset=member.start)

    preamble = bytes(data[member.start : min(member.start + 12, member.stop)])
    if len(preamble) < 12 or not preamble.startswith(_MAGIC):
        raise refuse("is not an .npy file")
    major = preamble[6]
    if major not in (1, 2, 3) or preamble[7] != 0:
        raise refuse(f"is of the unknown .npy version {major}.{preamble[7]}")
    length_size = 2 if major == 1 else 4
    header_at = member.start + 8 + length_size
    length = int.from_bytes(preamble[8 : 8 + length_size], "little")
    if length > MAX_HEADER or length > member.stop - header_at:
        raise refuse(f"has a header of {length} bytes")
    start = header_at + length
    match = _HEADER.fullmatch(bytes(data[header_at:start]).decode("latin-1"))
    if match is None:
        return None
    fields = dict(zip(match.group(1, 3, 5), match.group(2, 4, 6), strict=True))
    if len(fields) != 3 or not _SHAPE.fullmatch(fields["shape"]) or fields["fortran_order"] not in ("True", "False"):
        return None
    dtype = _dtype(fields["descr"])
    if dtype is None:
        return None
    shape = tuple(int(d) for d in re.findall("[0-9]+", fields["shape"]))
    width_of = dtype.removesuffix("_BE")
    size = byte_size(width_of, shape)
    if size is not None and size != member.stop - start:
        raise refuse(f"has {member.stop - start} bytes of elements where its header tells {size}")
    return Tensor(member.name.removesuffix(SUFFIX), dtype, shape, start, member.stop)


def _dtype(descr: str) -> str | None:
    """Our name of a NumPy type string; big-endian ones are opaque, and so are raw ones (`V2`: bfloat16, say)."""
    match = _DESCR.fullmatch(descr)
    if match is None:
        return None
    order, kind, width = match.group(1), match.group(2), int(match.group(3))
    if kind == "V":
        return f"V{width}"
    name = _KINDS[kind].get(width)
    if name is None or order == "=":
        return None
    return f"{name}_BE" if order == ">" and width > 1 else name
