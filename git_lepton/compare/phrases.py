"""The clauses that a sentence about one model is put together from; see `summary`."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final

from git_lepton.compare.naming import has_vocabulary, is_embedding, skeleton, tell_layers, tell_modules
from git_lepton.compare.values import FactChange, FileChange, TensorChange
from git_lepton.store.manifest import TensorLine
from git_lepton.values import DTYPES

_TOLD: Final = 3
"""Things of one kind that are named; the rest is counted."""
_MOST: Final = 0.8
"""Share of the tensors that a change concerns as a whole."""
_SMALL: Final = 0.1
"""Relative distance up to which a change is called a fine-tune; a model trained anew is far beyond it."""
_ROUNDED: Final = 99.5
_BEYOND: Final = 10_000
"""Per cent, from which on digits are not told, or nothing more."""
_LOW_RANK: Final = 8
"""A change is of low rank when its rank is at most this part of the smaller side of the matrix."""

_ROUNDING: Final = {"F64": 2**-50, "F32": 2**-22, "F16": 2**-10, "BF16": 2**-7, "F8_E4M3": 2**-3, "F8_E5M2": 2**-2}
"""Relative error that rounding to a float type explains, twice the half unit in the last place."""
_TINY: Final = {"F16": 2**-24, "F8_E4M3": 2**-9, "F8_E5M2": 2**-16}
"""Distance of the smallest values of types with so few exponents that weights get there."""
_BLOCKS: Final = re.compile(r"(?:I?Q|TQ)[0-9]|MXFP|NVFP|F[46](?:_|\Z)")
"""Types of GGUF, and of safetensors below a byte, that only quantization makes."""
_INTEGERS: Final = frozenset({"I8", "U8", "I4", "U4", "I2", "U2"})
_SCALE: Final = re.compile(r"scale|zero_point|zp\b", re.IGNORECASE)
"""What quantization adds beside a weight."""
_GRAPH_TOPICS: Final = ("inputs", "outputs", "nodes", "node", "connections", "opset", "constants", "code")
_PORTS: Final = (("inputs", "input"), ("outputs", "output"))


@dataclass(frozen=True)
class Model:
    """Files that are one model, and all their tensors on each side, by name."""

    files: tuple[FileChange, ...]
    before: Mapping[str, TensorLine]
    after: Mapping[str, TensorLine]

    @property
    def label(self) -> str:
        """How to call it."""
        paths = [file.path for file in self.files]
        return paths[0] if len(paths) == 1 else f"{paths[0]} and {count(len(paths) - 1, 'other')}"

    @property
    def verb(self) -> str:
        """What became of it as a whole: a kind of file if all its files have it, else "changed"."""
        kinds = {file.kind for file in self.files}
        return kinds.pop() if len(kinds) == 1 else "changed"

    @cached_property
    def tensors(self) -> tuple[TensorChange, ...]:
        """All changes of tensors."""
        return tuple(change for file in self.files for change in file.tensors)

    @cached_property
    def facts(self) -> tuple[FactChange, ...]:
        """All facts that differ."""
        return tuple(fact for file in self.files for fact in file.facts)

    @cached_property
    def quantized(self) -> bool:
        """Whether a float tensor became one of integers."""
        pairs = ((c.before, c.after) for c in self.of("retyped"))
        return any(old and new and _is_float(old.dtype) and _is_quantized(new.dtype) for old, new in pairs)

    @cached_property
    def comparable(self) -> int:
        """Tensors of the newer side that were there before and could have changed; counters and masks could not."""
        floats = sum(_is_float(line.dtype) and line.shape not in ((), (1,)) for line in self.after.values())
        came = sum(change.after is not None and _is_float(change.after.dtype) for change in self.of("added"))
        return max(1, floats - came - len(self.of("retyped", "reshaped")))

    def of(self, *kinds: str) -> list[TensorChange]:
        """The changes of these kinds."""
        return [change for change in self.tensors if change.kind in kinds]


def described(model: Model) -> str:
    """What became of a model."""
    if model.verb in ("added", "removed", "renamed"):
        return _whole(model)
    tuned = [c for c in model.tensors if _rewritten(c) and c.kind in ("changed", "moved", "renamed")]
    values = _values(model, tuned)
    shape = [*_resized(model), *_joined_and_left(model), *_relocated(model)]
    if _is_another(model):
        values, shape = [], [_another(model)]
    graph = _graph(model)
    clauses = [*values, *shape, *graph, *_metadata(model, alone=not (values or shape or graph))]
    outside = any(fact.topic == "external" for fact in model.facts)
    if clauses and clauses != ["metadata only"] and not (values or shape or outside) and model.after:
        clauses.append("weights unchanged")
    if any(file.opaque for file in model.files):
        clauses.append("bytes outside the tensors changed" if model.after or model.before else "content changed")
    if not clauses:
        return "the same tensors, stored in another order" if model.after else "content changed"
    return ", ".join(_contrast(model, clauses, tuned))


def _kept(model: Model) -> int:
    """Tensors of the newer side that are those of the older one, with whatever values."""
    return len(model.after) - len(model.of("added", "reshaped"))


def _is_another(model: Model) -> bool:
    """Whether hardly a tensor has a counterpart: then what came and went is no news, one by one."""
    smaller = min(len(model.before), len(model.after))
    return smaller > _TOLD and 2 * _kept(model) < smaller and not _replaced(model)


def _another(model: Model) -> str:
    kept = f"only {count(_kept(model), 'tensor')} of {len(model.after):,} with" if _kept(model) else "no tensor with"
    return f"another architecture, {kept} a counterpart"


def count(number: int, noun: str) -> str:
    """`1 model`, `2 models`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listing(items: Sequence[str], most: int = _TOLD) -> str:
    """`a, b, c and 4 more`."""
    if len(items) > most:
        return f"{', '.join(items[:most])} and {len(items) - most:,} more"
    return ", ".join(items)


