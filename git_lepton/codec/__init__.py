"""The codec: one chunk's raw bytes to a self-describing frame and back, exactly.

    frame       the header of a frame: magic, codec, dtype, lengths, hashes
    payload     compressed byte planes and their table
    sparse      planes half full of one byte
    planes      elements to byte planes and back
    delta       elements as differences from those of an earlier version, also across float dtypes
    transform   planes and delta together, by native kernels where they are
    encoder     chooses, encodes and proves
    decoder     decodes whatever it is given, or refuses
    chunking    where chunks end
    workspace   each thread's contexts and scratch memory

No I/O here, no clock, and nothing shared between threads.
"""

from __future__ import annotations

from git_lepton.codec.chunking import CHUNK_BYTES, CHUNK_ELEMENTS, chunk_lengths, content_cuts
from git_lepton.codec.decoder import decode
from git_lepton.codec.encoder import DELTA_WORTH, Frame, delta_limit, encode
from git_lepton.codec.frame import (
    DELTA,
    MAX_RAW,
    OPAQUE,
    PLANES,
    STORED,
    ZSTD,
    Buffer,
    FrameHeader,
    read_header,
)
from git_lepton.codec.transform import Base

__all__ = [
    "CHUNK_BYTES",
    "CHUNK_ELEMENTS",
    "DELTA",
    "DELTA_WORTH",
    "MAX_RAW",
    "OPAQUE",
    "PLANES",
    "STORED",
    "ZSTD",
    "Base",
    "Buffer",
    "Frame",
    "FrameHeader",
    "chunk_lengths",
    "content_cuts",
    "decode",
    "delta_limit",
    "encode",
    "read_header",
]
