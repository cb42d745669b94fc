"""Variants of safetensors models, a tensor at a time: the header of the new file is known before a weight is read.

Three things happen to a tensor: it is copied, cast (fp16, bf16: every float tensor), or quantized (fp8, int8, int4).
Quantized are the weights of linear layers: two dimensions, a name that ends in `.weight`, and no name of an embedding,
a norm, an output head or a router, which common loaders expect unquantized (`_KEPT`). Pruning reaches the same kinds of
name, of two dimensions or more. Whatever `exclude` matches is copied.

The layout of quantized weights is that of compressed-tensors, which vLLM and transformers read: for fp8 the weight
itself and a scale for each row; for int8 and int4 packed int32 words with a scale for each row or group of columns.
What was done stands in `quantization_config` of config.json; a model without a config.json gets one.

A model in shards keeps its shards; `*.index.json` gets the names of the new tensors. Values are processed in slabs of
rows, so that memory is a slab's (for pruning by magnitude, which needs a threshold, one tensor's).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from git_lepton.config.recipes import Step
from git_lepton.values import DTYPES, Layout, Tensor
from git_lepton.variants import folder, numerics
from git_lepton.variants.folder import CONFIG
from git_lepton.variants.numerics import Distance
from git_lepton.variants.values import ModelFolder, Outcome, TensorError, Unsuitable

if TYPE_CHECKING:
    from git_lepton.variants.numerics import Array

SUFFIX: Final = ".safetensors"
INDEX_SUFFIX: Final = ".safetensors.index.json"

_SLAB: Final = 2 << 20  # elements
_GROUPS: Final = (128, 64, 32)  # columns a scale of int4, the first that divides every linear layer's
_KEPT: Final = re.compile(
    r"embed|norm|lm_head|rotary|relative_attention_bias|(^|[._])(wte|wpe|ln(_\w+)?|router)\b|(^|\.)(shared|gate)\.weight$",
    re.IGNORECASE,
)
_CASTS: Final = {"fp16": "F16", "bf16": "BF16"}
_BITS: Final = {"fp8": 0, "int8": 8, "int4": 4}
_NO_LINEAR: Final = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})
"""`model_type`s whose layers are transposed (Conv1D), which loaders of compressed-tensors do not know as linear."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One tensor of the new file; `offset` counts from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int = 0

    @property
    def size(self) -> int:
        count = DTYPES[self.dtype].bits // 8
        for dimension in self.shape:
            count *= dimension
        return count


