"""GGUF out of safetensors, for models whose tensors are named as those of Llama and of BERT.

The `gguf` package has the writer, the block formats and the maps of names, and no converter; what stands here is the
part of llama.cpp's `convert_hf_to_gguf.py` that those two architectures need: which number of config.json is which key,
and the order of the rows of query and key projections, which GGUF interleaves. Anything beyond is refused rather than
guessed: other architectures, experts, scaled positions but "linear" and "llama3".

One file, `model.gguf`, takes the place of all safetensors files. Matrices get the recipe's type; tensors of one
dimension, norms, positions and token types stay float32, and rows that no block divides become float16.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from git_lepton.config.recipes import Step
from git_lepton.formats.base import quoted
from git_lepton.values import Tensor
from git_lepton.variants import folder, gguf_tokens, graph, numerics
from git_lepton.variants.folder import CONFIG
from git_lepton.variants.numerics import Distance
from git_lepton.variants.safetensors_out import INDEX_SUFFIX, SUFFIX
from git_lepton.variants.values import ModelFolder, Outcome, TensorError, Unsuitable

if TYPE_CHECKING:
    from git_lepton.variants.numerics import Array

TYPES: Final = {"gguf-q8_0": "Q8_0", "gguf-f16": "F16"}
OUTPUT: Final = "model.gguf"

_ARCHITECTURES: Final = {"llama": "LLAMA", "mistral": "LLAMA", "bert": "BERT"}
_LEFT_OUT: Final = (
    *("*.rotary_emb.inv_freq", "*.attention.bias", "*.attention.masked_bias"),
    *("embeddings.position_ids", "pooler.*", "cls.*"),
)
_FLOAT32: Final = ("*_norm.*", "token_types.weight", "position_embd.weight")
_POOLING: Final = "1_Pooling/config.json"
_SLAB: Final = 2 << 20  # elements
_SUFFIXES: Final = (".weight", ".bias")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One tensor on its way: from `source` in `data` to `name` of `type`."""

    name: str
    type: str
    source: Tensor
    data: memoryview


def build(model: ModelFolder, steps: Sequence[Step], out: Path, exclude: Sequence[str]) -> Outcome:
    """Write `model.gguf` into `out`.

    Raises:
        Unsuitable: the package is missing, or the model is none of those that this knows.
    """
    if len(steps) > 1:
        raise Unsuitable(f"{steps[-1]} stands alone: build {steps[0]} of the safetensors files first")
    if importlib.util.find_spec("gguf") is None:
        raise Unsuitable(f"{steps[0]} needs the package gguf: pip install gguf")
    import gguf

    names = folder.with_suffix(model, SUFFIX)
    config_name, target = folder.beside(names[0], CONFIG), folder.beside(names[0], OUTPUT)
    if config_name not in model.files:
        raise Unsuitable(f"GGUF needs {CONFIG} among the model's files")
    config = folder.read_json(model.path / config_name)
    kind = _ARCHITECTURES.get(str(config.get("model_type")))
    if kind is None:
        known = ", ".join(sorted(_ARCHITECTURES))
        raise Unsuitable(f"GGUF is written for {known}, and this is {quoted(str(config.get('model_type')))}")
    tokenizer = gguf_tokens.read(model, names[0])
    outcome = Outcome([target], sorted(n for n in model.files if n in names or n.endswith(INDEX_SUFFIX)))
    (out / target).parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(out / target, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH[kind]])
    try:
        numbers = _Numbers(config)
        _KEYS[kind](writer, numbers)
        writer.add_file_type(int(gguf.LlamaFileType[f"MOSTLY_{TYPES[steps[0].kind]}"]))
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        if kind == "BERT":
            _pooling(writer, model, names[0])
        gguf_tokens.write(writer, tokenizer, kind, numbers)
        sources = folder.mapped(model, names)
        tensors = [(t, data) for data, layout in sources for t in layout.tensors]
        entries = _entries(tensors, kind, numbers, TYPES[steps[0].kind], exclude)
        _write(writer, entries, numbers, kind, outcome.errors)
    finally:
        writer.close()
    return outcome


