"""The only door to other people's quantizers: onnxruntime's tools, each as "a file in, a file out".

Called in the worker process alone (`worker`), since they print, leave files in the temporary folder, use memory several
times the model's size, and a few models crash them. Every function reads `source`, writes `target` (with
`<target>.data` beside it when the model is too large for one file), and raises whatever the tool raises, which the
worker turns into a reason. Options are the tool's own defaults, and what differs from them says so; a second attempt
with other options is made only where the first cannot succeed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from git_lepton.config.recipes import Step
from git_lepton.variants import graph
from git_lepton.variants.calibration import Batches
from git_lepton.variants.hollow import Hollow
from git_lepton.variants.values import Unsuitable

INT4_BLOCK: Final = 32
"""Inputs that share a scale and a zero point. Finer than onnxruntime's 128: small models lose much at 4 bits."""

_PIECE: Final = 1 << 16  # numbers that are rounded at a time
_CPU: Final = ["CPUExecutionProvider"]
_UNTYPED: Final = "Unable to find data type for weight_name"
_AMBIGUOUS: Final = "truth value of an array"
_PACKAGES: Final = {
    "ort": ("onnxruntime",),
    "prune": ("numpy", "onnx"),
    "prune2:4": ("numpy", "onnx"),
    "fp16": ("numpy", "onnx", "onnxruntime"),
    "int8": ("numpy", "onnx", "onnxruntime"),
    "int8-static": ("numpy", "onnx", "onnxruntime"),
    "int4": ("ml-dtypes", "numpy", "onnx", "onnx-ir", "onnxruntime"),
    "gguf-q8_0": ("gguf", "numpy"),
    "gguf-f16": ("gguf", "numpy"),
}
"""Packages that decide the bytes of each step on an ONNX model, and of GGUF."""


def tools(steps: Iterable[Step], *, onnx: bool) -> dict[str, str]:
    """Versions of the packages that decide the bytes of these steps, sorted by name; "absent" for one not installed.

    A safetensors model is written by our own code, of which numpy's version is the only part that is not ours.
    """
    names = {
        name
        for step in steps
        for name in (_PACKAGES.get(step.kind, ("numpy",)) if onnx or step.kind.startswith("gguf") else ("numpy",))
    }
    return {name: _version(name) for name in sorted(names)}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def float16(source: Path, target: Path, excluded: Sequence[str], *, external: bool) -> None:
    """Float16 inside, the original's types at inputs and outputs; operators without float16 kernels stay float32."""
    from onnx import shape_inference
    from onnxruntime.transformers.float16 import convert_float_to_float16

    def convert(**options: Any) -> Any:
        return convert_float_to_float16(str(source), keep_io_types=True, node_block_list=list(excluded), **options)

    try:
        model = convert()
    except shape_inference.InferenceError:
        model = convert(disable_shape_infer=True)  # casts around blocked operators are then placed by declared types
    save(model, target, external=external)


def dynamic_int8(source: Path, target: Path, excluded: Sequence[str], *, external: bool) -> None:
    """Weights of matrix products, embeddings and LSTMs as int8; activations are quantized while the model runs.

    The tool gets a model without its large weights and is handed each when it asks for its numbers: the bytes that it
    makes are the same, and it needs a fifth of the memory. Should it look for them elsewhere, as another version may,
    it gets the model as it is.
    """
    if not external:
        try:
            hollow_int8(source, target, excluded)
        except Exception:
            target.unlink(missing_ok=True)
        else:
            return
    _dynamic_int8(source, target, excluded, external=external)


def hollow_int8(source: Path, target: Path, excluded: Sequence[str]) -> None:
    """What `dynamic_int8` tries first. May raise anything."""
    import onnx

    hollow = Hollow(source)
    skeleton = target.with_name(f"skeleton-{target.name}")
    skeleton.write_bytes(hollow.encoded)
    with _handing_out(hollow):
        _dynamic_int8(skeleton, target, excluded, external=False)
    skeleton.unlink()
    model = onnx.load(str(target))
    hollow.fill(model)
    save(model, target, external=False)


@contextmanager
def _handing_out(hollow: Hollow) -> Iterator[None]:
    """Give onnxruntime's tools the numbers of hollow tensors, and let them round large ones piece by piece."""
    import numpy as np
    from onnx import numpy_helper
    from onnxruntime.quantization import quant_utils

    to_array, from_array = numpy_helper.to_array, numpy_helper.from_array
    round_all = quant_utils.quantize_nparray

    def array(tensor: Any, *rest: Any, **options: Any) -> Any:
        return hollow.array(tensor) if hollow.is_hollow(tensor) else to_array(tensor, *rest, **options)

    def tensor(values: Any, name: str | None = None) -> Any:
        if (proto := hollow.transposed(values)) is None:
            return from_array(values, name)
        if name is not None:
            proto.name = name
        return proto

    def round_pieces(kind: Any, values: Any, scale: Any, zero_point: Any, *rest: Any, **options: Any) -> Any:
        if values.ndim != 1 or np.size(scale) != 1 or np.size(zero_point) != 1:
            return round_all(kind, values, scale, zero_point, *rest, **options)
        first = round_all(kind, values[:_PIECE], scale, zero_point, *rest, **options)
        rounded = np.empty(values.shape, first.dtype)
        rounded[:_PIECE] = first
        for at in range(_PIECE, len(values), _PIECE):
            piece = values[at : at + _PIECE]
            rounded[at : at + _PIECE] = round_all(kind, piece, scale, zero_point, *rest, **options)
        return rounded

    numpy_helper.to_array, numpy_helper.from_array = array, tensor
    quant_utils.quantize_nparray = round_pieces
    try:
        yield
    finally:
        numpy_helper.to_array, numpy_helper.from_array = to_array, from_array
        quant_utils.quantize_nparray = round_all


