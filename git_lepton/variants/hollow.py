"""An ONNX model whose large weights are read where they lie (see `formats.skeleton`), for tools and for our own looks.

What tools copy, infer and save is small then. `Hollow.array` maps a weight into memory, `Hollow.fill` puts payloads
back into what a tool made.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from git_lepton.errors import FormatError
from git_lepton.formats import skeleton
from git_lepton.variants import folder
from git_lepton.variants.values import Unsuitable

if TYPE_CHECKING:
    from git_lepton.variants.numerics import Array

_TURNED: Final = "T"
"""Follows the offset in the mark of a weight that is to be read transposed."""


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
        self._payloads = made.payloads
        self._places = {str(offset): offset for offset in made.payloads}

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
        dtype, place = helper.tensor_dtype_to_np_dtype(proto.data_type), proto.external_data[0].value
        values = np.frombuffer(self._data, dtype, math.prod(proto.dims), self._places[place])
        return values.reshape(proto.dims[::-1]).T if place.endswith(_TURNED) else values.reshape(proto.dims)

    def is_hollow(self, proto: Any) -> bool:
        """Whether the payload of a TensorProto was left out here."""
        entries = proto.external_data
        return len(entries) == 1 and entries[0].key == skeleton.MARK and entries[0].value in self._places

    def transposed(self, values: Any) -> Any | None:
        """A hollow TensorProto without a name for numbers that are a weight of the file transposed; None for others."""
        import numpy as np
        from onnx import TensorProto, helper

        if not isinstance(values, np.ndarray) or not values.T.flags.c_contiguous:
            return None
        offset = values.ctypes.data - np.frombuffer(self._data, np.uint8).ctypes.data
        if self._payloads.get(offset) != values.nbytes:
            return None
        place = f"{offset}{_TURNED}"
        self._places[place] = offset
        proto = TensorProto(data_type=helper.np_dtype_to_tensor_dtype(values.dtype), dims=values.shape)
        proto.external_data.add(key=skeleton.MARK, value=place)
        return proto

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