def _whole(model: Model) -> str:
    """A model that came, went, or is at another path."""
    lines = (model.after or model.before).values()
    parameters = sum(math.prod(line.shape) for line in lines)
    size = f" ({count(len(lines), 'tensor')}, {_millions(parameters)})" if lines else ""
    if model.verb == "renamed":
        first = model.files[0]
        told = (
            f"{first.before} renamed to {first.after}" if len(model.files) == 1 else f"{len(model.files)} files renamed"
        )
        return f"{told}: no value changed"
    paths = [file.path for file in model.files]
    return f"{listing(paths, 1)} {model.verb}{size}"


def _millions(parameters: int) -> str:
    for scale, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if parameters >= scale:
            return f"{parameters / scale:.3g} {unit} values"
    return count(parameters, "value")


def _rewritten(change: TensorChange) -> bool:
    """Whether a tensor has other bytes than before."""
    return change.before is not None and change.after is not None and change.before.hash != change.after.hash


def _values(model: Model, tuned: Sequence[TensorChange]) -> list[str]:
    """What became of the values: casts, quantization, tuning."""
    clauses = _retyped(model)
    if not tuned:
        return clauses
    if len(tuned) >= _MOST * model.comparable:
        clauses.append(_everything(tuned, model))
        return clauses
    names = [change.name for change in tuned]
    layers = tell_layers(names, model.after)
    modules = tell_modules(names, model.after)
    if len(modules) > _TOLD and not layers:
        told = f"{len(tuned):,} of {count(len(model.after), 'tensor')} changed"
    else:
        middle = _middle(tuned)
        much = middle is not None and middle > _SMALL
        word = "changed" if middle is None else "rewritten" if much else "fine-tuned"
        told = f"{listing([*layers, *modules])} {word}"
        if much and middle is not None:
            whose = "its norm" if len(tuned) == 1 else "their norm or more"
            told += f" ({'half of the tensors ' if len(tuned) > 1 else ''}by {_percent(middle)} of {whose})"
    clauses.append(told + _low_rank(tuned))
    return clauses