class _Numbers:
    """The numbers of config.json, read strictly."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def text(self, key: str) -> str:
        return str(self._config.get(key, ""))

    def table(self, key: str) -> Mapping[str, Any]:
        value = self._config.get(key)
        return value if isinstance(value, dict) else {}

    def whole(self, key: str, default: int | None = None) -> int:
        value = self._config.get(key, default)
        if value is None and default is not None:
            value = default
        if type(value) is not int or not 0 < value < 1 << 31:
            raise Unsuitable(f"{CONFIG} has no usable {key}")
        return value

    def real(self, key: str, default: float | None = None, table: Mapping[str, Any] | None = None) -> float:
        value = (self._config if table is None else table).get(key, default)
        if type(value) not in {int, float} or not math.isfinite(value):
            raise Unsuitable(f"{CONFIG} has no usable {key}")
        return float(value)


def _llama_keys(writer: Any, numbers: _Numbers) -> None:
    import gguf

    if numbers.table("quantization_config") or "num_local_experts" in numbers._config:
        raise Unsuitable("quantized models and mixtures of experts are not written as GGUF")
    heads = numbers.whole("num_attention_heads")
    head_size = numbers.whole("head_dim", numbers.whole("hidden_size") // heads)
    writer.add_block_count(numbers.whole("num_hidden_layers"))
    writer.add_context_length(numbers.whole("max_position_embeddings"))
    writer.add_embedding_length(numbers.whole("hidden_size"))
    writer.add_feed_forward_length(numbers.whole("intermediate_size"))
    writer.add_head_count(heads)
    writer.add_head_count_kv(numbers.whole("num_key_value_heads", heads))
    writer.add_layer_norm_rms_eps(numbers.real("rms_norm_eps"))
    writer.add_vocab_size(numbers.whole("vocab_size"))
    writer.add_rope_dimension_count(head_size)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    rope = _rope(numbers)
    writer.add_rope_freq_base(_rope_base(numbers))
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(numbers.real("factor", table=rope))
    elif kind not in {"default", "llama3"}:
        raise Unsuitable(f"positions scaled by {quoted(str(kind))} are not written as GGUF")


def _rope(numbers: _Numbers) -> Mapping[str, Any]:
    """How positions are scaled; newer configurations keep it under another name."""
    return numbers.table("rope_parameters") or numbers.table("rope_scaling")


def _rope_base(numbers: _Numbers) -> float:
    rope = _rope(numbers)
    return numbers.real("rope_theta", table=rope) if "rope_theta" in rope else numbers.real("rope_theta", 10000.0)


def _bert_keys(writer: Any, numbers: _Numbers) -> None:
    writer.add_block_count(numbers.whole("num_hidden_layers"))
    writer.add_context_length(numbers.whole("max_position_embeddings"))
    writer.add_embedding_length(numbers.whole("hidden_size"))
    writer.add_feed_forward_length(numbers.whole("intermediate_size"))
    writer.add_head_count(numbers.whole("num_attention_heads"))
    writer.add_layer_norm_eps(numbers.real("layer_norm_eps", 1e-12))
    writer.add_causal_attention(False)
    writer.add_token_type_count(numbers.whole("type_vocab_size", 1))


def _pooling(writer: Any, model: ModelFolder, beside: str) -> None:
    """How sentence-transformers makes one vector of a text's tokens; without its file, the reader must be told."""
    import gguf

    name = folder.beside(beside, _POOLING)
    if name in model.files:
        chosen = folder.read_json(model.path / name)
        if chosen.get("pooling_mode_mean_tokens") is True:
            writer.add_pooling_type(gguf.PoolingType.MEAN)
        elif chosen.get("pooling_mode_cls_token") is True:
            writer.add_pooling_type(gguf.PoolingType.CLS)


_KEYS: Final[Mapping[str, Callable[[Any, _Numbers], None]]] = {"LLAMA": _llama_keys, "BERT": _bert_keys}


def _entries(
    tensors: Sequence[tuple[Tensor, memoryview]], kind: str, numbers: _Numbers, type_: str, exclude: Sequence[str]
) -> list[_Entry]:
    import gguf

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[kind], numbers.whole("num_hidden_layers"))
    entries = []
    for tensor, data in tensors:
        plain = tensor.name.removeprefix("bert.") if kind == "BERT" else tensor.name
        plain = plain.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        if graph.matches(plain, _LEFT_OUT):
            continue
        name = names.get_name(plain, try_suffixes=_SUFFIXES)
        if name is None or tensor.dtype not in numerics.FLOAT_DTYPES:
            raise Unsuitable(f"GGUF has no place for the tensor {quoted(tensor.name)}")
        chosen = type_
        if len(tensor.shape) < 2 or graph.matches(name, _FLOAT32):
            chosen = "F32"
        elif graph.matches(tensor.name, exclude):
            chosen = "F32" if tensor.dtype == "F64" else tensor.dtype
        elif type_ == "Q8_0" and tensor.shape[-1] % gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType.Q8_0][0]:
            chosen = "F16"
        entries.append(_Entry(name, chosen, tensor, data))
    return entries


