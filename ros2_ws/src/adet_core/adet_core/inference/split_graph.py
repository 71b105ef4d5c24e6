# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Divides a graph with statistics into what an image decides alone, and what needs the statistics.

New statistics change nothing in the first half, the backbone, which takes most of the time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import onnx
from onnx import helper, TensorProto

from adet_core.inference.statistics_transform import IMAGE_INPUT


class GraphHalves(NamedTuple):
    """Two ONNX models that are one graph, one after the other.

    Attributes:
        first: From the image to what the second takes.
        second: From there, and from the statistics, to score and map.
        between: Names of the tensors that the first gives to the second, float32, ``(N, ...)``.
    """

    first: bytes
    second: bytes
    between: tuple[str, ...]


def split_graph(graph: bytes) -> GraphHalves | None:
    """Divide a graph where the statistics enter.

    Args:
        graph: An ONNX model.

    Returns:
        None for a graph that cannot be divided: without statistics, or where anything else than
        float32 tensors of known size would pass from one half to the other.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(graph))
    parts = model.graph
    constants = {one.name for one in parts.initializer}
    statistics = {one.name for one in parts.input} - constants - {IMAGE_INPUT}
    late, of_image = _reached(parts, statistics), _reached(parts, {IMAGE_INPUT})
    if not all(one.name in late for one in parts.output):
        return None
    counts = [node for node in parts.node if _is_count(node) and node.output[0] in of_image - late]
    late |= {node.output[0] for node in counts}
    crossing = of_image - late
    needed = [
        name
        for node in parts.node
        if node.output[0] in late and node not in counts
        for name in node.input
        if name in crossing
    ]
    between = tuple(dict.fromkeys(needed))
    types = {one.name: one.type for one in (*parts.value_info, *parts.input)}
    if not between or not all(_is_plain(types.get(name)) for name in between):
        return None
    for node in counts:
        # It is the same of all tensors, and the image is no input of the second half.
        node.input[0] = between[0]
    given = [helper.make_value_info(name, types[name]) for name in between]
    inputs = [one for one in parts.input if one.name in statistics]
    ends = {one.name for one in parts.output}
    return GraphHalves(
        _part(model, [one for one in parts.input if one.name == IMAGE_INPUT], given, between),
        _part(model, [*given, *inputs], list(parts.output), ends),
        between,
    )


def _reached(parts: onnx.GraphProto, start: Collection[str]) -> set[str]:
    """Everything that is computed from some tensors, those among them."""
    found = set(start)
    for node in parts.node:
        if found.intersection(_inputs(node)):
            found.update(node.output)
    return found


def _inputs(node: onnx.NodeProto) -> Iterator[str]:
    """What a node takes, and the nodes inside of it."""
    yield from node.input
    for attribute in node.attribute:
        for part in (attribute.g, *attribute.graphs):
            for one in part.node:
                yield from _inputs(one)


def _is_count(node: onnx.NodeProto) -> bool:
    """Whether a node tells how many images there are."""
    given = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    return bool(node.op_type == 'Shape' and given == {'start': 0, 'end': 1})


def _is_plain(kind: onnx.TypeProto | None) -> bool:
    """Whether it is float32 ``(N, ...)`` with all lengths known but the first."""
    if kind is None or kind.tensor_type.elem_type != TensorProto.FLOAT:
        return False
    axes = kind.tensor_type.shape.dim
    return len(axes) > 1 and all(axis.dim_value > 0 for axis in axes[1:])


def _part(
    model: onnx.ModelProto,
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    ends: Collection[str],
) -> bytes:
    """The nodes that lead from some tensors to others, as a model."""
    known, wanted = {one.name for one in inputs}, set(ends)
    nodes: list[onnx.NodeProto] = []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output) - known:
            nodes.insert(0, node)
            wanted.update(_inputs(node))
    constants = [one for one in model.graph.initializer if one.name in wanted]
    graph = helper.make_graph(nodes, model.graph.name, inputs, outputs, constants)
    made = helper.make_model(
        graph,
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
        functions=model.functions,
    )
    return bytes(made.SerializeToString())
