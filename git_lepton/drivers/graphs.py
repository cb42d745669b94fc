"""Where the tensors of an ONNX external-data file begin and end, as the graph beside it tells.

It is a hint for dedupe and nothing else: chunks that end where tensors end are shared between versions that moved them.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from git_lepton.errors import LeptonError
from git_lepton.formats import detect, external_references
from git_lepton.store.source import FileSource

_GRAPH_BYTES: Final = 256 << 20
_LEAST_SEGMENT: Final = 1 << 16
"""Shorter runs between two cuts are not worth a chunk of their own."""


def external_cuts(file: Path) -> tuple[int, ...]:
    """Offsets in `file` at which tensors of an .onnx file in the same folder begin or end; () for other files."""
    if detect(memoryview(b"\0"), file.name) != "data":
        return ()
    ends: set[int] = set()
    for graph in sorted(file.parent.glob("*.onnx")):
        with suppress(OSError, LeptonError), FileSource(graph) as source:
            if source.size <= _GRAPH_BYTES:
                for found in external_references(source.view()):
                    if found.location == file.name:
                        ends |= {found.offset, found.offset + (found.length or 0)}
    cuts: list[int] = []
    for end in sorted(ends):
        if end - (cuts[-1] if cuts else 0) >= _LEAST_SEGMENT:
            cuts.append(end)
    return tuple(cuts)
