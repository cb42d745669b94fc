"""Variants of ONNX models: the tools' own bytes, errors that are what the model computes with, reasons that help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from git_lepton.demo import digits
from git_lepton.variants.calibration import Batches
from git_lepton.variants.values import ModelFolder, Outcome, Unsuitable
from tests.variants.kit import Array, folder_of, inline, mlp, onnx_folder, random, run_onnx


def built(recipe: str, tmp_path: Path, model: Any, **options: Any) -> tuple[Path, Outcome]:
    outcome = inline(recipe, onnx_folder(tmp_path / "model", model), tmp_path / "out", **options)
    assert isinstance(outcome, Outcome), outcome
    return tmp_path / "out" / "new" / "model.onnx", outcome


def weight(model: Path, name: str) -> Array:
    graph = onnx.load(str(model)).graph
    return np.asarray(numpy_helper.to_array(next(i for i in graph.initializer if i.name == name)))


def test_int8_is_onnxruntimes_own_output(tmp_path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    path, outcome = built("int8", tmp_path, mlp())
    quantize_dynamic(tmp_path / "model" / "model.onnx", tmp_path / "theirs.onnx")
    assert path.read_bytes() == (tmp_path / "theirs.onnx").read_bytes()
    assert [error.name for error in outcome.errors] == ["w0", "w1"]
    codes, scale = weight(path, "w0_quantized").astype(np.float32), weight(path, "w0_scale")
    difference = codes * scale - random(0, 64, 128)
    assert outcome.errors[0].max_abs == pytest.approx(np.abs(difference).max(), rel=1e-5)
    assert 0 < outcome.errors[0].relative_l2 < 0.02


@pytest.mark.slow
def test_int8_of_a_trained_model_is_onnxruntimes_own_output(tmp_path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    (tmp_path / "model").mkdir()
    original = tmp_path / "model" / "digits.onnx"
    digits.write_onnx(digits.train_first(digits.load_images()), original)
    outcome = inline("int8", folder_of(tmp_path / "model", "digits.onnx"), tmp_path / "out")
    assert isinstance(outcome, Outcome), outcome
    quantize_dynamic(original, tmp_path / "theirs.onnx")
    assert (tmp_path / "out" / "new" / "digits.onnx").read_bytes() == (tmp_path / "theirs.onnx").read_bytes()


def test_fp16_keeps_the_types_of_inputs_and_outputs(tmp_path: Path) -> None:
    path, outcome = built("fp16", tmp_path, mlp())
    assert path.stat().st_size < 0.6 * (tmp_path / "model" / "model.onnx").stat().st_size
    x = random(7, 3, 64)
    y = run_onnx(path, x=x)
    assert y.dtype == np.float32
    assert np.allclose(y, run_onnx(tmp_path / "model" / "model.onnx", x=x), atol=1e-3)
    assert outcome.errors[0].max_abs == np.abs(random(0, 64, 128).astype(np.float16) - random(0, 64, 128)).max()


def test_int4_errors_are_those_of_the_numbers_that_it_computes_with(tmp_path: Path) -> None:
    model = mlp((64, 128))
    model.graph.node[-1].op_type = "Identity"
    path, outcome = built("int4", tmp_path, model)
    restored = run_onnx(path, x=np.eye(64, dtype=np.float32))
    before = random(0, 64, 128)
    assert outcome.errors[0].max_abs == pytest.approx(np.abs(restored - before).max(), rel=1e-3)
    norm = np.linalg.norm(restored - before) / np.linalg.norm(before)
    assert outcome.errors[0].relative_l2 == pytest.approx(norm, rel=1e-3)


def test_static_int8_sees_the_examples(tmp_path: Path) -> None:
    examples = tmp_path / "calibration.npz"
    np.savez(examples, x=random(3, 40, 64))
    path, outcome = built("int8-static", tmp_path, mlp(), calibration=examples)
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in onnx.load(str(path)).graph.node}
    assert len(weight(path, "w0_scale")) == 128
    assert [error.name for error in outcome.errors] == ["w0", "w1"]
    assert outcome.errors[0].relative_l2 < 0.01
    x = random(5, 2, 64)
    assert np.allclose(run_onnx(path, x=x), run_onnx(tmp_path / "model" / "model.onnx", x=x), atol=0.02)


def test_a_bias_of_two_dimensions_is_quantized_so_that_any_runtime_can_read_it(tmp_path: Path) -> None:
    """Not only one that fuses the scales away, as onnxruntime does with all its optimisations."""
    model = mlp((64, 32))
    model.graph.initializer.append(numpy_helper.from_array(random(9, 1, 32), "bias"))
    model.graph.node[0].output[0] = "product"
    model.graph.node.insert(1, helper.make_node("Add", ["product", "bias"], ["m0"], name="sum"))
    examples = tmp_path / "calibration.npz"
    np.savez(examples, x=random(3, 40, 64))
    path, _ = built("int8-static", tmp_path, model, calibration=examples)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    x = random(5, 2, 64)
    (plain,) = onnxruntime.InferenceSession(path, options).run(None, {"x": x})
    assert np.allclose(plain, run_onnx(tmp_path / "model" / "model.onnx", x=x), atol=0.02)


def test_examples_that_do_not_fit_show_both_signatures(tmp_path: Path) -> None:
    examples = tmp_path / "calibration.npz"
    np.savez(examples, x=random(3, 4, 63), z=random(3, 4))
    reason = inline("int8-static", onnx_folder(tmp_path / "model", mlp()), tmp_path / "out", calibration=examples)
    assert isinstance(reason, str)
    assert "the model takes x float['rows', 64], the file has x float32[4, 63], z float32[4]" in reason
    reason = inline("int8-static", folder_of(tmp_path / "model", "model.onnx"), tmp_path / "out2")
    assert isinstance(reason, str)
    assert "needs examples" in reason


@pytest.mark.parametrize(("free", "rows"), [(None, 1), (1, 16)])
def test_a_state_goes_into_every_batch(tmp_path: Path, free: int | None, rows: int) -> None:
    """With a free dimension it is a state for one example."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}_"]) for name in ("x", "state", "rate")],
        "voice",
        [
            info("x", TensorProto.FLOAT, [None, 5]),
            info("state", TensorProto.FLOAT, [2, free, 3]),
            info("rate", TensorProto.INT64, []),
        ],
        [
            info("x_", TensorProto.FLOAT, None),
            info("state_", TensorProto.FLOAT, None),
            info("rate_", TensorProto.INT64, []),
        ],
    )
    path, examples = tmp_path / "m.onnx", tmp_path / "c.npz"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    np.savez(examples, x=random(0, 32, 5), state=random(1, 2, 1, 3), rate=np.array(16000))
    shapes = [{name: array.shape for name, array in batch.items()} for batch in Batches(examples, path)]
    assert shapes == [{"x": (rows, 5), "state": (2, 1, 3), "rate": ()}] * (32 // rows)
    np.savez(examples, x=random(0, 32, 5), state=random(1, 3, 1, 3), rate=np.array(16000))
    with pytest.raises(Unsuitable, match="different numbers of rows"):
        Batches(examples, path)


@pytest.mark.parametrize("constants", [False, True])
def test_pruning_reaches_weights_wherever_they_lie(tmp_path: Path, constants: bool) -> None:
    path, outcome = built("prune50", tmp_path, mlp((16, 32, 8), constants=constants))
    assert [error.name for error in outcome.errors] == ["w0", "w1"]
    tensors = list(onnx.load(str(path)).graph.initializer) or [
        node.attribute[0].t for node in onnx.load(str(path)).graph.node if node.op_type == "Constant"
    ]
    for i, tensor in enumerate(tensors):
        after, before = numpy_helper.to_array(tensor), random(i, *tensor.dims)
        assert (after == 0).sum() == after.size // 2
        assert np.array_equal(after[after != 0], before[after != 0])


def test_pruning_two_of_four_follows_the_products(tmp_path: Path) -> None:
    path, _ = built("prune2:4", tmp_path, mlp((16, 8)))
    zeros = weight(path, "w0").reshape(4, 4, 8) == 0
    assert (zeros.sum(axis=1) == 2).all()


def test_pruning_reaches_branches(tmp_path: Path) -> None:
    def branch(seed: int) -> Any:
        constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(random(seed, 4, 8), "w"))
        product = helper.make_node("MatMul", ["x", "w"], ["out"])
        return helper.make_graph(
            [constant, product], f"b{seed}", [], [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 8])]
        )

    node = helper.make_node("If", ["c"], ["y"], then_branch=branch(1), else_branch=branch(2))
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("c", TensorProto.BOOL, []), helper.make_tensor_value_info("x", 1, [1, 4])],
        [helper.make_tensor_value_info("y", 1, [1, 8])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path, outcome = built("prune50", tmp_path, model)
    assert [error.name for error in outcome.errors] == ["w", "w#2"]
    assert run_onnx(path, c=np.array(True), x=random(3, 1, 4)).shape == (1, 8)


def test_a_chain_has_the_errors_of_all_its_steps(tmp_path: Path) -> None:
    path, outcome = built("ort+prune50+int8", tmp_path, mlp())
    codes = weight(path, "w0_quantized")
    assert (codes == 0).sum() >= codes.size // 2
    assert outcome.errors[0].relative_l2 > 0.2


@pytest.mark.parametrize(
    ("glob", "named", "untouched"),
    [("matmul_1", True, "w1"), ("w0", True, "w0"), ("w0", False, "w0"), ("matmul_*", True, "w0 w1")],
)
@pytest.mark.parametrize("recipe", ["int8", "prune50"])
def test_globs_of_nodes_and_tensors_exclude(
    tmp_path: Path, glob: str, named: bool, untouched: str, recipe: str
) -> None:
    outcome = inline(recipe, onnx_folder(tmp_path / "model", mlp(named=named)), tmp_path / "out", exclude=[glob])
    if untouched == "w0 w1" and recipe == "prune50":
        assert isinstance(outcome, str)
        return
    assert isinstance(outcome, Outcome), outcome
    assert [error.name for error in outcome.errors] == [w for w in ("w0", "w1") if w not in untouched]


def test_external_data_moves_in_and_its_file_is_dropped(tmp_path: Path) -> None:
    model = onnx_folder(
        tmp_path / "model", mlp(), save_as_external_data=True, location="weights.data", size_threshold=0
    )
    assert model.files == ("model.onnx", "weights.data")
    before = {name: (model.path / name).read_bytes() for name in model.files}
    outcome = inline("prune50", model, tmp_path / "out")
    assert isinstance(outcome, Outcome), outcome
    assert (outcome.written, outcome.dropped) == (["model.onnx"], ["weights.data"])
    assert len(outcome.errors) == 2
    assert {name: (model.path / name).read_bytes() for name in model.files} == before
    assert run_onnx(tmp_path / "out" / "new" / "model.onnx", x=random(1, 1, 64)).shape == (1, 64)
    alone = ModelFolder(model.path, "model.onnx", ("model.onnx",))
    reason = inline("int8", alone, tmp_path / "out2")
    assert reason == "model.onnx keeps weights in weights.data, which is not among the model's files"


def test_weights_too_large_for_one_file_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("git_lepton.variants.onnx_out.MAX_INLINE", 1000)
    np.savez(tmp_path / "calibration.npz", x=random(3, 8, 64))
    for recipe in ("fp16", "int8", "int8-static", "int4", "prune50", "ort", "ort+prune2:4+int8"):
        model = onnx_folder(tmp_path / recipe / "model", mlp())
        outcome = inline(recipe, model, tmp_path / recipe / "out", calibration=tmp_path / "calibration.npz")
        assert isinstance(outcome, Outcome), outcome
        assert outcome.written == ["model.onnx", "model.onnx.data"]
        assert len(outcome.errors) == (0 if recipe == "ort" else 2)
        new = tmp_path / recipe / "out" / "new"
        assert (new / "model.onnx").stat().st_size < 6000
        assert run_onnx(new / "model.onnx", x=random(1, 1, 64)).shape == (1, 64)


def test_every_model_of_a_folder_is_built(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for name in ("encoder", "decoder"):
        (folder / name).mkdir(parents=True)
        onnx.save_model(mlp((8, 64)), str(folder / name / "model.onnx"))
    outcome = inline("prune50", folder_of(folder), tmp_path / "out")
    assert isinstance(outcome, Outcome), outcome
    assert outcome.written == ["decoder/model.onnx", "encoder/model.onnx"]


def test_a_custom_operator_is_named_in_the_reason(tmp_path: Path) -> None:
    model = mlp()
    model.graph.node[1].op_type, model.graph.node[1].domain = "Sparkle", "our.own"
    model.opset_import.append(helper.make_opsetid("our.own", 1))
    reason = inline("int8", onnx_folder(tmp_path / "model", model), tmp_path / "host:1 of~2" / "out")
    fatal = "failed:Fatal error: our.own:Sparkle(-1) is not a registered function/op"
    assert reason == f"Fail: Load model from model.onnx {fatal}"


@pytest.mark.parametrize("recipe", ["fp16", "int8", "int8-static", "int4"])
def test_a_domain_that_is_not_imported_stops_nothing(tmp_path: Path, recipe: str) -> None:
    model = mlp()
    model.graph.node[1].op_type, model.graph.node[1].domain = "Gelu", "com.microsoft"
    np.savez(tmp_path / "calibration.npz", x=random(3, 8, 64))
    built(recipe, tmp_path, model, calibration=tmp_path / "calibration.npz")


def test_a_model_that_contradicts_itself_is_a_reason(tmp_path: Path) -> None:
    model = mlp()
    model.graph.value_info.append(helper.make_tensor_value_info("m0", TensorProto.INT64, ["rows", 128]))
    for number, recipe in enumerate(("fp16", "int8", "int4", "ort", "prune50")):
        reason = inline(recipe, onnx_folder(tmp_path / "model", model), tmp_path / str(number))
        assert isinstance(reason, str)
        assert "Load model from model.onnx failed:Type Error" in reason


@pytest.mark.parametrize(
    ("recipe", "words"),
    [("bf16", "use fp16"), ("fp8", "use int8"), ("gguf-f16", "needs a safetensors model")],
)
def test_formats_that_do_not_run_say_what_does(tmp_path: Path, recipe: str, words: str) -> None:
    reason = inline(recipe, onnx_folder(tmp_path / "model", mlp((4, 4))), tmp_path / "out")
    assert isinstance(reason, str)
    assert words in reason


def test_a_file_that_is_no_model_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.onnx").write_bytes(b"not a model at all")
    reason = inline("int8", folder_of(tmp_path / "model", "model.onnx"), tmp_path / "out")
    assert isinstance(reason, str)
    assert reason.startswith("model.onnx: not a valid onnx file")