@dataclass(slots=True)
class _Plan:
    """What happens to every tensor of a model.

    Attributes:
        prune: the pruning step, or None.
        cast: dtype that float tensors get, or None.
        bits: of quantized weights (0: fp8), or None.
        group: columns a scale; None for a scale a row.
        exclude: globs of names that are copied.
        linear: names of the weights to quantize.
        ignored: two-dimensional weights that stay as they are; loaders must know them.
    """

    prune: Step | None
    cast: str | None
    bits: int | None
    exclude: Sequence[str]
    group: int | None = None
    linear: set[str] = field(default_factory=set)
    ignored: list[str] = field(default_factory=list)

    def excluded(self, name: str) -> bool:
        return any(fnmatchcase(name, glob) for glob in self.exclude)

    def pruned(self, tensor: Tensor) -> bool:
        return self.prune is not None and len(tensor.shape) >= 2 and self._free(tensor)

    def _free(self, tensor: Tensor) -> bool:
        known = tensor.dtype in numerics.FLOAT_DTYPES
        return known and not _KEPT.search(tensor.name) and not self.excluded(tensor.name)

    def may_be_linear(self, tensor: Tensor) -> bool:
        return len(tensor.shape) == 2 and tensor.name.endswith(".weight") and tensor.stop > tensor.start

    def choose(self, layouts: Sequence[Layout]) -> None:
        """Decide which weights are quantized, once all files of the model are known."""
        candidates = [t for layout in layouts for t in layout.tensors if self.may_be_linear(t)]
        chosen = [t for t in candidates if self._free(t)]
        if self.bits == 4:
            chosen = [t for t in chosen if t.shape[1] % _GROUPS[-1] == 0]
            self.group = next((g for g in _GROUPS if all(t.shape[1] % g == 0 for t in chosen)), _GROUPS[-1])
        self.linear = {t.name for t in chosen}
        self.ignored = sorted(t.name.removesuffix(".weight") for t in candidates if t.name not in self.linear)
        if not chosen:
            raise Unsuitable("it has no weight of a linear layer to quantize (two dimensions, a name in .weight)")

    def parts(self, tensor: Tensor) -> list[_Part]:
        """The tensors that one tensor becomes."""
        name, dtype, shape = tensor.name, tensor.dtype, tensor.shape
        if name in self.linear:
            scale_dtype = "F32" if dtype == "F64" else dtype
            scale = _Part(f"{name}_scale", scale_dtype, (shape[0], shape[1] // self.group if self.group else 1))
            if self.bits == 0:
                return [_Part(name, "F8_E4M3", shape), scale]
            words = -(-shape[1] * (self.bits or 1) // 32)
            return [_Part(f"{name}_packed", "I32", (shape[0], words)), scale, _Part(f"{name}_shape", "I64", (2,))]
        return [_Part(name, (self.casts(tensor) and self.cast) or dtype, shape)]

    def casts(self, tensor: Tensor) -> bool:
        """Whether the tensor gets another float dtype: it must become smaller."""
        known = tensor.dtype in numerics.FLOAT_DTYPES and DTYPES[tensor.dtype].bits > 16
        return known and self.cast is not None and not self.excluded(tensor.name)


def build(model: ModelFolder, steps: Sequence[Step], out: Path, exclude: Sequence[str]) -> Outcome:
    """Write the variant's files into `out`.

    Raises:
        Unsuitable: no variant by these steps, with the reason.
    """
    names = folder.with_suffix(model, SUFFIX)
    plan = _plan(steps, exclude)
    config_name = folder.beside(names[0], CONFIG)
    config = folder.read_json(model.path / config_name) if config_name in model.files else None
    outcome = Outcome()
    sources = folder.mapped(model, names)
    if plan.bits is not None:
        _check_config(config)
        plan.choose([layout for _, layout in sources])
    elif plan.cast is not None and not any(plan.casts(t) for _, layout in sources for t in layout.tensors):
        raise Unsuitable("it has no float tensor of more than 16 bits")
    written: dict[str, list[_Part]] = {}
    for name, (data, layout) in zip(names, sources, strict=True):
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        written[name] = _write(data, layout, plan, target, outcome.errors)
        outcome.written.append(name)
    for index in (name for name in model.files if name.endswith(INDEX_SUFFIX)):
        if _write_index(model, index, written, out):
            outcome.written.append(index)
    changed = _new_config(config, plan)
    if changed is not None:
        folder.write_json(out / config_name, changed)
        outcome.written.append(config_name)
    return outcome


def _plan(steps: Sequence[Step], exclude: Sequence[str]) -> _Plan:
    prune = next((step for step in steps if step.kind in {"prune", "prune2:4"}), None)
    last = steps[-1].kind
    for step in steps:
        if step != prune and step.kind not in _CASTS and step.kind not in _BITS:
            raise Unsuitable(f"{step} needs an ONNX model, and this one is safetensors")
    return _Plan(prune, _CASTS.get(last), _BITS.get(last), exclude)


def _write(data: memoryview, layout: Layout, plan: _Plan, target: Path, errors: list[TensorError]) -> list[_Part]:
    """Write one file; returns its tensors. Wide types come first, so that every tensor is aligned to its own type."""
    made = {tensor.name: plan.parts(tensor) for tensor in layout.tensors}
    order = sorted((p for parts in made.values() for p in parts), key=lambda p: -DTYPES[p.dtype].bits)
    placed: dict[str, _Part] = {}
    end = 0
    for part in order:
        if part.name in placed:
            raise Unsuitable(f"two tensors would be named {part.name}")
        placed[part.name] = _Part(part.name, part.dtype, part.shape, end)
        end += part.size
    header: dict[str, object] = {}
    metadata = json.loads(bytes(data[8 : 8 + int.from_bytes(data[:8], "little")])).get("__metadata__")
    if metadata is not None:
        header["__metadata__"] = metadata
    for part in placed.values():
        span = [part.offset, part.offset + part.size]
        header[part.name] = {"dtype": part.dtype, "shape": list(part.shape), "data_offsets": span}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    base = 8 + len(text)
    with target.open("xb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(base + end)
        for tensor in layout.tensors:
            parts = [placed[part.name] for part in made[tensor.name]]
            error = _convert(data, tensor, plan, _Sink(stream, base), parts)
            if error is not None:
                errors.append(error)
    return list(placed.values())


@dataclass(slots=True)
class _Sink:
    """Puts rows of tensors where the header says."""

    stream: IO[bytes]
    base: int

    def put(self, part: _Part, array: Array, first: int = 0) -> None:
        """Write `array`, whose first element is number `first` of the tensor."""
        self.stream.seek(self.base + part.offset + first * (DTYPES[part.dtype].bits // 8))
        self.stream.write(array.tobytes())


def _convert(data: memoryview, tensor: Tensor, plan: _Plan, sink: _Sink, parts: Sequence[_Part]) -> TensorError | None:
    raw = data[tensor.start : tensor.stop]
    if not len(raw):
        return None
    pruned, cast = plan.pruned(tensor), parts[0].dtype != tensor.dtype
    if not pruned and not cast and tensor.name not in plan.linear:
        sink.stream.seek(sink.base + parts[0].offset)
        sink.stream.write(raw)
        return None
    stored = numerics.as_stored(raw, tensor.dtype).reshape(tensor.shape[0] if tensor.shape else 1, -1)
    if plan.bits not in {None, 0} and tensor.name in plan.linear:
        import numpy as np

        sink.put(parts[2], np.array(tensor.shape, "<i8"))
    mask = _mask(stored, tensor, plan) if pruned else None
    rows = max(1, _SLAB // max(1, stored.shape[1]))
    distance = Distance()
    for first in range(0, stored.shape[0], rows):
        slab = stored[first : first + rows]
        before = numerics.to_float(slab, tensor.dtype)
        kept = before
        if mask is not None:
            kept = before.copy()
            kept[mask[first : first + rows]] = 0
        if tensor.name in plan.linear:
            after = _quantized(kept, tensor, plan, sink, parts, first)
        else:
            codes = numerics.from_float(kept, parts[0].dtype)
            after = numerics.to_float(codes, parts[0].dtype)
            _check_range(kept, after, tensor.name)
            sink.put(parts[0], codes, first * stored.shape[1])
        distance.add(before, after)
    return TensorError(tensor.name, distance.relative_l2, distance.max_abs)


def _mask(stored: Array, tensor: Tensor, plan: _Plan) -> Array:
    assert plan.prune is not None
    values = numerics.to_float(stored, tensor.dtype)
    if plan.prune.amount is not None:
        return numerics.smallest(values, plan.prune.amount)
    return numerics.two_of_four(values.reshape(tensor.shape), 1).reshape(stored.shape)


def _quantized(values: Array, tensor: Tensor, plan: _Plan, sink: _Sink, parts: Sequence[_Part], first: int) -> Array:
    """Write the codes and scales of some rows, and return what a loader will read."""
    import numpy as np

    bits = plan.bits or 0
    if not np.isfinite(values).all():
        raise Unsuitable(f"the tensor {tensor.name} holds NaN or infinities: exclude it")
    scale = numerics.scales(values, bits, plan.group, parts[1].dtype)
    codes = numerics.quantize(values, scale, bits)
    sink.put(parts[0], codes if bits == 0 else numerics.packed(codes, bits), first * parts[0].shape[1])
    sink.put(parts[1], numerics.from_float(scale, parts[1].dtype), first * parts[1].shape[1])
    return numerics.dequantize(codes, scale, bits)


def _check_range(before: Array, after: Array, name: str) -> None:
    import numpy as np

    if (np.isinf(after) & np.isfinite(before)).any():
        raise Unsuitable(f"the tensor {name} holds numbers beyond the format's range: exclude it")


def _write_index(model: ModelFolder, index: str, written: dict[str, list[_Part]], out: Path) -> bool:
    """Write the index of a model in shards anew; False when it tells of none of the files that were written."""
    value = folder.read_json(model.path / index)
    shards = value.get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise Unsuitable(f"{index} has no weight_map")
    names = {shard: folder.beside(index, shard) for shard in dict.fromkeys(shards.values())}
    if not names.keys() or not all(path in written for path in names.values()):
        missing = sorted(path for path in names.values() if path not in written)
        raise Unsuitable(f"{index} names {missing[0] if missing else 'no shard'}, which is not among the model's files")
    parts = {shard: written[path] for shard, path in names.items()}
    metadata = value.get("metadata")
    total = sum(part.size for shard in parts.values() for part in shard)
    value["metadata"] = {**(metadata if isinstance(metadata, dict) else {}), "total_size": total}
    value["weight_map"] = dict(sorted((part.name, shard) for shard, found in parts.items() for part in found))
    folder.write_json(out / index, value)
    return True


def _check_config(config: dict[str, Any] | None) -> None:
    if config is None:
        return
    if "quantization_config" in config:
        raise Unsuitable(f"{CONFIG} says that it is quantized already")
    if config.get("model_type") in _NO_LINEAR:
        raise Unsuitable(
            f"layers of {config['model_type']} are not linear modules, and loaders of the format need those"
        )


def _new_config(config: dict[str, Any] | None, plan: _Plan) -> dict[str, Any] | None:
    """The variant's config.json; None when it does not change."""
    if plan.bits is not None:
        return {**(config or {}), "quantization_config": _quantization_config(plan)}
    name = {"F16": "float16", "BF16": "bfloat16"}.get(plan.cast or "")
    if config is None or name is None or not config.keys() & {"dtype", "torch_dtype"}:
        return None
    return {key: name if key in {"dtype", "torch_dtype"} else value for key, value in config.items()}


def _quantization_config(plan: _Plan) -> dict[str, Any]:
    fp8 = plan.bits == 0
    weights = {
        "num_bits": plan.bits or 8,
        "type": "float" if fp8 else "int",
        "symmetric": True,
        "strategy": "group" if plan.group else "channel",
        "group_size": plan.group,
        "dynamic": False,
    }
    # fp8 weights without fp8 activations have no kernel in common servers; activations are scaled as they come.
    activations = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "token", "dynamic": True}
    group = {
        "targets": ["Linear"],
        "weights": weights,
        "input_activations": activations if fp8 else None,
        "output_activations": None,
    }
    return {
        "quant_method": "compressed-tensors",
        "format": "float-quantized" if fp8 else "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": plan.ignored,
        "kv_cache_scheme": None,
    }
