"""What a file is by its bytes: content that runs code when it is loaded, and graphs that point out of their folder.

Names say nothing: a pickle may be called `.onnx`. So every file of a release is looked at before it is put in place.
Refused are pickles (bare, in a PyTorch archive, as objects in NumPy files) and Keras/HDF5 files, which may hold code,
unless agent.toml allows them; and always an ONNX graph whose external data lie outside the release.
"""

from __future__ import annotations

import mmap
import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from git_lepton.agent.verify import refused
from git_lepton.errors import FormatError
from git_lepton.formats import detect, external_references
from git_lepton.record.bundle import Bundle

_PICKLE: Final = re.compile(rb"\x80[\x02-\x05]")
_TEXT_PICKLE: Final = re.compile(rb"c[\w.]+\n[\w.]+\n")
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_NUMPY: Final = b"\x93NUMPY"
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_HEADER: Final = 1 << 16


def check_files(folder: Path, bundle: Bundle, *, allow_pickle: bool) -> None:
    """Look at every file of a bundle that lies in `folder`.

    Raises:
        VerificationError: reason "format" for code, "path" for a graph that points out of the folder.
    """
    for file in bundle.files:
        path = folder / file.path
        if file.size:
            _check_file(path, file.path, bundle, allow_pickle)


def _check_file(path: Path, name: str, bundle: Bundle, allow_pickle: bool) -> None:
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        view = memoryview(mapped)
        try:
            code = None if allow_pickle else _code_in(view, path)
            kind = detect(view, name)
            if kind == "onnx":
                _check_graph(view, name, bundle)
        finally:
            view.release()
    if code is not None:
        raise refused("format", f"{name} is {code}, which runs code when it is loaded")


def _code_in(view: memoryview, path: Path) -> str | None:
    """What kind of code the file holds, or None."""
    head = bytes(view[:_HEADER])
    if (_PICKLE.match(head) and bytes(view[-1:]) == b".") or _TEXT_PICKLE.match(head):
        return "a pickle"
    if head.startswith(_HDF5):
        return "an HDF5 file"
    if head.startswith(_NUMPY):
        return "a NumPy array of objects" if _has_objects(head) else None
    if head.startswith(_ZIP):
        return _code_in_zip(path)
    return None


def _code_in_zip(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as stream:
                    head = stream.read(_HEADER)
                if _PICKLE.match(head) or _TEXT_PICKLE.match(head):
                    return "an archive with a pickle"
                if head.startswith(_HDF5):
                    return "an archive with an HDF5 file"
                if head.startswith(_NUMPY) and _has_objects(head):
                    return "an archive with an array of objects"
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, ValueError):
        return "an archive that cannot be looked into"
    return None


def _has_objects(head: bytes) -> bool:
    """Whether the header of a .npy describes Python objects, or cannot be understood."""
    found = re.search(rb"""['"]descr['"]\s*:\s*(.*?)['"]fortran_order""", head, re.DOTALL)
    return found is None or b"O" in found[1]


def _check_graph(view: memoryview, name: str, bundle: Bundle) -> None:
    try:
        references = external_references(view)
    except FormatError as error:
        raise refused("format", f"{name}: {error.message}") from error
    beside = PurePosixPath(name).parent
    for reference in references:
        parts = PurePosixPath(reference.location).parts
        inside = bundle.file(str(beside / reference.location)) if parts else None
        if inside is None or ".." in parts or reference.location.startswith("/") or "\\" in reference.location:
            raise refused("path", f"{name} has its data in {reference.location!r}, which is no file of the release")
