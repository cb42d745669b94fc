"""An ONNX model in memory: its weights wherever they lie, and the nodes that globs name.

Weights are initializers and the values of Constant nodes, in the main graph, in graphs within attributes (branches of
If, bodies of Loop) and in functions: many real models have no initializer at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from git_lepton.formats.base import Names

MAX_DEPTH: Final = 64  # graphs within graphs


@dataclass(frozen=True, slots=True)
class Scope:
    """The nodes and initializers of one graph or function."""

    nodes: Any
    initializers: Any


@dataclass(frozen=True, slots=True)
class Weight:
    """A weight: its name (made unique by `#2`, `#3` …), its TensorProto, and the nodes of its graph that read it."""

    name: str
    proto: Any
    readers: tuple[Any, ...]


def scopes(model: Any) -> Iterator[Scope]:
    """Every graph and function of a ModelProto, outer ones first."""
    yield from _graph(model.graph, 0)
    for function in model.functions:
        yield from _nodes(function.node, (), 0)


def _graph(graph: Any, depth: int) -> Iterator[Scope]:
    yield from _nodes(graph.node, graph.initializer, depth)


def _nodes(nodes: Any, initializers: Any, depth: int) -> Iterator[Scope]:
    yield Scope(nodes, initializers)
    if depth < MAX_DEPTH:
        for node in nodes:
            for attribute in node.attribute:
                for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                    yield from _graph(inner, depth + 1)


def weights(model: Any) -> Iterator[Weight]:
    """Every weight of a ModelProto in the order of the model."""
    names = Names()
    for scope in scopes(model):
        readers: dict[str, list[Any]] = {}
        for node in scope.nodes:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        for proto in scope.initializers:
            yield Weight(names.unique(proto.name), proto, tuple(readers.get(proto.name, ())))
        for node in scope.nodes:
            if node.op_type == "Constant" and node.output:
                for attribute in node.attribute:
                    if attribute.name == "value" and attribute.HasField("t"):
                        name = node.output[0]
                        yield Weight(names.unique(name), attribute.t, tuple(readers.get(name, ())))


def is_float(proto: Any) -> bool:
    """Whether a TensorProto holds numbers that recipes reduce."""
    from onnx import TensorProto

    return proto.data_type in {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}


def matches(name: str, globs: Iterable[str]) -> bool:
    """Whether one of the globs matches a name whole; upper and lower case differ."""
    return any(fnmatchcase(name, glob) for glob in globs)


def excluded_nodes(model: Any, globs: Sequence[str]) -> tuple[list[str], bool]:
    """Names of the nodes that match a glob, or read a weight whose name does.

    A node without a name that is excluded, which quantizers cannot tell from others, is given one.

    Returns:
        The names in the order of the model, and whether the model was changed for it.
    """
    chosen: dict[int, Any] = {}
    named = False
    for scope in scopes(model):
        for node in scope.nodes:
            if node.name and matches(node.name, globs):
                chosen[id(node)] = node
    for weight in weights(model):
        if matches(weight.name, globs):
            chosen.update((id(node), node) for node in weight.readers)
    taken = {node.name for scope in scopes(model) for node in scope.nodes}
    names = []
    for node in chosen.values():
        if not node.name:
            number = len(taken)
            while f"{node.op_type}_{number}" in taken:
                number += 1
            node.name = f"{node.op_type}_{number}"
            taken.add(node.name)
            named = True
        names.append(node.name)
    return list(dict.fromkeys(names)), named