def _dynamic_int8(source: Path, target: Path, excluded: Sequence[str], *, external: bool) -> None:
    from onnx import TensorProto
    from onnxruntime.quantization import quantize_dynamic

    def convert(**options: Any) -> None:
        quantize_dynamic(
            source, target, nodes_to_exclude=list(excluded), use_external_data_format=external, extra_options=options
        )

    try:
        _inferring(source, convert)
    except RuntimeError as error:
        if _UNTYPED not in str(error):
            raise
        convert(DefaultTensorType=TensorProto.FLOAT)  # a custom operator hides the types of what follows it


def static_int8(
    source: Path, target: Path, excluded: Sequence[str], calibration: Path, scratch: Path, *, external: bool
) -> None:
    """Weights (a scale a channel) and activations as int8, around each operator (QDQ), by ranges seen on examples."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = scratch / "prepared.onnx"
    try:
        # Symbolic shapes need a package (sympy) and fail on many real models; plain ones are enough for QDQ.
        quant_pre_process(source, prepared, skip_symbolic_shape=True, save_as_external_data=external)
        _flatten_biases(prepared)
    except Exception:
        prepared = source  # preparation is advice: quantizing will say what is really wrong

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches: Iterator[dict[str, Any]] = iter(Batches(calibration, source))

        def get_next(self) -> dict[str, Any] | None:
            return next(self._batches, None)

    def convert(**options: Any) -> None:
        quantize_static(
            prepared,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(excluded),
            use_external_data_format=external,
            extra_options=options,
        )

    try:
        _inferring(source, convert)
    except ValueError as error:
        if _AMBIGUOUS not in str(error):
            raise
        convert(QDQDisableWeightAdjustForInt32Bias=True)  # fails on scales a channel where a bias is shared


def _flatten_biases(path: Path) -> None:
    """Give the biases of Gemm one dimension.

    Preparation makes a Gemm of a product and a sum, whose bias may be [1, n]; the scales a channel that it gets then
    lie along its first axis, which no runtime can apply that does not fuse them away.
    """
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    users: dict[str, set[str]] = {}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            users.setdefault(name, set()).add("bias" if node.op_type == "Gemm" and place == 2 else "other")
    flat = [t for t in model.graph.initializer if list(t.dims[:-1]) == [1] and users.get(t.name) == {"bias"}]
    for tensor in flat:
        del tensor.dims[0]
    if flat:
        path.write_bytes(model.SerializeToString(deterministic=True))


def int4(source: Path, target: Path, excluded: Sequence[str], *, external: bool) -> None:
    """Weights of matrix products in 4 bits, a scale and zero point for each `INT4_BLOCK` inputs (MatMulNBits)."""
    for module, package in (("onnx_ir", "onnx-ir"), ("ml_dtypes", "ml_dtypes")):
        if importlib.util.find_spec(module) is None:
            raise Unsuitable(f"int4 of ONNX models needs {package}: pip install {package}")
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(str(source), bits=4, block_size=INT4_BLOCK, nodes_to_exclude=list(excluded))
    quantizer.process()
    quantizer.model.save_model_to_file(str(target), external)


def optimized(source: Path, target: Path, *, external: bool) -> None:
    """Basic graph optimisation, done once: constants folded, redundant nodes gone. The result runs on any machine."""
    import onnxruntime

    options = _quiet_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    if external:
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", data_path(target).name
        )
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    onnxruntime.InferenceSession(str(source), options, providers=_CPU)


def check_loads(path: Path) -> None:
    """Open a model as a server would; raises whatever onnxruntime raises when it cannot."""
    import onnxruntime

    onnxruntime.InferenceSession(str(path), _quiet_options(), providers=_CPU)


def data_path(target: Path) -> Path:
    """Where the weights of a model lie that is too large for one file."""
    return target.with_name(target.name + ".data")


def _inferring(source: Path, convert: Callable[[], None]) -> None:
    """Convert, and again with every domain imported: onnxruntime runs models that forget that, onnx refuses them."""
    import onnx
    from onnx import shape_inference

    try:
        convert()
    except shape_inference.InferenceError:
        model = onnx.load(str(source), load_external_data=False)
        known = {entry.domain for entry in model.opset_import}
        used = {node.domain for scope in graph.scopes(model) for node in scope.nodes}
        if used <= known:
            raise
        model.opset_import.extend(onnx.helper.make_opsetid(domain, 1) for domain in sorted(used - known))
        source.write_bytes(model.SerializeToString(deterministic=True))
        convert()


def _quiet_options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return options


def save(model: Any, target: Path, *, external: bool) -> None:
    """Write a model that is in memory; deterministic for one version of the library."""
    import onnx

    if external:
        onnx.save_model(
            model,
            str(target),
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location=data_path(target).name,
        )
    else:
        onnx.save_model(model, str(target))
