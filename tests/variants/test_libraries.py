"""Files of other people's formats, opened by the libraries that serve them; skipped where those are not installed.

They are too large for the test extra: `pip install compressed-tensors transformers torch xllamacpp` and run
`pytest tests/variants/test_libraries.py`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from git_lepton.variants.values import Outcome
from tests.variants.kit import folder_of, inline


def llama(path: Path, dtype: str, **changed: Any) -> Any:
    """A small Llama of random weights in shards, as its own library saves it."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 128,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.2,
    }
    config = transformers.LlamaConfig(**(sizes | changed))
    model = transformers.LlamaForCausalLM(config).to(getattr(torch, dtype))
    model.save_pretrained(path, max_shard_size="300KB")
    return model


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("recipe", ["fp8", "int8", "int4", "prune50+int4"])
def test_compressed_tensors_reads_the_numbers_that_we_measured(tmp_path: Path, recipe: str, dtype: str) -> None:
    pytest.importorskip("compressed_tensors")
    before = llama(tmp_path / "model", dtype)
    outcome = inline(recipe, folder_of(tmp_path / "model"), tmp_path / "out")
    assert isinstance(outcome, Outcome), outcome
    shutil.copytree(tmp_path / "model", tmp_path / "whole")
    shutil.copytree(tmp_path / "out" / "new", tmp_path / "whole", dirs_exist_ok=True)
    transformers = pytest.importorskip("transformers")
    after = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "whole", dtype=dtype)
    after(pytest.importorskip("torch").tensor([[1, 2]]))  # unpacked when first used
    assert len(outcome.errors) == 14
    for error in outcome.errors:
        module = error.name.removesuffix(".weight")
        old = before.get_submodule(module).weight.detach().float().numpy()
        new = after.get_submodule(module).weight.detach().float().numpy()
        measured = np.linalg.norm(new - old) / np.linalg.norm(old)
        assert measured == pytest.approx(error.relative_l2, rel=0.05)  # bfloat16 rounds once more
    assert after.get_submodule("lm_head").weight.equal(before.get_submodule("lm_head").weight)


def test_llama_cpp_continues_a_text_as_the_original_does(tmp_path: Path) -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    torch = pytest.importorskip("torch")
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *"abcdefghij"]
    model = llama(tmp_path / "model", "float32", vocab_size=len(tokens))
    tokenizer = {
        "model": {
            "type": "BPE",
            "byte_fallback": True,
            "unk_token": "<unk>",
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [],
        },
        "added_tokens": [{"id": i, "content": tokens[i], "special": True} for i in range(3)],
        "normalizer": {"type": "Prepend", "prepend": "\u2581"},
    }
    (tmp_path / "model" / "tokenizer.json").write_text(json.dumps(tokenizer))
    outcome = inline("gguf-f16", folder_of(tmp_path / "model"), tmp_path / "out")
    assert isinstance(outcome, Outcome), outcome
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(tmp_path / "out" / "new" / "model.gguf")
    parameters.n_ctx = 64
    parameters.warmup = False
    request = {"prompt": "abcabc", "temperature": 0, "max_tokens": 8, "return_tokens": True}
    answer = xllamacpp.Server(parameters).handle_completions(request)
    text = (answer if isinstance(answer, dict) else json.loads(answer))["choices"][0]["text"]
    ids = [1, *(tokens.index(token) for token in "\u2581abcabc")]
    with torch.no_grad():
        continued = model.generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False)[0, len(ids) :].tolist()
    printable = [tokens[i] for i in continued if len(tokens[i]) == 1]
    assert [c for c in text if c in tokens] == [t for t in printable if t != "\u2581"]
