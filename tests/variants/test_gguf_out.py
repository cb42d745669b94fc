"""GGUF read back by the package that owns the format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from git_lepton.variants.values import ModelFolder, Outcome
from tests.variants.kit import folder_of, inline, random, safetensors_folder

gguf = pytest.importorskip("gguf")

Tensors = dict[str, tuple[str, Sequence[int], bytes]]


def tensors(shapes: dict[str, tuple[int, ...]]) -> Tensors:
    return {name: ("F32", shape, random(i, *shape).tobytes()) for i, (name, shape) in enumerate(shapes.items())}


def llama(path: Path, **changed: Any) -> ModelFolder:
    layer = "model.layers.0."
    shapes = {
        "model.embed_tokens.weight": (8, 64),
        f"{layer}self_attn.q_proj.weight": (64, 64),
        f"{layer}self_attn.k_proj.weight": (32, 64),
        f"{layer}self_attn.v_proj.weight": (32, 64),
        f"{layer}self_attn.o_proj.weight": (64, 64),
        f"{layer}mlp.gate_proj.weight": (96, 64),
        f"{layer}mlp.up_proj.weight": (96, 64),
        f"{layer}mlp.down_proj.weight": (64, 96),
        f"{layer}input_layernorm.weight": (64,),
        f"{layer}post_attention_layernorm.weight": (64,),
        "model.norm.weight": (64,),
    }
    config = {
        "model_type": "llama",
        "num_hidden_layers": 1,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
        "rms_norm_eps": 1e-5,
        "vocab_size": 8,
        **changed,
    }
    tokenizer = {
        "model": {
            "type": "BPE",
            "byte_fallback": True,
            "unk_token": "<unk>",
            "vocab": {"<unk>": 0, "<s>": 1, "<0x0A>": 2, "\u2581a": 3, "b": 4, "c": 5},
            "merges": [],
        },
        "added_tokens": [{"id": 1, "content": "<s>", "special": True}, {"id": 6, "content": "<mine>"}],
        "normalizer": {"type": "Prepend", "prepend": "\u2581"},
    }
    safetensors_folder(path, tensors(shapes), config)
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder_of(path)


def bert(path: Path) -> ModelFolder:
    layer = "bert.encoder.layer.0."
    shapes: dict[str, tuple[int, ...]] = {
        "bert.embeddings.word_embeddings.weight": (6, 32),
        "bert.embeddings.position_embeddings.weight": (16, 32),
        "bert.embeddings.token_type_embeddings.weight": (2, 32),
        "bert.embeddings.LayerNorm.gamma": (32,),
        "bert.embeddings.LayerNorm.beta": (32,),
        f"{layer}attention.self.query.weight": (32, 32),
        f"{layer}output.dense.weight": (32, 48),
        f"{layer}output.dense.bias": (32,),
        "bert.pooler.dense.weight": (32, 32),
    }
    config = {
        "model_type": "bert",
        "num_hidden_layers": 1,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "max_position_embeddings": 16,
        "type_vocab_size": 2,
        "vocab_size": 6,
    }
    vocab = {"[PAD]": 0, "[UNK]": 1, "cat": 2, "##s": 3, "dog": 4}
    tokenizer = {
        "model": {"type": "WordPiece", "vocab": vocab},
        "added_tokens": [
            {"id": 0, "content": "[PAD]", "special": True},
            {"id": 1, "content": "[UNK]", "special": True},
        ],
    }
    safetensors_folder(path, tensors(shapes), config)
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    return folder_of(path)


def read(tmp_path: Path, recipe: str, model: ModelFolder) -> tuple[dict[str, Any], dict[str, Any], Outcome]:
    outcome = inline(recipe, model, tmp_path / "out")
    assert isinstance(outcome, Outcome), outcome
    assert (outcome.written, outcome.dropped) == (["model.gguf"], ["model.safetensors"])
    reader = gguf.GGUFReader(tmp_path / "out" / "new" / "model.gguf")
    fields = {name: field.contents() for name, field in reader.fields.items()}
    return {tensor.name: tensor for tensor in reader.tensors}, fields, outcome


def test_llama_has_its_keys_its_tokens_and_interleaved_heads(tmp_path: Path) -> None:
    found, fields, outcome = read(tmp_path, "gguf-f16", llama(tmp_path / "model"))
    assert fields["general.architecture"] == "llama"
    assert fields["llama.attention.head_count_kv"] == 2
    assert fields["llama.rope.freq_base"] == 10000
    assert fields["tokenizer.ggml.tokens"] == ["<unk>", "<s>", "<0x0A>", "\u2581a", "b", "c", "<mine>", "[PAD7]"]
    assert fields["tokenizer.ggml.token_type"] == [2, 3, 6, 1, 1, 1, 4, 5]
    assert fields["tokenizer.ggml.scores"] == [0, 0, 0, 0, -1, -2, 0, 0]
    assert fields["tokenizer.ggml.add_space_prefix"] is True
    keys = random(2, 32, 64).astype(np.float16)
    turned = keys.reshape(2, 2, 8, 64).swapaxes(1, 2).reshape(32, 64)
    assert np.array_equal(found["blk.0.attn_k.weight"].data, turned)
    assert np.array_equal(found["blk.0.attn_v.weight"].data, random(3, 32, 64).astype(np.float16))
    assert found["output_norm.weight"].tensor_type == gguf.GGMLQuantizationType.F32
    assert "model.norm.weight" not in {error.name for error in outcome.errors}


def test_q8_0_has_the_packages_own_blocks(tmp_path: Path) -> None:
    found, _, outcome = read(tmp_path, "gguf-q8_0", llama(tmp_path / "model"))
    tensor = found["blk.0.attn_v.weight"]
    assert tensor.tensor_type == gguf.GGMLQuantizationType.Q8_0
    theirs = gguf.quants.quantize(random(3, 32, 64), gguf.GGMLQuantizationType.Q8_0)
    assert np.array_equal(tensor.data, theirs)
    error = next(e for e in outcome.errors if e.name.endswith("v_proj.weight"))
    restored = gguf.quants.dequantize(theirs, gguf.GGMLQuantizationType.Q8_0)
    assert error.max_abs == pytest.approx(np.abs(restored - random(3, 32, 64)).max(), rel=1e-6)


def test_bert_has_its_words_and_leaves_the_pooler_out(tmp_path: Path) -> None:
    found, fields, _ = read(tmp_path, "gguf-q8_0", bert(tmp_path / "model"))
    assert fields["tokenizer.ggml.tokens"] == ["[PAD]", "[UNK]", "\u2581cat", "s", "\u2581dog", "[PAD5]"]
    assert fields["bert.pooling_type"] == 1
    assert fields["bert.attention.causal"] is False
    assert found["position_embd.weight"].tensor_type == gguf.GGMLQuantizationType.F32
    assert found["token_embd_norm.bias"].data.shape == (32,)
    assert found["blk.0.ffn_down.weight"].tensor_type == gguf.GGMLQuantizationType.F16  # 48 is no multiple of 32
    assert not [name for name in found if "pooler" in name]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model_type": "falcon"}, "this is 'falcon'"),
        ({"num_local_experts": 8}, "mixtures of experts"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "positions scaled by 'yarn'"),
        ({"hidden_size": "64"}, "no usable hidden_size"),
        ({"num_attention_heads": 3}, "heads cannot share"),
        ({"vocab_size": 5}, "config.json only 5 tokens"),
    ],
)
def test_what_it_does_not_know_is_refused(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    reason = inline("gguf-f16", llama(tmp_path / "model", **changed), tmp_path / "out")
    assert isinstance(reason, str)
    assert words in reason


def test_other_ways_to_split_text_are_refused(tmp_path: Path) -> None:
    model = llama(tmp_path / "model")
    path = model.path / "tokenizer.json"
    path.write_text(path.read_text().replace('"byte_fallback": true', '"byte_fallback": false'))
    reason = inline("gguf-f16", model, tmp_path / "out")
    assert isinstance(reason, str)
    assert "splits text in a way that is not known" in reason
    path.unlink()
    reason = inline("gguf-f16", folder_of(model.path), tmp_path / "out2")
    assert reason == "GGUF needs tokenizer.json among the model's files"


def test_llama_3_scales_its_frequencies(tmp_path: Path) -> None:
    rope = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 32, "rope_theta": 500000.0}
    found, fields, _ = read(tmp_path, "gguf-f16", llama(tmp_path / "model", rope_parameters=rope))
    assert fields["llama.rope.freq_base"] == 500000
    factors = found["rope_freqs.weight"].data
    assert factors[0] == 1
    assert factors[-1] == 8
