"""Where a variant's graph goes astray: what each node with weights computes, beside the original graph.

Quantizers keep the names of a node's results, so both graphs are asked for the results of every such node, on a few
examples, and the noise is told in decibels below the signal. Noise adds up along the graph: a node is suspect where
the figure falls, which is why explaining goes on to try (see `explain`).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from git_lepton.errors import FormatError, UsageError
from git_lepton.gate import onnx_model
from git_lepton.gate.data import Data
from git_lepton.gate.tasks import Dissect, Dissected, NodeNoise
from git_lepton.gate.values import Folder

if TYPE_CHECKING:
    import numpy
    from onnx import ModelProto

    Array = numpy.ndarray[Any, Any]

ROWS: Final = 16
MAX_NODES: Final = 400
_ENDLESS: Final = 400.0
"""Decibels of equal results."""


def dissect(task: Dissect, data: Data) -> Dissected:
    """Signal-to-noise of every node of the original that has weights and whose result the variant has as well.

    Raises:
        UsageError: a model is no ONNX file, or the two graphs have no such result in common.
        FormatError: a graph cannot be read.
    """
    original, variant = (_graph(folder) for folder in (task.original, task.variant))
    made = {name for node in variant.graph.node for name in node.output}
    nodes = [(name, result) for name, result in weighted_nodes(original) if result in made][:MAX_NODES]
    if not nodes:
        raise UsageError("the two graphs have no node in common")
    results = [result for _, result in nodes]
    before = _results(task, task.original, original, results, data)
    after = _results(task, task.variant, variant, results, data)
    return Dissected(
        tuple(
            NodeNoise(name, _decibels(before[result], after[result]))
            for name, result in nodes
            if before[result].dtype.kind == "f"  # of a comparison, or of positions, there is no noise
        )
    )


def weighted_nodes(model: ModelProto) -> list[tuple[str, str]]:
    """Nodes with a weight of two dimensions or more: their name (the weight's, when they have none) and result."""
    weights = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) > 1}
    found = []
    for node in model.graph.node:
        weight = next((name for name in node.input if name in weights), None)
        if weight is not None and node.output:
            found.append((node.name or weight, node.output[0]))
    return found


def _graph(folder: Folder) -> ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    path = onnx_model.find(folder.path, folder.main)
    if path is None:
        raise UsageError(f"{folder.main} is no ONNX file")
    try:
        return onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise FormatError("onnx", str(error)) from error


def _results(task: Dissect, folder: Folder, graph: ModelProto, names: Sequence[str], data: Data) -> dict[str, Array]:
    """What the graph computes for these values, on the first examples."""
    import onnx

    path = onnx_model.find(folder.path, folder.main)
    assert path is not None
    known = {output.name for output in graph.graph.output}
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    with tempfile.NamedTemporaryFile(dir=path.parent if _has_external(graph) else None, suffix=".onnx") as draft:
        draft.write(graph.SerializeToString())
        draft.flush()
        model = onnx_model.Model(Path(draft.name))
    rows = min(ROWS, data.rows)
    sources = model.sources(data, task.rule.inputs)
    feed, _ = next(model.feeds(sources, rows, min(rows, task.rule.batch or rows)))
    answers = model.session.run(list(names), feed)
    return dict(zip(names, answers, strict=True))


def _has_external(graph: ModelProto) -> bool:
    return any(tensor.external_data for tensor in graph.graph.initializer)


def _decibels(before: Array, after: Array) -> float:
    import numpy as np

    if before.shape != after.shape:
        return -_ENDLESS
    signal = before.astype("float64")
    power, noise = float(np.square(signal).sum()), float(np.square(signal - after).sum())
    if noise == 0:
        return _ENDLESS
    if power == 0 or not math.isfinite(noise):
        return -_ENDLESS
    return max(-_ENDLESS, min(_ENDLESS, 10 * math.log10(power / noise)))
