"""A repository's models, read tensor by tensor, and written."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from blake3 import blake3

from git_lepton.api.arrays import numpy_array, torch_tensor, width
from git_lepton.api.writing import Entry, write_safetensors
from git_lepton.closing import Closing
from git_lepton.errors import UsageError
from git_lepton.formats import safetensors
from git_lepton.git.repo import Repo, discover
from git_lepton.progress import Progress
from git_lepton.store import tracked
from git_lepton.store.manifest import Manifest, TensorLine
from git_lepton.store.store import Store
from git_lepton.transfer import fetch
from git_lepton.values import Hash

_FRAMEWORKS: Final = ("np", "pt")
_EMPTY: Final = Hash(blake3(b"").hexdigest())


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
        entries = [Entry.of_array(name, array) for name, array in tensors.items()]
        target.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(target, entries, metadata)
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
            FormatError: there is none.
        """
        if self.manifest.format != "safetensors":
            return {}
        head = self._bytes(self.manifest.other_hash, 0, safetensors.MAX_HEAD)
        return safetensors.read_metadata(head)

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
        entries = [Entry.of_line(line, partial(self._bytes, line.hash)) for line in lines]
        write_safetensors(target, entries, self.metadata())
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
            return torch_tensor(line, data, shape)
        return numpy_array(line, data, shape)

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
        element = width(line)
        if element is None:
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
        row_bytes = element * math.prod(line.shape[1:])
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
