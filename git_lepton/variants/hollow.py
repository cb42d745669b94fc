"""An ONNX model whose large weights are read where they lie (see `formats.skeleton`), for tools and for our own looks.

What tools copy, infer and save is small then. `Hollow.array` maps a weight into memory, `Hollow.fill` puts payloads
back into what a tool made.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from git_lepton.errors import FormatError
from git_lepton.formats import skeleton
from git_lepton.variants import folder
from git_lepton.variants.values import Unsuitable

if TYPE_CHECKING:
    from git_lepton.variants.numerics import Array


class Hollow:
    """The skeleton of one file, which stays mapped into memory.

    Attributes:
        encoded: the skeleton as a serialized ModelProto.

    Raises:
        Unsuitable: the file is empty or malformed.
    """

    def __init__(self, path: Path) -> None:
        self._folder = path.parent
        self._data = folder.whole(path)
        try:
            made = skeleton.cut(self._data)
        except FormatError as error:
            raise Unsuitable(f"{path.name}: {error.message}") from error
        self.encoded = made.encoded
        self._offsets = {str(offset) for offset in made.offsets}

    def model(self) -> Any:
        """The skeleton as a ModelProto; weights in other files stay there."""
        import onnx

        return onnx.ModelProto.FromString(self.encoded)

    def array(self, proto: Any) -> Array:
        """The numbers of a TensorProto of the skeleton: a view of the file where it is hollow."""
        import numpy as np
        from onnx import helper, numpy_helper

        if not self.is_hollow(proto):
            whole: Array = numpy_helper.to_array(proto, str(self._folder))
            return whole
        dtype = helper.tensor_dtype_to_np_dtype(proto.data_type)
        offset = int(proto.external_data[0].value)
        return np.frombuffer(self._data, dtype, math.prod(proto.dims), offset).reshape(proto.dims)

    def is_hollow(self, proto: Any) -> bool:
        """Whether the payload of a TensorProto was left out here."""
        entries = proto.external_data
        return len(entries) == 1 and entries[0].key == skeleton.MARK and entries[0].value in self._offsets

    def fill(self, model: Any) -> None:
        """Put the payloads back into what a tool made of the skeleton, as onnx does that reads them from other files.

        Raises:
            ValueError: the tool lost where a payload lies.
        """
        from onnx import TensorProto

        for proto in model.graph.initializer:
            if self.is_hollow(proto):
                proto.raw_data = self.array(proto).tobytes()
                proto.data_location = TensorProto.DEFAULT
                del proto.external_data[:]
            elif math.prod(proto.dims) and _is_empty(proto):
                raise ValueError(f"{proto.name} lost its numbers")


def _is_empty(proto: Any) -> bool:
    """Whether a tensor has nothing but what describes it."""
    described = {"name", "dims", "data_type", "doc_string", "data_location"}
    return not proto.data_location and all(field.name in described for field, _ in proto.ListFields())
