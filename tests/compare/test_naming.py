"""Names: layers of the models that people use, and ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_lepton.compare.naming import layer_of, ranges, tell_layers, tell_modules


@pytest.mark.parametrize(
    ("name", "noun", "stack", "number"),
    [
        ("encoder.layer.4.attention.self.query.weight", "layers", "encoder", 4),
        ("bert.encoder.layer.11.output.dense.bias", "layers", "encoder", 11),
        ("blk.7.attn_q.weight", "layers", "", 7),
        ("transformer.h.3.mlp.c_fc.weight", "layers", "", 3),
        ("h.3.mlp.c_fc.weight", "layers", "", 3),
        ("model.layers.12.self_attn.q_proj.weight", "layers", "", 12),
        ("decoder.block.0.layer.1.EncDecAttention.q.weight", "layers", "decoder", 0),
        ("layer_1.weight", "layers", "", 1),
        ("model/dense_2/Tensordot/ReadVariableOp:0", "dense", "", 2),
        ("_model.encoder.0.reparam_conv.weight", "encoder", "", 0),
        ("If_0.else_branch/If_0_else_branch__Inline_0__encoder.3.reparam_conv.bias", "encoder", "else_branch", 3),
        ("features.0.weight", "features", "", 0),
    ],
)
def test_layers(name: str, noun: str, stack: str, number: int) -> None:
    layer = layer_of(name)
    assert layer is not None
    assert (layer.noun, layer.stack, layer.number) == (noun, stack, number)


@pytest.mark.parametrize(
    "name", ["weight", "val_460_q", "embeddings.word_embeddings.weight", "const_fold_opt__210", "0", "a.0", "0.weight"]
)
def test_names_without_layers(name: str) -> None:
    layer = layer_of(name)
    assert layer is None


@given(st.text())
def test_any_name_has_an_answer(name: str) -> None:
    layer_of(name)
    tell_modules([name], [name, "x"])


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], ""), ([3], "3"), ([4, 5], "4-5"), ([5, 0, 1, 2, 3, 3], "0-3, 5"), ([0, 2, 4], "0, 2, 4")],
)
def test_ranges(numbers: list[int], text: str) -> None:
    assert ranges(numbers) == text


def test_two_stacks_are_told_apart() -> None:
    names = [f"{stack}.block.{n}.w" for stack in ("encoder", "decoder") for n in range(4)]
    assert tell_layers(names[:2], names) == ["encoder layers 0-1"]
    assert tell_layers([names[0], *names[4:]], names) == ["encoder layer 0", "all 4 decoder layers"]


def test_modules() -> None:
    names = ["a.b.w", "a.b.x", "a.c.w", "head.w", "h.0.w", "norm"]
    assert tell_modules(["a.b.w", "a.b.x"], names) == ["a.b"]
    assert tell_modules(["a.b.w"], names) == ["a.b.w"]
    assert tell_modules(["a.b.w", "a.b.x", "a.c.w", "head.w", "h.0.w", "norm"], names) == ["a", "head", "norm"]