def _everything(tuned: Sequence[TensorChange], model: Model) -> str:
    if len(tuned) == 1:
        return f"{tuned[0].name} changed"
    told = "every tensor" if len(tuned) >= len(model.after) else f"{len(tuned):,} of {len(model.after):,} tensors"
    middle = _middle(tuned)
    if middle is None:
        return f"{told} changed"
    word = "fine-tuned" if middle <= _SMALL else "retrained"
    return f"{word}: {told} changed, half of them by {_percent(middle)} of their norm or more{_low_rank(tuned)}"


def _middle(tuned: Iterable[TensorChange]) -> float | None:
    """The relative distance that at least half of them have, the lower of two; None without numbers."""
    distances = [c.numbers.relative_l2 for c in tuned if c.numbers and math.isfinite(c.numbers.relative_l2)]
    return sorted(distances)[(len(distances) - 1) // 2] if distances else None


def _percent(share: float) -> str:
    """Two digits that count; what is out of all proportion is more than anybody wants to know: `10,000 %`."""
    value = min(100 * share, _BEYOND)
    return f"{value:.2g} %" if value < _ROUNDED else f"{value:,.0f} %"


def _low_rank(tuned: Iterable[TensorChange]) -> str:
    """` by a low-rank update (rank 8)` when every matrix whose rank was measured says so."""
    ranks = []
    for change in tuned:
        if change.numbers and change.numbers.rank is not None and change.after:
            if change.numbers.rank * _LOW_RANK > min(change.after.shape):
                return ""
            ranks.append(change.numbers.rank)
    return f" by a low-rank update (rank {max(ranks)})" if ranks else ""


@cache
def _is_float(dtype: str) -> bool:
    known = DTYPES.get(dtype)
    return (known is not None and known.kind == "float") or dtype in ("F32_LIST", "F64_LIST")


def _is_quantized(dtype: str) -> bool:
    return dtype in _INTEGERS or _BLOCKS.match(dtype) is not None


def _retyped(model: Model) -> list[str]:
    """Casts and quantization."""
    moves = Counter((c.before.dtype, c.after.dtype) for c in model.of("retyped") if c.before and c.after)
    if not moves:
        return _replaced(model)
    (old, new), most = moves.most_common(1)[0]
    if _is_float(old) and _is_quantized(new):
        return [f"quantized to {_packed(model, new) or _spoken(new)}"]
    if _is_float(new) and _is_quantized(old):
        return [f"dequantized to {new}"]
    told = f"{old} -> {new}"
    if len(moves) > 1:
        told += f" and {count(sum(moves.values()) - most, 'other')}"
    whole = most == len(model.tensors) and not model.facts
    return [f"{'only the dtype' if whole else 'dtype'} changed: {told}{_cast(model, new)}"]


def _cast(model: Model, dtype: str) -> str:
    """` (cast)` when the numbers show that rounding explains all of it."""
    numbers = [change.numbers for change in model.of("retyped") if change.numbers]
    if not numbers or dtype not in _ROUNDING:
        return ""
    tiny = _TINY.get(dtype, 0.0)
    rounded = all(n.relative_l2 <= _ROUNDING[dtype] or n.max_abs <= tiny for n in numbers)
    return " (cast)" if rounded else " (and values beyond rounding)"


def _replaced(model: Model) -> list[str]:
    """Quantization that gave the weights new names: most float bytes went, and integers came."""
    came = Counter[str]()
    for change in model.of("added"):
        if change.after and _is_quantized(change.after.dtype):
            came[change.after.dtype] += change.after.elements
    gone = sum(c.before.elements for c in model.of("removed") if c.before and _is_float(c.before.dtype))
    total = sum(math.prod(line.shape) for line in model.before.values())
    if came and 2 * gone > total and 4 * sum(came.values()) > total:
        return [f"quantized to {_spoken(came.most_common(1)[0][0])}"]
    return []


def _packed(model: Model, dtype: str) -> str:
    """`int4` when bytes hold two values each, as those of onnxruntime's MatMulNBits do."""
    pairs = [
        (c.before, c.after) for c in model.of("retyped") if c.before and c.after and c.after.dtype == dtype == "U8"
    ]
    old, new = (sum(pair[side].elements for pair in pairs) for side in (0, 1))
    bits = 8 * new // old if old else 8
    return f"int{bits}" if bits in (2, 4) else ""


def _spoken(dtype: str) -> str:
    """`int8` for I8 and `uint4` for U4; names of other formats as they are."""
    return f"{'u' if dtype[0] == 'U' else ''}int{dtype[1:]}" if dtype in _INTEGERS else dtype


def _resized(model: Model) -> list[str]:
    """Vocabulary growth, and other changes of shape."""
    grown: dict[int, int] = {}
    rest = []
    for change in model.of("reshaped"):
        old, new = (ref.shape if ref else () for ref in (change.before, change.after))
        if old and new and old[1:] == new[1:] and has_vocabulary(change.name):
            grown[new[0] - old[0]] = grown.get(new[0] - old[0], 0) + 1
        else:
            rest.append(f"{change.name} {_shape(old)} -> {_shape(new)}")
    clauses = [f"{rows:+,} vocabulary row{'' if abs(rows) == 1 else 's'}" for rows in grown]
    if rest:
        clauses.append(f"reshaped {rest[0]}" if len(rest) == 1 else f"{len(rest):,} tensors reshaped")
    return clauses


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _joined_and_left(model: Model) -> list[str]:
    """Tensors that were added and removed."""
    clauses: list[str] = []
    if _replaced(model):
        return clauses
    # Tensors that went to a file beside an ONNX graph, or came back, are told as such.
    external = (fact for fact in model.facts if fact.topic == "external")
    outside = {"removed" if fact.before is None else "added" for fact in external if None in (fact.before, fact.after)}
    for kind, names in (("added", model.after), ("removed", model.before)):
        changes = [c.name for c in model.of(kind) if not (model.quantized and _SCALE.search(c.name))]
        if not changes or kind in outside:
            continue
        if all("lora_" in name for name in changes):
            told = f"LoRA adapter in {listing(tell_layers(changes, names)) or count(len(changes), 'tensor')}"
        elif len(changes) == len(names):
            told = f"all {count(len(changes), 'tensor')}"
        else:
            whole = [*_whole_layers(changes, names), *tell_modules(changes, names)]
            told = listing(whole) if 0 < len(whole) <= _TOLD else count(len(changes), "tensor")
        clauses.append(f"{told} {kind}")
    return clauses


def _whole_layers(changes: Sequence[str], names: Iterable[str]) -> list[str]:
    """The layers of `changes`, if nothing else is in them."""
    layers = tell_layers(changes, changes)
    held = tell_layers(set(names) - set(changes), names)
    return [] if not layers or set(layers) & set(held) else tell_layers(changes, names)


def _relocated(model: Model) -> list[str]:
    """Other names and other files."""
    renamed = [c for c in model.of("renamed", "moved") if c.before and c.after and c.before.name != c.after.name]
    moved = model.of("moved")
    clauses = []
    if renamed:
        numbers_only = all(skeleton(c.before.name) == skeleton(c.after.name) for c in renamed if c.before and c.after)
        whole = 2 * len(renamed) > len(model.after) and not model.of("added", "removed")
        word = "renumbered" if numbers_only else f"renamed{_rule(renamed)}"
        clauses.append(word if whole else f"{count(len(renamed), 'tensor')} {word}")
    if moved:
        files = [file for file in model.files if file.kind != "removed"]
        clauses.append("joined into one file" if len(files) == 1 else f"resharded into {len(files):,} files")
    if clauses and not any(_rewritten(change) for change in model.tensors) and not model.of("added", "removed"):
        return [f"{' and '.join(clauses)}: no value changed"]
    return clauses


def _rule(renamed: Sequence[TensorChange]) -> str:
    """` with model in front` when it is that for all of several names, and likewise for other beginnings."""
    pairs = [(c.before.name, c.after.name) for c in renamed if c.before and c.after]
    old, new = (name.split(".") for name in pairs[0])
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    heads = ".".join(old), ".".join(new)
    gone, came = (f"{head}." if head else "" for head in heads)
    if len(pairs) < 2 or not all(a.startswith(gone) and b == came + a[len(gone) :] for a, b in pairs):
        return ""
    if gone and came:
        return f" from {heads[0]} to {heads[1]}"
    return f" with {heads[1]} in front" if came else f" without {heads[0]} in front"


def _graph(model: Model) -> list[str]:
    """`graph changed: +2 Relu, opset 17 -> 18`."""
    facts = [fact for fact in model.facts if fact.topic in _GRAPH_TOPICS]
    elsewhere = [f"converted from {f.before} to {f.after}" for f in model.facts if f.topic == "format"]
    elsewhere += [f"{_moved_out(f)} {f.key}" for f in model.facts if f.topic == "external"]
    if not facts:
        return elsewhere
    told = _operators(facts)
    for topic, noun in _PORTS:
        for fact in (fact for fact in facts if fact.topic == topic):
            told.append(f"{noun} {fact.key} {_became(fact)}")
    told += [
        f"opset {'' if fact.key == 'ai.onnx' else f'{fact.key} '}{_became(fact)}"
        for fact in facts
        if fact.topic == "opset"
    ]
    settings = [f for f in facts if f.topic == "node" and _is_set_otherwise(f)]
    if settings:
        told.append(f"settings of {listing([f.key for f in settings], 1)}")
    # Constants come and go with the operators that use them, which are told.
    constants = sum(fact.topic == "constants" and None not in (fact.before, fact.after) for fact in facts)
    code = sum(fact.topic == "code" for fact in facts)
    told += [count(number, noun) for number, noun in ((constants, "constant"), (code, "source file")) if number]
    if any(fact.topic == "connections" for fact in facts):
        told.append("other connections")
    if not told:
        return [*elsewhere, "nodes renamed"]
    if {fact.topic for fact in facts} == {"constants"}:
        return [*elsewhere, f"{told[0]} changed"]
    return [*elsewhere, f"graph changed: {listing(told, 5)}"]


def _moved_out(fact: FactChange) -> str:
    if fact.before is None:
        return "weights now in"
    return "weights no longer in" if fact.after is None else "other tensors in"


def _operators(facts: Iterable[FactChange]) -> list[str]:
    """`+2 Relu`, the most first."""
    counts = {
        f.key: int(f.after or 0) - int(f.before or 0) for f in facts if f.topic == "nodes" and (f.before or f.after)
    }
    ordered = sorted(counts.items(), key=lambda item: (-abs(item[1]), item[0]))
    return [f"{number:+,} {name}" for name, number in ordered if number]


def _is_set_otherwise(fact: FactChange) -> bool:
    """Whether a node is the same operator as before; its text begins with that."""
    return bool(fact.before and fact.after) and str(fact.before).split(" ")[0] == str(fact.after).split(" ")[0]


def _became(fact: FactChange) -> str:
    if fact.before is None:
        return f"added ({fact.after})"
    return f"{fact.before} -> {fact.after}" if fact.after is not None else "removed"


def _metadata(model: Model, *, alone: bool) -> list[str]:
    """Everything else that is known of a file."""
    facts = [fact for fact in model.facts if fact.topic not in (*_GRAPH_TOPICS, "format", "external")]
    if not facts:
        return []
    return ["metadata only"] if alone and not any(file.opaque for file in model.files) else ["metadata changed"]


def _contrast(model: Model, clauses: list[str], tuned: Sequence[TensorChange]) -> list[str]:
    """Add that the embeddings stayed the same, where a part of the model was tuned and they were not."""
    if not tuned or len(tuned) >= model.comparable:
        return clauses
    touched = {change.name for change in model.tensors}
    embeddings = [name for name in model.after if is_embedding(name)]
    if embeddings and not touched.intersection(embeddings):
        return [*clauses, "embeddings unchanged"]
    return clauses
