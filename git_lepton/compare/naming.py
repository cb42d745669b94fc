"""What names of tensors tell a person: which layer of which stack, and whether it is an embedding.

A stack is a run of numbered parts: `encoder.layer.4.` is layer 4 of `encoder.layer`, `blk.7.` and `h.3.` likewise; in
names that exporters made, what follows the last `__` counts (`If_0_else_branch__Inline_0__encoder.0.`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_NUMBER: Final = re.compile(r"[0-9]+")
_NUMBERED: Final = re.compile(r"[0-9]+(?=[./])")
_TAIL: Final = re.compile(
    r"(?:([^./]+)[./]|(?:(?<=[./])|(?<=__)|\A)(layers?|blocks?|blk|stages?|dense|conv|fc|linear)_?)([0-9]{1,6})\Z",
    re.IGNORECASE,
)
_LAYERS: Final = frozenset({"layer", "layers", "block", "blocks", "blk", "h", "resblocks"})
_EMBEDDINGS: Final = re.compile(r"embed|wte\.|wpe\.|tok_", re.IGNORECASE)
_VOCABULARY: Final = re.compile(
    r"word|tok|vocab|wte|lm_head|embed|\boutput\.weight|shared\.weight|decoder\.(?:weight|bias)"
)
_WRAPPERS: Final = frozenset({"model", "module", "base_model", "transformer", "inner", "_model", "bert", "roberta"})


@dataclass(frozen=True, slots=True)
class Layer:
    """Layer `number` of a stack; `noun` names the stack as a person would: "layers", "encoder", "conv"."""

    stack: str
    noun: str
    number: int


def skeleton(name: str) -> str:
    """A name without the numbers in it, which exporters give anew."""
    return _NUMBER.sub("0", name)


def layer_of(name: str) -> Layer | None:
    """The outermost layer that a tensor is part of, or None."""
    for match in _NUMBERED.finditer(name):
        layer = _layer(name[: match.end()])
        if layer:
            return layer
    return None


@lru_cache(maxsize=1 << 14)
def _layer(head: str) -> Layer | None:
    """The layer whose number a name has at the end of `head`."""
    match = _TAIL.search(head)
    if match is None:
        return None
    stem = (match[1] or match[2]).rpartition("__")[2]
    noun = "layers" if stem.lower() in _LAYERS else stem
    return Layer(_outer(re.split(r"[./]", head[: match.start()])), noun, int(match[3]))


def _outer(parts: list[str]) -> str:
    """What distinguishes a stack from another of the same noun: the closest part around it that is no mere wrapper."""
    kept = [part for part in parts if part and part not in _WRAPPERS]
    return kept[-1].rpartition("__")[2] if kept else ""


def is_embedding(name: str) -> bool:
    """Whether a tensor looks like part of the embeddings."""
    return _EMBEDDINGS.search(name) is not None


def has_vocabulary(name: str) -> bool:
    """Whether the rows of a tensor look like words."""
    return _VOCABULARY.search(name) is not None


def ranges(numbers: Iterable[int]) -> str:
    """`0-3, 5` for 0, 1, 2, 3, 5; two neighbours are a range too."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def tell_layers(changed: Iterable[str], everything: Iterable[str]) -> list[str]:
    """Layers that `changed` tensors are in, as text: `layers 4-5`, `all 6 layers`, `encoder layers 0-3`, `conv 1`.

    Args:
        changed: names.
        everything: names of all tensors of the model, among them `changed`.
    """
    stacks: dict[tuple[str, str], set[int]] = {}
    for name in everything:
        layer = layer_of(name)
        if layer:
            stacks.setdefault((layer.noun, layer.stack), set()).add(layer.number)
    hit: dict[tuple[str, str], set[int]] = {}
    for name in changed:
        layer = layer_of(name)
        if layer:
            hit.setdefault((layer.noun, layer.stack), set()).add(layer.number)
    several = {noun for noun, _ in stacks if sum(other == noun for other, _ in stacks) > 1}
    told = []
    for (noun, stack), numbers in hit.items():
        label = f"{stack} {noun}".strip() if noun in several else noun
        known = stacks.get((noun, stack), numbers)
        if noun == "layers" and len(numbers) == len(known) > 1:
            told.append(f"all {len(numbers)} {label}")
        else:
            singular = noun == "layers" and len(numbers) == 1
            told.append(f"{label[:-1] if singular else label} {ranges(numbers)}")
    return told


def tell_modules(changed: Iterable[str], everything: Iterable[str]) -> list[str]:
    """The largest modules of which every tensor is `changed`, tensors in layers aside; a lone tensor by its name."""
    wanted = [name for name in changed if layer_of(name) is None]
    around = tuple({f"{prefix}." for name in wanted for prefix in _prefixes(name)})
    inside = set(wanted)
    clean: set[str] = set()
    for name in everything if around else ():
        if name.startswith(around) and name not in inside:
            clean.update(_prefixes(name))
    return list(dict.fromkeys(next((p for p in _prefixes(name) if p not in clean), name) for name in wanted))


def _prefixes(name: str) -> list[str]:
    """Modules around a tensor, the outermost first, wrappers aside."""
    ends = [match.start() for match in re.finditer(r"\.", name)][:8]
    return [name[:end] for end in ends if name[:end] not in _WRAPPERS]
