"""Files without tensors that we can see: unknown formats, and ONNX external data, whose names are in another file."""

from __future__ import annotations

from git_lepton.values import Layout


def parse_raw(data: memoryview) -> Layout:
    """All bytes are other bytes; any file, an empty one too."""
    return Layout("raw", len(data))


def parse_data(data: memoryview) -> Layout:
    """The bytes of an ONNX external-data file; the model that refers to it only hints where to cut chunks."""
    return Layout("data", len(data))
