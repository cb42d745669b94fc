"""Fine-tune MiniLM for real: gradients of a contrastive loss on sentence pairs, AdamW, a learning rate of 2e-5.

The encoder is BERT's in plain torch: six post-norm layers, 384 wide, 12 heads, mean pooling. Pairs are neighbouring
sentences of the documentation that ships inside Python itself; the other sentences of a batch are the negatives, as in
the training of the original model. Two trainings: all layers for 120 steps, kept after 30, 60 and 120; and only layers
4 and 5 for 60 steps. Written by overwriting tensors in a copy of the base, as a trainer that keeps the layout does.

Run by `data.py`, with a Python that has torch: `python finetune.py MODEL VOCABULARY FOLDER`.
"""

from __future__ import annotations

import importlib
import json
import math
import pydoc_data.topics
import random
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import weights

LAYERS: Final = 6
HEADS: Final = 12
TOP: Final = ("encoder.layer.4.", "encoder.layer.5.")
DROPOUT: Final = 0.1
LEARNING_RATE: Final = 2e-5
TEMPERATURE: Final = 0.05
BATCH: Final = 16
LENGTH: Final = 48
"""Word pieces of a sentence that the training sees."""

torch: Any = importlib.import_module("torch")  # optional, so that the type checker must not need it
functional: Any = torch.nn.functional

Parameters = dict[str, Any]
Pair = tuple[Sequence[int], Sequence[int]]


def main(model: Path, vocabulary: Path, folder: Path) -> None:
    """Train twice and write four files."""
    pairs = sentence_pairs(WordPieces(read_vocabulary(vocabulary)))
    train(model, pairs, {steps: folder / f"minilm-all-{steps}.safetensors" for steps in (30, 60, 120)}, lambda _: True)
    train(
        model,
        pairs,
        {60: folder / "minilm-top-60.safetensors"},
        lambda name: name.startswith(TOP),
    )


def train(model: Path, pairs: Sequence[Pair], keep: Mapping[int, Path], tuned: Callable[[str], bool]) -> None:
    """Train the tensors that `tuned` accepts, and write the model after each number of steps in `keep`."""
    torch.manual_seed(0)
    order = random.Random(0)
    parameters = load(model)
    for name, value in parameters.items():
        value.requires_grad_(value.is_floating_point() and tuned(name))
    optimizer = torch.optim.AdamW([p for p in parameters.values() if p.requires_grad], lr=LEARNING_RATE)
    for step in range(1, max(keep) + 1):
        batch = order.sample(pairs, BATCH)
        left, right = (embed(parameters, [pair[side] for pair in batch]) for side in (0, 1))
        loss = functional.cross_entropy(left @ right.T / TEMPERATURE, torch.arange(BATCH))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            print(f"step {step}: loss {loss.item():.3f}", file=sys.stderr)
        if step in keep:
            save(model, parameters, keep[step])


def load(model: Path) -> Parameters:
    """All tensors of a safetensors file."""
    layout = weights.read_layout(model)
    types = {"F32": torch.float32, "I64": torch.int64}
    return {
        t.name: torch.frombuffer(
            bytearray().join(weights.pieces(model, layout.body + t.start, t.size)), dtype=types[t.dtype]
        ).reshape(t.shape)
        for t in layout.tensors
    }


def save(model: Path, parameters: Parameters, path: Path) -> None:
    """Write the parameters in the layout of the base."""
    layout = weights.read_layout(model)
    draft = path.with_suffix(".part")
    with draft.open("wb") as stream:
        for piece in weights.pieces(model, 0, layout.body):
            stream.write(piece)
        for tensor in layout.tensors:
            stream.write(parameters[tensor.name].detach().numpy().tobytes())
    draft.rename(path)


