"""What quantizers made of each weight of an ONNX model, read back as numbers and compared with the original.

Each tool has its own names for what a weight becomes: the same name in another type, `<name>_quantized` with a scale
and a zero point (which may have been transposed first), or `<name>_Q4` in blocks. A weight that is found under none of
them, because it was folded into another, has no entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from git_lepton.variants import graph
from git_lepton.variants.hollow import Hollow
from git_lepton.variants.numerics import Distance
from git_lepton.variants.values import TensorError

if TYPE_CHECKING:
    from git_lepton.variants.numerics import Array

_TRANSPOSED: Final = ("", "_Transposed")


def tensor_errors(before: Path, after: Path) -> list[TensorError]:
    """Every float weight of one dimension or more whose type or numbers changed, in the order of the original."""
    old, new = Hollow(before), Hollow(after)
    made = _Made(new)
    errors = []
    for weight in graph.weights(old.model()):
        if not graph.is_float(weight.proto) or not weight.proto.dims:
            continue
        original = _numbers(old.array(weight.proto))
        best: Distance | None = None
        for values in made.candidates(weight.name, original):
            distance = Distance()
            distance.add(original, values)
            if best is None or distance.relative_l2 < best.relative_l2:
                best = distance
        same = made.protos.get(weight.name)
        unchanged = same is not None and same.data_type == weight.proto.data_type
        if best is not None and not (unchanged and best.max_abs == 0):
            errors.append(TensorError(weight.name, best.relative_l2, best.max_abs))
    return errors


def _numbers(array: Array) -> Array:
    return array.astype("float32") if array.dtype.itemsize < 4 else array


class _Made:
    """What a tool made: weights by name, and the integer attributes of the node that reads each quantized one."""

    def __init__(self, hollow: Hollow) -> None:
        model = hollow.model()
        self._array = hollow.array
        self._attributes = _attributes(model)
        self.protos: Mapping[str, Any] = {weight.name: weight.proto for weight in graph.weights(model)}

    def candidates(self, name: str, original: Array) -> Iterator[Array]:
        """What a weight may have become, in the original's shape; a square one may have been transposed or not."""
        for suffix in _TRANSPOSED:
            base = name + suffix
            found: list[Array] = []
            if base in self.protos and graph.is_float(self.protos[base]):
                found.append(_numbers(self._array(self.protos[base])))
            if f"{base}_quantized" in self.protos and f"{base}_scale" in self.protos:
                found.append(self._dequantized(base))
            if f"{base}_Q4" in self.protos and f"{base}_scales" in self.protos:
                found += self._blocks(base)
            for values in found:
                if values.shape == original.shape:
                    yield values
                if values.ndim >= 2 and values.swapaxes(-1, -2).shape == original.shape:
                    yield values.swapaxes(-1, -2)

    def _dequantized(self, name: str) -> Array:
        import numpy as np

        restored: Array = self._array(self.protos[f"{name}_quantized"]).astype(np.float32)
        scale = self._array(self.protos[f"{name}_scale"]).astype(np.float32)
        zero = np.zeros_like(scale)
        if f"{name}_zero_point" in self.protos:
            zero = self._array(self.protos[f"{name}_zero_point"]).astype(np.float32)
        if scale.size > 1:
            axis = _axis(restored, scale, self._attributes.get(f"{name}_quantized", {}))
            shape = [1] * restored.ndim
            shape[axis] = scale.size
            if restored.ndim == 3 and scale.ndim == 2:  # recurrent layers: a scale for each direction and column
                shape = [scale.shape[0], 1, scale.shape[1]]
            scale, zero = scale.reshape(shape), zero.reshape(shape) if zero.size > 1 else zero
        restored -= zero  # in place: the weight may be half the model
        restored *= scale
        return restored

    def _blocks(self, name: str) -> list[Array]:
        """MatMulNBits: two codes a byte, the lower half first, in blocks along the inputs; shape (outputs, inputs)."""
        import numpy as np

        known = self._attributes.get(f"{name}_Q4", {})
        if not known.keys() >= {"K", "N", "block_size"}:
            return []
        inputs, outputs, size = known["K"], known["N"], known["block_size"]
        packed = self._array(self.protos[f"{name}_Q4"]).reshape(outputs, -1)
        codes = _nibbles(packed).reshape(outputs, -1, size).astype(np.float32)
        scale = self._array(self.protos[f"{name}_scales"]).astype(np.float32).reshape(outputs, -1, 1)
        zero: Array = np.full_like(scale, 8)
        if f"{name}_zero_points" in self.protos:
            points = self._array(self.protos[f"{name}_zero_points"]).reshape(outputs, -1)
            zero = _nibbles(points)[:, : scale.shape[1]].astype(np.float32).reshape(scale.shape)
        restored: Array = ((codes - zero) * scale).reshape(outputs, -1)[:, :inputs]
        return [restored.T]


def _axis(codes: Array, scale: Array, attributes: Mapping[str, int]) -> int:
    axis = attributes.get("axis", -1 if codes.shape[-1] == scale.size else 0)
    fits = -codes.ndim <= axis < codes.ndim and codes.shape[axis] == scale.size
    return axis if fits else next((i for i, size in enumerate(codes.shape) if size == scale.size), 0)


def _nibbles(packed: Array) -> Array:
    import numpy as np

    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(packed.shape[0], -1)


def _attributes(model: Any) -> dict[str, dict[str, int]]:
    """The integer attributes of the node that reads a quantized weight, by the weight's name."""
    found: dict[str, dict[str, int]] = {}
    for scope in graph.scopes(model):
        for node in scope.nodes:
            if node.op_type in {"DequantizeLinear", "MatMulNBits"}:
                numbers = {attribute.name: attribute.i for attribute in node.attribute}
                found.update(dict.fromkeys(node.input[:2], numbers))
    return found
