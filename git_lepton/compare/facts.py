"""What a weight file tells beside its tensors, and how two files differ in it.

A reader turns the other bytes of a file into facts: a text for each (topic, key). What differs are the keys whose text
differs. Texts are short: a long value is told by its beginning, its length and a hash, so that no difference hides.

Parsers expect whole files, and here are only the bytes between the tensors. `image` puts those where they were, in a
map of zero pages that cost nothing until somebody reads them, which no parser does.

Nothing is unpickled; the pickles of PyTorch are told by size and hash.
"""

from __future__ import annotations

import json
import mmap
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

from git_lepton.compare import gguffacts, onnxfacts
from git_lepton.compare.facttext import Facts, brief, digest, quantity
from git_lepton.compare.naming import skeleton
from git_lepton.compare.sides import FileSide
from git_lepton.compare.values import FactChange
from git_lepton.errors import FormatError, LeptonError
from git_lepton.formats.pytorch import archive_root
from git_lepton.formats.zipdir import read_directory

MAX_ROWS: Final = 100
"""Differences told of one topic; the rest is only counted."""

MAX_IMAGE: Final = 64 << 30
"""Bytes of a file whose other bytes are put back in place."""

_LENGTH: Final = 8  # bytes of the length of a safetensors header
_METADATA: Final = '"__metadata__"'
_QUIET: Final = (".data/", "data/", "constants/")
"""Members of a PyTorch archive that are storages, or ids made anew by every save."""
_MANGLED: Final = re.compile(rb"torch_mangle_[0-9]+")  # TorchScript numbers its classes anew by every save

_NUMBERED: Final = ("node", "constants", "code")
"""Topics whose keys exporters number anew."""


def differences(before: FileSide, after: FileSide) -> tuple[FactChange, ...] | None:
    """The facts that differ, sorted by topic in the order of their reader, then by key.

    Returns:
        None when nobody can tell: the format has no facts, the bytes are not here, or they are malformed.
    """
    old, new = before.manifest, after.manifest
    if old.format != new.format:
        return (FactChange("format", "", old.format, new.format),)
    if old.other_hash == new.other_hash:
        return ()
    reader = _READERS.get(new.format)
    if reader is None:
        return None
    try:
        return tuple(_compare(reader(before), reader(after)))
    except LeptonError:
        return None


def has_facts(fmt: str) -> bool:
    """Whether the other bytes of this format are worth fetching for a comparison."""
    return fmt in _READERS


def _compare(old: Facts, new: Facts) -> Iterable[FactChange]:
    topics = list(dict.fromkeys(topic for topic, _ in (*new, *old)))
    changed: dict[str, list[str]] = {topic: [] for topic in topics}
    for topic, key in sorted(old.keys() | new.keys()):
        if old.get((topic, key)) != new.get((topic, key)):
            changed[topic].append(key)
    for topic in _NUMBERED:
        changed[topic] = _renumbered(topic, changed.get(topic, []), old, new)
    if changed.get("nodes"):
        changed.pop(onnxfacts.WIRING, None)  # other operators are connected otherwise, of course
    for topic, keys in changed.items():
        yield from (FactChange(topic, k, old.get((topic, k)), new.get((topic, k))) for k in keys[:MAX_ROWS])
        if len(keys) > MAX_ROWS:
            yield FactChange(topic, f"{len(keys) - MAX_ROWS:,} more", None, None)


def _renumbered(topic: str, keys: list[str], old: Facts, new: Facts) -> list[str]:
    """Those of `keys` that are not the same fact under other numbers on the other side."""
    gone, came = (
        {key: (skeleton(key), facts[topic, key]) for key in keys if (topic, key) in facts} for facts in (old, new)
    )
    left, right = Counter(gone.values()), Counter(came.values())
    same = {fact for fact, number in left.items() if right[fact] == number}
    return [key for key in keys if not same.issuperset(side[key] for side in (gone, came) if key in side)]


def image(file: FileSide) -> memoryview:
    """The file with zeros where its tensors are.

    Raises:
        LeptonError: as `FileSide.other`, or the parts do not fit together.
    """
    data, size = memoryview(file.other()), file.manifest.size
    if not 0 < size <= MAX_IMAGE:
        raise FormatError(file.manifest.format, f"{size} bytes cannot be laid out")
    try:
        whole = mmap.mmap(-1, size)
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        raise FormatError(file.manifest.format, f"{size} bytes cannot be laid out: {error}") from error
    at = 0
    for offset, length in file.extents():
        if offset + length > size or at + length > len(data):
            raise FormatError(file.manifest.format, "its parts do not fit together", offset=offset)
        whole[offset : offset + length] = data[at : at + length]
        at += length
    return memoryview(whole)


def _safetensors(file: FileSide) -> Facts:
    """The strings of `__metadata__`. The tensors in the header are in the manifest."""
    try:
        text = file.other()[_LENGTH:].decode("utf-8")
        start = text.find(_METADATA)
        if start < 0:
            return {}
        # Nearly every writer puts it first; then the many tensors after it need not be read.
        if text[:start].strip() == "{":
            value = text.index(":", start + len(_METADATA)) + 1
            metadata, _ = json.JSONDecoder().raw_decode(text, value + len(text[value:]) - len(text[value:].lstrip()))
        else:
            metadata = json.loads(text).get("__metadata__", {})
        return {("metadata", brief(key)): brief(value) for key, value in _strings(metadata)}
    except (ValueError, AttributeError, RecursionError) as error:
        raise FormatError("safetensors", "the header is malformed") from error


def _strings(metadata: Any) -> list[tuple[str, str]]:
    return [(key, value if isinstance(value, str) else repr(value)) for key, value in metadata.items()]


def _pytorch(file: FileSide) -> Facts:
    """Members beside the storages: code of TorchScript modules, and the pickles with all that is no tensor."""
    data = image(file)
    members = read_directory(data)
    root = archive_root(members) or ""
    facts: Facts = {}
    for member in members:
        name = member.name.removeprefix(root)
        if not name.startswith(_QUIET) and not name.endswith((".debug_pkl", "/")):
            content = _MANGLED.sub(b"torch_mangle", data[member.start : member.stop])
            topic = "code" if name.startswith("code/") else "archive"
            facts[topic, brief(name)] = f"{quantity(len(content), 'byte')} {digest(content)}"
    return facts


def _onnx(file: FileSide) -> Facts:
    return onnxfacts.read(image(file))


def _gguf(file: FileSide) -> Facts:
    return gguffacts.read(memoryview(file.other()))


_READERS: Final[dict[str, Callable[[FileSide], Facts]]] = {
    "safetensors": _safetensors,
    "onnx": _onnx,
    "gguf": _gguf,
    "pytorch": _pytorch,
}
