"""The sentence, scenario by scenario: what a reviewer reads first."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from git_lepton.compare.summary import summarise
from git_lepton.compare.values import Moments, Numbers
from tests.compare.models import Tensors, archive, compared, gguf_file, onnx_model, saved, side, tensor, transformer

BASE = transformer()


def sentence(tmp_path: Path, before: bytes, after: bytes, name: str = "m.safetensors") -> str:
    return compared(tmp_path, {name: before}, {name: after}).summary


def cast(tensors: Tensors, dtype: str, width: int) -> Tensors:
    """Another dtype, and bytes of that width that are those of nobody else."""
    return {
        name: (dtype, shape, hashlib.shake_128(data).digest(len(data) // 4 * width))
        for name, (_, shape, data) in tensors.items()
    }


def numbered(tensors: Tensors) -> Tensors:
    """Without layer 2: the layers after it move up."""
    made: Tensors = {}
    for name, value in tensors.items():
        parts = name.split(".")
        if "layer" in parts:
            number = int(parts[2])
            if number == 2:
                continue
            parts[2] = str(number - (number > 2))
        made[".".join(parts)] = value
    return made


SCENARIOS: dict[str, tuple[Tensors, Tensors, str]] = {
    "nothing": (BASE, BASE, "nothing changed"),
    "two layers": (BASE, transformer(layer_4=7, layer_5=7), "layers 4-5 changed, embeddings unchanged"),
    "a head": (BASE, transformer(head=9), "pooler changed, embeddings unchanged"),
    "vocabulary": (
        BASE,
        transformer(vocabulary=114, layer_4=7, layer_5=7),
        "layers 4-5 changed, +64 vocabulary rows",
    ),
    "everything": (
        BASE,
        {name: tensor(5000 + n, *shape) for n, (name, (_, shape, _)) in enumerate(BASE.items())},
        "every tensor changed",
    ),
    "everything but a table of integers": (
        {"ids": ("I64", (4,), bytes(32)), "w": tensor(1, 64), "v": tensor(2, 64)},
        {"ids": ("I64", (4,), bytes(32)), "w": tensor(3, 64), "v": tensor(4, 64)},
        "2 of 3 tensors changed",
    ),
    "a cast": (BASE, transformer(dtype="BF16"), "only the dtype changed: F32 -> BF16"),
    "a cast and more": (
        BASE,
        transformer(dtype="BF16") | {"added.weight": tensor(77, 4)},
        "dtype changed: F32 -> BF16, added added",
    ),
    "int8": (BASE, cast(BASE, "I8", 1), "quantized to int8"),
    "no quantization": (BASE, cast(BASE, "I64", 8), "only the dtype changed: F32 -> I64"),
    "int4": (
        {"a.weight": tensor(1, 16, 8), "norm": tensor(2, 8)},
        {
            "a.weight_Q4": ("U8", (16, 4), bytes(range(64))),
            "a.weight_scales": tensor(3, 16),
            "norm": tensor(2, 8),
        },
        "quantized to int4",
    ),
    "renamed": (
        BASE,
        {f"bert.{name}": value for name, value in BASE.items()},
        "renamed with bert in front: no value changed",
    ),
    "a layer less": (BASE, numbered(BASE), "layer 2 removed, 18 tensors renumbered"),
    "two layers more": (BASE, transformer(layers=8), "layers 6-7 added"),
    "an adapter": (
        BASE,
        BASE | {f"encoder.layer.{n}.lora_{x}.weight": tensor(900 + n, 2, 8) for n in range(6) for x in "AB"},
        "LoRA adapter in all 6 layers added",
    ),
    "one tensor": (
        {"w": tensor(1, 64)},
        {"w": tensor(2, 64)},
        "w changed",
    ),
    "another model": (
        BASE,
        {f"conv.{n}.kernel": tensor(n, 3, 3, 5) for n in range(9)},
        "another architecture, no tensor with a counterpart",
    ),
    "one reshaped": (
        BASE,
        BASE | {"pooler.dense.weight": tensor(3, 4, 8)},
        "reshaped pooler.dense.weight [8, 8] -> [4, 8]",
    ),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_safetensors(tmp_path: Path, scenario: str) -> None:
    before, after, wanted = SCENARIOS[scenario]
    assert sentence(tmp_path, saved(before), saved(after)) == wanted


ONNX: dict[str, tuple[dict[str, object], str]] = {
    "graph": ({"relus": 3, "opset": 18}, "graph changed: +2 Relu, opset 17 -> 18, weights unchanged"),
    "weights": ({"seed": 1}, "every tensor changed"),
    "an attribute": ({"alpha": 0.2}, "graph changed: settings of leaky, weights unchanged"),
    "an input": (
        {"batch": "n"},
        "graph changed: input x F32[batch, 8] -> F32[n, 8], output y F32[batch, 8] -> F32[n, 8], weights unchanged",
    ),
    "a constant": ({"scalar": 3.0}, "1 constant changed, weights unchanged"),
    "connections": ({"swapped": True}, "graph changed: other connections, weights unchanged"),
    "a branch": ({"branch": "Mul"}, "graph changed: -1 Add, +1 Mul, weights unchanged"),
    "metadata": ({"metadata": {"epoch": "3"}}, "metadata only"),
    "names": ({"names": "other"}, "renamed from w to other: no value changed"),
}


@pytest.mark.parametrize("scenario", ONNX)
def test_onnx(tmp_path: Path, scenario: str) -> None:
    change, wanted = ONNX[scenario]
    assert sentence(tmp_path, onnx_model(), onnx_model(**change), "m.onnx") == wanted  # type: ignore[arg-type]


def test_renamed_and_resharded(tmp_path: Path) -> None:
    items = [(f"model.{name}", value) for name, value in BASE.items()]
    shards = {f"m/model-0000{n + 1}-of-00002.safetensors": saved(dict(items[n * 20 : n * 20 + 20])) for n in range(2)}
    assert len(items) == 40
    found = compared(tmp_path, {"m/model.safetensors": saved(BASE)}, shards)
    assert found.summary == "renamed with model in front and resharded into 2 files: no value changed"
    back = compared(tmp_path / "back", shards, {"m/model.safetensors": saved(BASE)})
    assert back.summary == "renamed without model in front and joined into one file: no value changed"


def test_a_shard_that_stayed_the_same_counts(tmp_path: Path) -> None:
    def shards(model: Tensors) -> dict[str, bytes]:
        halves = {n: dict(list(model.items())[n * 20 : n * 20 + 20]) for n in range(2)}
        return {f"m-0000{n + 1}-of-00002.safetensors": saved(half) for n, half in halves.items()}

    changed = transformer(layer_3=4, layer_4=4, layer_5=4, head=9)
    assert compared(tmp_path, shards(BASE), shards(changed)).summary == (
        "layers 3-5, pooler changed, embeddings unchanged"
    )


def test_files_that_come_go_and_move(tmp_path: Path) -> None:
    model = saved(BASE)
    assert compared(tmp_path / "1", {}, {"a.safetensors": model}).summary == (
        "a.safetensors added (40 tensors, 1.9 k values)"
    )
    assert compared(tmp_path / "2", {"a.safetensors": model}, {}).summary == (
        "a.safetensors removed (40 tensors, 1.9 k values)"
    )
    assert compared(tmp_path / "3", {"a.safetensors": model}, {"b/c.safetensors": model}).summary == (
        "a.safetensors renamed to b/c.safetensors: no value changed"
    )
    pair = {f"x-0000{n}-of-00002.safetensors": saved({f"w{n}": tensor(n, 4)}) for n in (1, 2)}
    moved = {f"new/{name}": data for name, data in pair.items()}
    assert compared(tmp_path / "4", pair, moved).summary == "2 files renamed: no value changed"


def test_several_models(tmp_path: Path) -> None:
    before = {f"{n}/m.safetensors": saved({"w": tensor(n, 64)}) for n in range(5)}
    two = before | {"1/m.safetensors": saved({"w": tensor(91, 64)}), "3/m.safetensors": saved({"w": tensor(93, 64)})}
    assert compared(tmp_path / "two", before, two).summary == "1/m.safetensors: w changed; 3/m.safetensors: w changed"
    after = {f"{n}/m.safetensors": saved({"w": tensor(n + 50, 64)}) for n in range(1, 5)}
    after["5/other.safetensors"] = saved({"other": tensor(5, 32)})
    assert compared(tmp_path / "all", before, after).summary == "6 models: 1 added, 1 removed, 4 changed"


def test_gguf(tmp_path: Path) -> None:
    values = bytes(range(128))
    key = ("general.name", 8, b"\x01\0\0\0\0\0\0\0a")
    before = gguf_file([key], [("blk.0.w", 0, 32, values), ("blk.1.w", 0, 32, values[::-1])])
    small = gguf_file([key], [("blk.0.w", 8, 32, values[:34]), ("blk.1.w", 8, 32, values[34:68])])
    assert sentence(tmp_path / "1", before, small, "m.gguf") == "quantized to Q8_0"
    named = gguf_file([(key[0], 8, key[2][:-1] + b"b")], [("blk.0.w", 0, 32, values), ("blk.1.w", 0, 32, values[::-1])])
    assert sentence(tmp_path / "2", before, named, "m.gguf") == "metadata only"


def test_pytorch(tmp_path: Path) -> None:
    members = {"data.pkl": b"\x80\x02}q\x00.", "data/0": bytes(64), "version": b"3\n", "code/m.py": b"pass\n"}
    other = members | {"data/0": bytes(range(64))}
    assert sentence(tmp_path / "1", archive(members), archive(other), "m.pt") == "data/0 changed"
    code = members | {"code/m.py": b"return\n"}
    assert sentence(tmp_path / "2", archive(members), archive(code), "m.pt") == (
        "graph changed: 1 source file, weights unchanged"
    )


def test_names_that_mislead_are_escaped_and_cut(tmp_path: Path) -> None:
    evil = {"\x1b[2J\u202e": tensor(1, 64), "stays": tensor(3, 64)}
    assert sentence(tmp_path / "1", saved(evil), saved(evil | {"\x1b[2J\u202e": tensor(2, 64)})) == (
        "\\x1b[2J\\u{202e} changed"
    )
    long = {"x" * 5000: tensor(1, 64)}
    assert len(sentence(tmp_path / "2", saved(long), saved({"x" * 5000: tensor(2, 64)}))) == 600


def test_files_without_tensors(tmp_path: Path) -> None:
    assert sentence(tmp_path, b"one", b"two", "model.onnx_data") == "content changed"


def test_another_format(tmp_path: Path) -> None:
    weights = {"w.0.weight": tensor(1, 64)}
    gguf = gguf_file([], [("w", 0, 64, weights["w.0.weight"][2])])
    told = sentence(tmp_path, saved(weights), gguf, "model.bin")
    assert told == "renamed: no value changed, converted from safetensors to gguf"


def figures(distance: float, rank: int | None = None) -> Numbers:
    still = Moments(0.0, 1.0, 0, 0, 0)
    return Numbers(64, 64, False, 64, distance, distance, 1.0, distance, still, still, rank)


@pytest.mark.parametrize(
    ("before", "after", "distance", "rank", "wanted"),
    [
        (BASE, transformer(dtype="BF16"), 2e-3, None, "only the dtype changed: F32 -> BF16 (cast)"),
        (
            BASE,
            transformer(dtype="BF16"),
            0.3,
            None,
            "only the dtype changed: F32 -> BF16 (and values beyond rounding)",
        ),
        (
            BASE,
            transformer(layer_1=3),
            0.01,
            1,
            "layer 1 fine-tuned by a low-rank update (rank 1), embeddings unchanged",
        ),
        (BASE, transformer(layer_1=3), 0.01, 5, "layer 1 fine-tuned, embeddings unchanged"),
        (
            BASE,
            transformer(layer_1=3),
            0.7,
            5,
            "layer 1 rewritten (half of the tensors by 70 % of their norm or more), embeddings unchanged",
        ),
        (
            BASE,
            transformer(layer_1=3),
            0.999,
            5,
            "layer 1 rewritten (half of the tensors by 100 % of their norm or more), embeddings unchanged",
        ),
        (
            BASE,
            BASE | {"pooler.dense.bias": tensor(77, 8)},
            1e9,
            None,
            "pooler.dense.bias rewritten (by 10,000 % of its norm), embeddings unchanged",
        ),
        (
            {f"w{n}": tensor(n, 64) for n in range(4)},
            {f"w{n}": tensor(n + 9, 64) for n in range(4)},
            0.01,
            None,
            "fine-tuned: every tensor changed, half of them by 1 % of their norm or more",
        ),
        (
            {f"w{n}": tensor(n, 64) for n in range(4)},
            {f"w{n}": tensor(n + 9, 64) for n in range(4)},
            1.4,
            None,
            "retrained: every tensor changed, half of them by 140 % of their norm or more",
        ),
    ],
)
def test_numbers_allow_to_say_more(
    tmp_path: Path, before: Tensors, after: Tensors, distance: float, rank: int | None, wanted: str
) -> None:
    found = compared(tmp_path, {"m.safetensors": saved(before)}, {"m.safetensors": saved(after)})
    tensors = tuple(
        replace(change, numbers=figures(distance, rank if change.after and len(change.after.shape) == 2 else None))
        for change in found.files[0].tensors
    )
    filled = replace(found, numbers=True, files=(replace(found.files[0], tensors=tensors),))
    sides = (side(tmp_path / name, {}) for name in ("before", "after"))
    assert summarise(filled, *sides) == wanted
