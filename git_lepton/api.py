"""The Python API: tensors of any revision, read without restoring the file.

    import git_lepton

    with git_lepton.open("path/to/repository") as repository:
        model = repository.model("model.safetensors", rev="v1.2")
        model.keys()
        model.get_tensor("embeddings.weight")          # a numpy array
        model.get_slice("embeddings.weight")[:10]      # reads only the chunks that hold these rows
        repository.save("model.safetensors", {"embeddings.weight": array})

The verbs are those of `safetensors.safe_open`, for every format whose tensors git-lepton knows. A tensor whose chunks
are not in the repository is fetched from the remote, alone. Element types that numpy lacks (bfloat16 and the 8-bit
floats) come as the types of the package `ml_dtypes` where it is installed, else as unsigned integers of the same
width; types that are packed below a byte, or that only their own format knows, come as a flat array of bytes.

All errors are kinds of `git_lepton.errors.LeptonError`.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from blake3 import blake3

from git_lepton import atomic
from git_lepton.closing import Closing
from git_lepton.errors import CorruptError, UsageError
from git_lepton.git.repo import Repo, discover
from git_lepton.progress import Progress
from git_lepton.store import tracked
from git_lepton.store.manifest import Manifest, TensorLine
from git_lepton.store.store import Store
from git_lepton.transfer import fetch
from git_lepton.values import DTYPES, NUMPY, Hash

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

_FRAMEWORKS: Final = ("np", "pt")
_EMPTY: Final = Hash(blake3(b"").hexdigest())
_METADATA: Final = "__metadata__"
_ALIGNMENT: Final = 8
_LENGTH: Final = struct.Struct("<Q")
_HEADER_CAP: Final = 100_000_000


def open_repository(path: str | os.PathLike[str] = ".", *, progress: Progress | None = None) -> Repository:
    """Open the repository that `path` lies in; `git_lepton.open` is this function.

    Args:
        path: a repository, bare or not, or anything inside one.
        progress: told about bytes that are fetched; nothing by default.

    Raises:
        UsageError: there is no git repository.
    """
    return Repository(discover(Path(path)), progress=progress)


class Repository(Closing):
    """A git repository whose weights git-lepton keeps. A context manager; to be used from one thread."""

    def __init__(self, repo: Repo, *, progress: Progress | None = None) -> None:
        self.repo = repo
        self._store = Store(repo, progress=progress)

    def model(self, path: str | os.PathLike[str], rev: str = "HEAD", *, framework: str = "np") -> Model:
        """A weight file of a revision.

        Args:
            path: from the top of the work tree, with `/`.
            rev: a commit, tag, branch or tree; "" is what is staged.
            framework: "np" for numpy arrays, "pt" for torch tensors.

        Raises:
            UsageError: no such revision or file, it is not kept by git-lepton, or the framework is not there.
            ManifestError: what is committed there begins like a manifest and is none.
        """
        if framework not in _FRAMEWORKS:
            raise UsageError(f"unknown framework {framework!r}", hint="np or pt")
        name = os.fspath(path).replace(os.sep, "/")
        return Model(self._store, name, tracked.manifest_at(self.repo, self._store.objects, rev, name), framework)

    def models(self, rev: str = "HEAD") -> list[str]:
        """Paths of all weight files of a revision that git-lepton keeps, sorted."""
        return sorted(file.path for file in tracked.files_at(self.repo, self._store.objects, rev).files)

    def save(
        self, path: str | os.PathLike[str], tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None
    ) -> Path:
        """Write tensors to a safetensors file in the work tree, whole or not at all; `git add` then stores it.

        Args:
            path: from the top of the work tree; its folder is made.
            tensors: name to numpy array or torch tensor, in the order in which they are to be stored.
            metadata: what goes under `__metadata__`.

        Returns:
            The file's path.

        Raises:
            UsageError: the repository is bare, the path leaves the work tree, or an array has no safetensors type.
        """
        if self.repo.work_tree is None:
            raise UsageError("the repository is bare: there is no work tree to save to")
        target = Path(os.path.normpath(self.repo.work_tree / path))
        if not target.is_relative_to(self.repo.work_tree):
            raise UsageError(f"{os.fspath(path)} lies outside the work tree")
        entries = [_Entry.of_array(name, array) for name, array in tensors.items()]
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_safetensors(target, entries, metadata)
        return target

    def close(self) -> None:
        """Release what is open; models of this repository can no longer be read."""
        self._store.close()


class Model:
    """One weight file of one revision: the verbs of `safetensors.safe_open`.

    Attributes:
        path: where it lies, from the top of the work tree.
        manifest: what git tracks of it: format, size, hash, and a line for each tensor.
    """

    def __init__(self, store: Store, path: str, manifest: Manifest, framework: str = "np") -> None:
        self.path = path
        self.manifest = manifest
        self._store = store
        self._framework = framework
        self._lines = {line.name: line for line in manifest.tensors}

    def keys(self) -> list[str]:
        """Names of the tensors, in file order."""
        return list(self._lines)

    def offset_keys(self) -> list[str]:
        """The same as `keys`: names by offset in the file."""
        return self.keys()

    def metadata(self) -> dict[str, str]:
        """The `__metadata__` of a safetensors file; empty for other formats.

        Raises:
            MissingError: the file's header is not here and cannot be fetched.
        """
        if self.manifest.format != "safetensors":
            return {}
        other = self.manifest.other_hash
        (length,) = _LENGTH.unpack(self._bytes(other, 0, _LENGTH.size))
        header = json.loads(self._bytes(other, _LENGTH.size, _LENGTH.size + min(length, _HEADER_CAP)))
        return dict(header.get(_METADATA) or {})

    def get_tensor(self, name: str) -> Any:
        """A whole tensor, as an array of its shape (see the module's text for types that numpy lacks).

        Raises:
            UsageError: there is no such tensor.
            MissingError: its chunks are not here and cannot be fetched.
            CorruptError: what is stored is not what was added.
        """
        line = self._line(name)
        return self._array(line, self._bytes(line.hash), line.shape)

    def get_slice(self, name: str) -> Slice:
        """A tensor that is read when it is indexed: `get_slice(name)[10:20]`. Raises UsageError for an unknown name."""
        return Slice(self, self._line(name))

    def save(self, path: str | os.PathLike[str], names: Iterable[str] | None = None) -> Path:
        """Write the model to a file outside of git: byte for byte, or only some tensors as safetensors.

        Args:
            path: the file to write, whole or not at all.
            names: tensors for a safetensors file; None for the file itself.

        Raises:
            UsageError: an unknown name, or an element type that safetensors does not have.
            MissingError: chunks are not here and cannot be fetched.
        """
        target = Path(path)
        if names is None:
            fetch.bring_or_fail(self._store, {self.manifest.blake3: self.path})
            self._store.restore_file(self.manifest.blake3, target)
            return target
        lines = [self._line(name) for name in names]
        self._require(tuple(dict.fromkeys(line.hash for line in lines)))
        entries = [_Entry.of_line(line, partial(self._bytes, line.hash)) for line in lines]
        _write_safetensors(target, entries, self.metadata())
        return target

    def _line(self, name: str) -> TensorLine:
        line = self._lines.get(name)
        if line is None:
            raise UsageError(f"{self.path} has no tensor {name!r}", hint=f"it has {len(self._lines)}; see keys()")
        return line

    def _require(self, streams: tuple[Hash, ...]) -> None:
        """Have these streams here, fetching what is not."""
        wanted = [stream for stream in streams if stream != _EMPTY]
        fetch.bring_streams(self._store, self.manifest.blake3, wanted)

    def _bytes(self, stream: Hash, start: int = 0, stop: int | None = None) -> bytes:
        if stream == _EMPTY:
            return b""
        self._require((stream,))
        return self._store.read_stream(self.manifest.blake3, stream, start, stop)

    def _array(self, line: TensorLine, data: bytes, shape: tuple[int, ...]) -> Any:
        if self._framework == "pt":
            return _torch_tensor(line, data, shape)
        return _numpy_array(line, data, shape)

    def __contains__(self, name: object) -> bool:
        return name in self._lines

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to release: the repository holds what is open."""


class Slice:
    """A tensor that is read when it is indexed, and only the rows (of the first axis) that the index touches."""

    def __init__(self, model: Model, line: TensorLine) -> None:
        self._model = model
        self._line = line

    def get_shape(self) -> list[int]:
        """The tensor's shape."""
        return list(self._line.shape)

    def get_dtype(self) -> str:
        """The tensor's element type, as safetensors spells it."""
        return self._line.dtype

    def __getitem__(self, key: Any) -> Any:
        """Index as a numpy array is indexed: integers, slices, `...`, lists of integers.

        Raises:
            UsageError: the tensor is packed bytes of no shape of their own.
            IndexError: an integer is out of range.
        """
        line = self._line
        width = _width(line)
        if width is None:
            raise UsageError(
                f"tensor {line.name!r} of type {line.dtype} has no elements that numpy could index",
                hint="get_tensor gives its bytes",
            )
        keys = key if isinstance(key, tuple) else (key,)
        first = keys[0] if keys else ...
        if not line.shape or not isinstance(first, (int, slice)):
            return self._model.get_tensor(line.name)[key]
        rows = _rows(first, line.shape[0])
        start, stop = (min(rows), max(rows) + 1) if rows else (0, 0)
        row_bytes = width * math.prod(line.shape[1:])
        data = b""
        if start * row_bytes < stop * row_bytes:
            data = self._model._bytes(line.hash, start * row_bytes, stop * row_bytes)
        block = self._model._array(line, data, (stop - start, *line.shape[1:]))
        local = 0 if isinstance(first, int) else slice(None, None, rows.step)
        if rows.step > 0 or isinstance(first, int):
            return block[(local, *keys[1:])]
        # torch knows no negative steps; both know a list of rows.
        return block[list(range(len(block) - 1, -1, rows.step))][(slice(None), *keys[1:])]


def _rows(key: int | slice, count: int) -> range:
    if isinstance(key, slice):
        return range(*key.indices(count))
    row = key + count if key < 0 else key
    if not 0 <= row < count:
        raise IndexError(f"index {key} is out of range for an axis of {count}")
    return range(row, row + 1)


def _width(line: TensorLine) -> int | None:
    """Bytes of one element, or None where elements are not whole bytes or not known."""
    known = DTYPES.get(line.dtype)
    return None if known is None or known.bits % 8 else known.bits // 8


def _numpy_array(line: TensorLine, data: bytes, shape: tuple[int, ...]) -> Array:
    """The array over a copy of `data`, so that it can be written to."""
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


def _torch_tensor(line: TensorLine, data: bytes, shape: tuple[int, ...]) -> Any:
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


@dataclass(frozen=True, slots=True)
class _Entry:
    """A tensor on its way into a safetensors file; `data` gives its bytes when they are written."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    length: int
    data: Callable[[], bytes | memoryview]

    @staticmethod
    def of_line(line: TensorLine, data: Callable[[], bytes]) -> _Entry:
        known = DTYPES.get(line.dtype)
        if known is None:
            raise UsageError(
                f"tensor {line.name!r} has type {line.dtype}, which safetensors does not have",
                hint="export the whole file instead",
            )
        return _Entry(line.name, line.dtype, line.shape, math.prod(line.shape) * known.bits // 8, data)

    @staticmethod
    def of_array(name: str, value: Any) -> _Entry:
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
        return _Entry(name, dtype, array.shape, array.nbytes, lambda: array.reshape(-1).view(np.uint8).data)


def _of_torch(value: Any) -> tuple[str | None, Array]:
    """Element type and bytes of a torch tensor; the bytes go through uint8, for torch has types that numpy lacks."""
    import torch

    names = {torch_name: dtype for dtype, torch_name in _TORCH.items()}
    dtype = names.get(str(value.dtype).removeprefix("torch."))
    tensor = value.detach().cpu().contiguous()
    raw = tensor.reshape(-1).view(torch.uint8).numpy()
    width = tensor.element_size()
    return dtype, raw.view(f"V{width}").reshape(tuple(tensor.shape))


_DTYPE_OF_NUMPY: Final = {
    "bool": "BOOL",
    **{f"{kind}int{bits}": f"{letter}{bits}" for kind, letter in (("u", "U"), ("", "I")) for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    "complex64": "C64",
    "complex128": "C128",
    **{name: dtype for dtype, (name, _) in _ML_DTYPES.items()},
}
"""Numpy's (and ml_dtypes') names of element types to those of safetensors."""


def _write_safetensors(path: Path, entries: list[_Entry], metadata: Mapping[str, str] | None) -> None:
    """Write a safetensors file atomically, tensor by tensor, in the order given; the header is padded to 8 bytes."""
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    offset = 0
    for entry in entries:
        if entry.name in header or entry.name == _METADATA:
            raise UsageError(f"two tensors cannot both be named {entry.name!r}")
        offsets = [offset, offset + entry.length]
        header[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": offsets}
        offset += entry.length
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with atomic.writer(path) as stream:
        stream.write(_LENGTH.pack(len(text)))
        stream.write(text)
        for entry in entries:
            stream.write(entry.data())
