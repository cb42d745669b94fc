"""What the codec saves and how fast it is, on one thread.

    python benchmarks/codec.py [FILE.safetensors ...] [--base FILE.safetensors]

Synthetic chunks are Gaussian weights (standard deviation 0.02) and fine-tunes of them (changes of 2e-5). Speeds are in
MB of raw bytes for each second of this thread's processor time, the best of several runs; encoding includes decoding
again to prove the frame, both include BLAKE3. Every frame is compared with its chunk.
"""

from __future__ import annotations

import argparse
import json
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from blake3 import blake3

from git_lepton.codec import CHUNK_ELEMENTS, Base, chunk_lengths, decode, encode
from git_lepton.values import Hash

CODECS = ("stored", "zstd", "planes", "delta")
RUNS = 15
Chunk = tuple[str, bytes, Base | None]


def fastest(call: Callable[[], object], runs: int) -> float:
    """Least processor time of `call`, in seconds."""
    times = []
    for _ in range(runs):
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return min(times)


def measure(label: str, chunks: Iterable[Chunk], runs: int) -> None:
    """Print one row: ratio, speeds and codecs of all `chunks` together."""
    raw_bytes = frame_bytes = 0
    encoding = decoding = 0.0
    codecs: Counter[str] = Counter()
    for dtype, raw, base in chunks:
        digest = blake3(raw).digest()
        frame = encode(raw, dtype, raw_hash=digest, base=base)
        data, out = b"".join(frame.parts), memoryview(bytearray(len(raw)))

        def find(_: Hash, base: Base | None = base) -> bytes:
            return bytes(base.raw) if base else b""

        encoding += fastest(lambda: encode(raw, dtype, raw_hash=digest, base=base), runs)  # noqa: B023
        decoding += fastest(lambda: decode(data, find, out=out), runs)  # noqa: B023
        assert out == raw
        raw_bytes, frame_bytes = raw_bytes + len(raw), frame_bytes + len(data)
        codecs[CODECS[frame.codec]] += 1
    if raw_bytes:
        used = " ".join(f"{name}:{count}" for name, count in codecs.most_common())
        speeds = f"{raw_bytes / encoding / 1e6:9.0f} {raw_bytes / decoding / 1e6:9.0f}"
        print(f"{label:<34} {frame_bytes / raw_bytes:7.4f} {speeds}  {used}")


def synthetic() -> Iterator[tuple[str, Chunk]]:
    """Labelled chunks of `CHUNK_ELEMENTS` elements."""
    rng = np.random.default_rng(0)
    old = rng.standard_normal(CHUNK_ELEMENTS) * 0.02
    new = old + rng.standard_normal(CHUNK_ELEMENTS) * 2e-5
    casts: dict[str, Callable[[np.ndarray], bytes]] = {
        "BF16": lambda x: ((x.astype("<f4").view("<u4") + 0x8000) >> 16).astype("<u2").tobytes(),
        "F16": lambda x: x.astype("<f2").tobytes(),
        "F32": lambda x: x.astype("<f4").tobytes(),
        "F64": lambda x: x.tobytes(),
    }

    def base(dtype: str) -> Base:
        raw = casts[dtype](old)
        return Base(Hash(blake3(raw).hexdigest()), dtype, raw)

    for dtype, cast in casts.items():
        yield dtype, (dtype, cast(old), None)
    for dtype, cast in casts.items():
        yield f"{dtype} fine-tuned", (dtype, cast(new), base(dtype))
    for dtype, of in (("BF16", "F32"), ("F16", "F32"), ("F32", "BF16"), ("F32", "F16")):
        yield f"{dtype} cast from {of}", (dtype, casts[dtype](old), base(of))
    yield "I8", ("I8", (old * 1000).astype("i1").tobytes(), None)
    yield "noise", ("U8", rng.bytes(CHUNK_ELEMENTS), None)


def tensors(path: Path) -> dict[str, tuple[str, bytes]]:
    """Name to dtype and bytes of a safetensors file that is trusted to be well-formed."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    body = memoryview(data)[8 + length :]
    return {name: (t["dtype"], bytes(body[slice(*t["data_offsets"])])) for name, t in header.items()}


def cut(dtype: str, raw: bytes) -> list[bytes]:
    stops = np.cumsum(chunk_lengths(dtype, len(raw))).tolist()
    return [raw[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]


def chunks_of(path: Path, base: Path | None) -> Iterator[Chunk]:
    """Every chunk of a file, with the chunk of the same name and number in `base`."""
    bases = tensors(base) if base else {}
    for name, (dtype, raw) in tensors(path).items():
        base_dtype, base_raw = bases.get(name, ("", b""))
        base_chunks = cut(base_dtype, base_raw)
        for number, chunk in enumerate(cut(dtype, raw)):
            old = base_chunks[number] if number < len(base_chunks) else None
            yield dtype, chunk, Base(Hash(blake3(old).hexdigest()), base_dtype, old) if old else None


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Ratio and speed of the codec.")
    parser.add_argument("files", nargs="*", type=Path, help="safetensors files")
    parser.add_argument("--base", type=Path, help="an earlier version, for the files to be deltas of")
    options = parser.parse_args()
    print(f"{'':<34} {'ratio':>7} {'enc MB/s':>9} {'dec MB/s':>9}  codecs")
    for label, chunk in synthetic():
        measure(label, [chunk], RUNS)
    for path in options.files:
        measure(f"{path.parent.name}/{path.name}"[-34:], chunks_of(path, options.base), 1)


if __name__ == "__main__":
    main()
