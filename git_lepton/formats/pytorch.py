"""PyTorch checkpoints and TorchScript modules: zips whose members `data/<key>` are the storages of tensors.

One stored member is one tensor here, since a storage is what has bytes; nothing is ever unpickled. A symbolic
reading of `data.pkl` (`torchpickle`) tells element types, and a storage that a single dense tensor fills takes that
tensor's path and shape. Any other storage (views into it, a pickle that we cannot follow) is named by its member, and
its shape is its length. Compressed members and all else (code, the pickles, `version`) are other bytes.

Files of PyTorch before 1.6 are bare pickles: those are refused.
"""

from __future__ import annotations

from typing import Final

from git_lepton.errors import FormatError
from git_lepton.formats.base import BYTES, MAX_NAME, Names, build, byte_size, typed
from git_lepton.formats.torchpickle import View, read_views
from git_lepton.formats.zipdir import Member, looks_like, read_directory
from git_lepton.values import DTYPES, Layout, Tensor

FORMAT: Final = "pytorch"
PICKLE: Final = "data.pkl"
MAX_PICKLE: Final = 128 << 20  # bytes; larger ones are not read for names

_CONSTANTS: Final = "constants.pkl"  # TorchScript only
_FOLDERS: Final = {PICKLE: "data/", _CONSTANTS: "constants/"}


def archive_root(members: tuple[Member, ...]) -> str | None:
    """The folder, with its slash, that holds `data.pkl`; None when this is no PyTorch archive."""
    for member in members:
        folder, _, base = member.name.rpartition("/")
        if base == PICKLE:
            return f"{folder}/" if folder else ""
    return None


def parse(data: memoryview) -> Layout:
    """Find the storages of a PyTorch archive; see `base.Parser`.

    Raises:
        FormatError: the archive is malformed, or holds no `data.pkl`.
    """
    if not looks_like(data):
        raise FormatError(FORMAT, "it is no zip archive, perhaps a pickle of PyTorch before 1.6", offset=0)
    members = read_directory(data)
    root = archive_root(members)
    if root is None:
        raise FormatError(FORMAT, f"the archive holds no {PICKLE}")
    by_name = {member.name: member for member in members}
    big_endian = _content(data, by_name.get(f"{root}byteorder")) == b"big"
    names = Names()
    tensors = []
    for pickle, folder in _FOLDERS.items():
        views = _views(_content(data, by_name.get(root + pickle)))
        prefix = root + folder
        for member in members:
            if member.stored and member.name.startswith(prefix) and not member.name.endswith("/"):
                key = member.name.removeprefix(prefix)
                tensors.append(_tensor(member, folder + key, views.get(key, []), names, big_endian=big_endian))
    return build(FORMAT, len(data), tensors)


def _content(data: memoryview, member: Member | None) -> bytes:
    """The bytes of a small stored member; empty when it cannot be read."""
    if member is None or not member.stored or member.stop - member.start > MAX_PICKLE:
        return b""
    return bytes(data[member.start : member.stop])


def _views(pickle: bytes) -> dict[str, list[View]]:
    """The tensors of a pickle by storage. One that we cannot follow has none: names are a courtesy, bytes are not."""
    found: dict[str, list[View]] = {}
    try:
        for view in read_views(pickle):
            found.setdefault(view.key, []).append(view)
    except FormatError:
        return {}
    return found


def _tensor(member: Member, default: str, views: list[View], names: Names, *, big_endian: bool) -> Tensor:
    """The storage in `member`, named and shaped by the first view that fills it, else by `default`."""
    size = member.stop - member.start
    dtypes = {view.dtype for view in views}
    dtype = dtypes.pop() if len(dtypes) == 1 else None
    if dtype is None or size * 8 % DTYPES[dtype].bits:
        return Tensor(names.unique(default), BYTES, (size,), member.start, member.stop)
    filling = next((v for v in views if v.offset == 0 and byte_size(dtype, v.shape) == size and v.path), None)
    name = default
    shape: tuple[int, ...] = (size * 8 // DTYPES[dtype].bits,)
    if filling is not None:
        name = filling.path if len(filling.path) <= MAX_NAME // 4 else default
        shape = filling.shape if filling.dense else shape
    opaque = big_endian and DTYPES[dtype].bits > 8
    return typed(names.unique(name), f"{dtype}_BE" if opaque else dtype, shape, member.start, member.stop)
