"""Arrays on disk: .npz and .safetensors in, .npz out with the same bytes for the same arrays."""

from __future__ import annotations

import mmap
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from git_lepton.errors import FormatError, UsageError
from git_lepton.formats import safetensors
from git_lepton.values import NUMPY

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_DTYPES: Final = {name: spelled for name, spelled in NUMPY.items() if not spelled.startswith("<c")}
"""Examples are real numbers."""


def read(path: Path) -> dict[str, Array]:
    """All arrays of a file, by name.

    Raises:
        FormatError: the file is damaged, or holds pickled objects.
        UsageError: it is neither .npz nor .safetensors, or holds numbers that numpy does not know.
        OSError: it cannot be read.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix == ".npz":
        return _read_npz(path)
    raise UsageError(f"{path.name}: data must be a .npz or .safetensors file")


def write(stream: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """Write a .npz, uncompressed and without times, in the order of the names."""
    import numpy as np

    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _EPOCH), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(arrays[name]), allow_pickle=False)


def _read_npz(path: Path) -> dict[str, Array]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise FormatError("npz", f"{path.name} is a single array")
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError, NotImplementedError) as error:
        if "allow_pickle" in str(error):
            raise FormatError(
                "npz", f"{path.name} holds Python objects; save texts as numpy.array(…, dtype=str)"
            ) from error
        raise FormatError("npz", f"{path.name}: {error}") from error


def _read_safetensors(path: Path) -> dict[str, Array]:
    import numpy as np

    with path.open("rb") as stream:
        if not path.stat().st_size:
            raise FormatError("safetensors", f"{path.name} is empty")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            found = {}
            for tensor in safetensors.parse(view).tensors:
                if tensor.dtype not in _DTYPES:
                    raise UsageError(f"{path.name}: {tensor.name} is {tensor.dtype}, which numpy does not know")
                flat = np.frombuffer(bytes(view[tensor.start : tensor.stop]), _DTYPES[tensor.dtype])
                found[tensor.name] = flat.reshape(tensor.shape)
    return found