def _write(writer: Any, entries: Sequence[_Entry], numbers: _Numbers, kind: str, errors: list[TensorError]) -> None:
    import gguf
    import numpy as np

    factors = _rope_factors(numbers) if kind == "LLAMA" else None
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    for entry in entries:
        type_ = gguf.GGMLQuantizationType[entry.type]
        shape = entry.source.shape
        if entry.type in {"F32", "F16"}:
            dtype = np.dtype(np.float32 if entry.type == "F32" else np.float16)
            writer.add_tensor_info(entry.name, shape, dtype, math.prod(shape) * dtype.itemsize)
        else:
            stored = gguf.quant_shape_to_byte_shape(shape, type_)
            writer.add_tensor_info(entry.name, stored, np.dtype(np.uint8), math.prod(stored), raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(factors)
    for entry in entries:
        writer.write_tensor_data(_codes(entry, numbers, kind, errors))


def _codes(entry: _Entry, numbers: _Numbers, kind: str, errors: list[TensorError]) -> Array:
    """A tensor's stored bytes, made a slab of rows at a time: the package's quantizers need many copies."""
    import gguf
    import numpy as np

    tensor, type_ = entry.source, gguf.GGMLQuantizationType[entry.type]
    stored = numerics.as_stored(entry.data[tensor.start : tensor.stop], tensor.dtype).reshape(tensor.shape)
    if kind == "LLAMA":
        stored = _interleaved(stored, entry.name, numbers)
    rows = max(1, _SLAB // max(1, math.prod(tensor.shape[1:])))
    slabs: list[Array] = []
    distance = Distance()
    for first in range(0, max(1, len(stored)), rows):
        values = numerics.to_float(stored[first : first + rows], tensor.dtype).astype(np.float32, copy=False)
        slabs.append(gguf.quants.quantize(values, type_))
        if entry.type == "F16" and (np.isinf(slabs[-1]) & np.isfinite(values)).any():
            raise Unsuitable(f"the tensor {tensor.name} holds numbers beyond the format's range: exclude it")
        distance.add(values, gguf.quants.dequantize(slabs[-1], type_).reshape(values.shape))
    if distance.max_abs or entry.type != tensor.dtype:
        errors.append(TensorError(tensor.name, distance.relative_l2, distance.max_abs))
    return np.concatenate(slabs)


def _interleaved(values: Array, name: str, numbers: _Numbers) -> Array:
    """Query and key rows in GGUF's order: the two halves of each head, which rotate together, become neighbours."""
    heads = numbers.whole("num_attention_heads")
    if ".attn_k." in name:
        heads = numbers.whole("num_key_value_heads", heads)
    elif ".attn_q." not in name:
        return values
    if values.shape[0] % (2 * heads):
        raise Unsuitable(f"{name} has {values.shape[0]} rows, which {heads} heads cannot share")
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    turned: Array = halves.swapaxes(1, 2).reshape(values.shape)
    return turned


def _rope_factors(numbers: _Numbers) -> Array | None:
    """Llama 3's divisors of the frequencies (`LlamaModel.generate_extra_tensors` of the converter); None without."""
    import numpy as np

    rope = _rope(numbers)
    if rope.get("rope_type", rope.get("type")) != "llama3":
        return None
    heads = numbers.whole("num_attention_heads")
    size = numbers.whole("head_dim", numbers.whole("hidden_size") // heads)
    frequencies = 1.0 / _rope_base(numbers) ** (np.arange(0, size, 2, dtype=np.float64) / size)
    factor = numbers.real("factor", 8.0, rope)
    low, high = numbers.real("low_freq_factor", 1.0, rope), numbers.real("high_freq_factor", 4.0, rope)
    context = numbers.real("original_max_position_embeddings", 8192, rope)
    if low >= high or factor <= 0 or context <= 0:
        raise Unsuitable(f"{CONFIG} has no usable scaling of positions")
    wavelengths = 2 * math.pi / frequencies
    smooth = (context / wavelengths - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    short, long = wavelengths < context / high, wavelengths > context / low
    factors: Array = np.where(short, 1.0, np.where(long, factor, between)).astype(np.float32)
    return factors