def embed(p: Parameters, sentences: Sequence[Sequence[int]]) -> Any:
    """Sentence vectors of length 1, shape (sentences, 384)."""
    longest = max(map(len, sentences))
    ids = torch.tensor([[*s, *[0] * (longest - len(s))] for s in sentences])
    mask = ids != 0
    x = (
        functional.embedding(ids, p["embeddings.word_embeddings.weight"])
        + p["embeddings.position_embeddings.weight"][:longest]
        + p["embeddings.token_type_embeddings.weight"][0]
    )
    x = dropout(norm(p, "embeddings.LayerNorm", x))
    for n in range(LAYERS):
        x = layer(p, f"encoder.layer.{n}", x, mask)
    summed = (x * mask[:, :, None]).sum(1)
    return functional.normalize(summed / mask.sum(1, keepdim=True), dim=1)


def layer(p: Parameters, at: str, x: Any, mask: Any) -> Any:
    """One encoder layer: attention, then the feed-forward part, each with a residual and a norm behind it."""
    batch, length, width = x.shape
    q, k, v = (
        linear(p, f"{at}.attention.self.{part}", x).reshape(batch, length, HEADS, width // HEADS).transpose(1, 2)
        for part in ("query", "key", "value")
    )
    scores = q @ k.transpose(2, 3) / math.sqrt(width // HEADS)
    scores = scores.masked_fill(~mask[:, None, None, :], -math.inf)
    mixed = (dropout(scores.softmax(-1)) @ v).transpose(1, 2).reshape(batch, length, width)
    attended = dropout(linear(p, f"{at}.attention.output.dense", mixed))
    x = norm(p, f"{at}.attention.output.LayerNorm", x + attended)
    wide = functional.gelu(linear(p, f"{at}.intermediate.dense", x))
    narrow = dropout(linear(p, f"{at}.output.dense", wide))
    return norm(p, f"{at}.output.LayerNorm", x + narrow)


def linear(p: Parameters, at: str, x: Any) -> Any:
    """A dense layer."""
    return functional.linear(x, p[f"{at}.weight"], p[f"{at}.bias"])


def norm(p: Parameters, at: str, x: Any) -> Any:
    """A layer norm with BERT's epsilon."""
    return functional.layer_norm(x, x.shape[-1:], p[f"{at}.weight"], p[f"{at}.bias"], eps=1e-12)


def dropout(x: Any) -> Any:
    """Dropout as in training."""
    return functional.dropout(x, DROPOUT, training=True)


class WordPieces:
    """BERT's uncased tokenizer: lower case, no accents, split at punctuation, longest known piece first."""

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self._vocabulary = vocabulary

    def ids(self, text: str) -> list[int]:
        """Numbers of the pieces of a sentence, with the marks at both ends."""
        plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(c))
        found = [i for word in re.findall(r"\w+|[^\w\s]", plain) for i in self._word(word)]
        return [self._vocabulary["[CLS]"], *found[: LENGTH - 2], self._vocabulary["[SEP]"]]

    def _word(self, word: str) -> Iterator[int]:
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((e for e in ends if prefix + word[start:e] in self._vocabulary), None)
            if end is None:
                yield self._vocabulary["[UNK]"]
                return
            yield self._vocabulary[prefix + word[start:end]]
            start = end


def read_vocabulary(path: Path) -> Mapping[str, int]:
    """Pieces and their numbers, from `vocab.txt` or `tokenizer.json`."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        pieces: Mapping[str, int] = json.loads(text)["model"]["vocab"]
        return pieces
    return {piece: n for n, piece in enumerate(text.split("\n")) if piece}


def sentence_pairs(tokenizer: WordPieces) -> list[Pair]:
    """Neighbouring sentences of one paragraph."""
    pairs: list[Pair] = []
    for text in pydoc_data.topics.topics.values():
        for paragraph in text.split("\n\n"):
            sentences = [s for s in re.split(r"(?<=[.:])\s+", " ".join(paragraph.split())) if 25 <= len(s) <= 400]
            tokens = [tokenizer.ids(s) for s in sentences]
            pairs += pairwise(tokens)
    return pairs


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
