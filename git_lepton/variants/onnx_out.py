"""Variants of ONNX models: steps in a row, each from one file to the next, then the error of every weight.

A step reads a copy in the scratch folder, so that tools which write beside their input never touch the original. The
result is one file, with weights that lay in other files moved into it; a model of more than `MAX_INLINE` bytes, which
protobuf cannot hold in one file, has `<name>.data` beside it instead. Pruning is ours: magnitudes of each weight of two
dimensions or more that a matrix product, a convolution or a recurrent layer reads.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from git_lepton.config.recipes import Step
from git_lepton.errors import FormatError
from git_lepton.formats import external_references
from git_lepton.variants import folder, graph, numerics, quantizers
from git_lepton.variants.hollow import Hollow
from git_lepton.variants.onnx_errors import tensor_errors
from git_lepton.variants.values import ModelFolder, Outcome, Unsuitable

SUFFIX: Final = ".onnx"
MAX_INLINE: Final = 1_800_000_000  # bytes of model and weights; protobuf ends at 2 GiB, and a graph may grow

_PRUNED_BY: Final = {
    "MatMul": -2,
    "Gemm": 0,
    "Conv": 1,
    "ConvTranspose": 0,
    "LSTM": -1,
    "GRU": -1,
    "RNN": -1,
}
"""Operators whose weights are pruned, and the axis along which their products add up (the first input aside)."""


def build(
    model: ModelFolder,
    steps: Sequence[Step],
    out: Path,
    scratch: Path,
    exclude: Sequence[str],
    calibration: Path | None,
) -> Outcome:
    """Write the variant's files into `out`; intermediate ones into `scratch`.

    Raises:
        Unsuitable: no variant by these steps, with the reason. The tools may raise anything else.
    """
    outcome = Outcome()
    names = folder.with_suffix(model, SUFFIX)
    shared: set[str] = set()
    for number, name in enumerate(names):
        first = scratch / str(number) / "0"
        data_files, external = _copy(model, name, first)
        source = first / PurePosixPath(name).name
        for position, step in enumerate(steps, 1):
            target = scratch / str(number) / str(position) / source.name
            target.parent.mkdir()
            _step(step, source, target, exclude, calibration, external=external)
            if position > 1:
                shutil.rmtree(source.parent)
            source = target
        outcome.errors += tensor_errors(first / source.name, source)
        outcome.written += _publish(source, name, out)
        shared |= data_files
    outcome.dropped = sorted(shared - set(outcome.written))
    for name in names:
        quantizers.check_loads(out / name)
    return outcome


def _copy(model: ModelFolder, name: str, target: Path) -> tuple[set[str], bool]:
    """Copy one model and its external data; returns the data's paths, and whether the result needs such data too."""
    target.mkdir(parents=True)
    source = model.path / name
    shutil.copyfile(source, target / source.name)
    try:
        references = external_references(folder.whole(source))
    except FormatError as error:
        raise Unsuitable(f"{name}: {error.message}") from error
    data_files: set[str] = set()
    for location in sorted({reference.location for reference in references}):
        path = folder.beside(name, location)
        if ".." in PurePosixPath(location).parts or path not in model.files:
            raise Unsuitable(f"{name} keeps weights in {location}, which is not among the model's files")
        copy = target / location
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(model.path / path, copy)
        data_files.add(path)
    size = sum((model.path / path).stat().st_size for path in (name, *data_files))
    return data_files, size > MAX_INLINE


def _step(
    step: Step, source: Path, target: Path, exclude: Sequence[str], calibration: Path | None, *, external: bool
) -> None:
    excluded = _excluded(source, exclude) if exclude else []
    match step.kind:
        case "fp16":
            quantizers.float16(source, target, excluded, external=external)
        case "int8":
            quantizers.dynamic_int8(source, target, excluded, external=external)
        case "int8-static":
            if calibration is None:
                raise Unsuitable("int8-static needs examples: set calibration in lepton.toml")
            quantizers.static_int8(source, target, excluded, calibration, target.parent, external=external)
        case "int4":
            quantizers.int4(source, target, excluded, external=external)
        case "ort":
            quantizers.optimized(source, target, external=external)
        case "prune" | "prune2:4":
            _prune(step, source, target, exclude, excluded, external=external)
        case "bf16":
            raise Unsuitable("onnxruntime has no kernels for bf16 on CPUs; use fp16")
        case "fp8":
            raise Unsuitable("onnxruntime has no kernels for fp8 on CPUs; use int8")
        case _:
            raise Unsuitable(f"{step} needs a safetensors model, and this one is ONNX")


def names(model: ModelFolder) -> set[str]:
    """Names of all nodes and weights, those that `exclude` can match."""
    found = set()
    for name in folder.with_suffix(model, SUFFIX):
        proto = Hollow(model.path / name).model()
        found |= {node.name for scope in graph.scopes(proto) for node in scope.nodes}
        found |= {weight.name for weight in graph.weights(proto)}
    return found


def _excluded(source: Path, exclude: Sequence[str]) -> list[str]:
    import onnx

    names, changed = graph.excluded_nodes(Hollow(source).model(), exclude)
    if changed:
        model = onnx.load(str(source), load_external_data=False)
        names, _ = graph.excluded_nodes(model, exclude)
        source.write_bytes(model.SerializeToString(deterministic=True))
    return names


def _prune(
    step: Step, source: Path, target: Path, exclude: Sequence[str], excluded: Sequence[str], *, external: bool
) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(source))
    found = 0
    for weight in graph.weights(model):
        readers = [node for node in weight.readers if node.op_type in _PRUNED_BY]
        kept = graph.matches(weight.name, exclude) or any(node.name in excluded for node in weight.readers)
        if not readers or kept or len(weight.proto.dims) < 2 or not graph.is_float(weight.proto):
            continue
        values = numpy_helper.to_array(weight.proto)
        numbers = values.astype("float32") if values.dtype.itemsize < 4 else values
        if step.amount is None:
            axis = _products_axis(readers[0])
            mask = numerics.two_of_four(numbers, axis)
        else:
            mask = numerics.smallest(numbers, step.amount)
        pruned = values.copy()
        pruned[mask] = 0
        _replace(weight.proto, pruned)
        found += 1
    if not found:
        raise Unsuitable("it has no weight of two dimensions or more that a product or a convolution reads")
    quantizers.save(model, target, external=external)


def _products_axis(node: Any) -> int:
    transposed = node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute)
    return 1 if transposed else _PRUNED_BY[node.op_type]


def _replace(proto: Any, values: Any) -> None:
    """Put other numbers of the same type and shape into a TensorProto, keeping its name and documentation."""
    for field in ("float_data", "double_data", "int32_data", "external_data", "data_location"):
        proto.ClearField(field)
    proto.raw_data = values.tobytes()


def _publish(source: Path, name: str, out: Path) -> list[str]:
    """Move the finished model, and its data where it has some, to the variant's folder."""
    target = out / name
    target.parent.mkdir(parents=True, exist_ok=True)
    written = [name]
    source.replace(target)
    data = quantizers.data_path(source)
    if data.exists():
        data.replace(quantizers.data_path(target))
        written.append(f"{name}.data")
    return written
