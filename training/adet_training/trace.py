# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From a graph in torch to the same graph in ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import onnx
from onnx.utils import Extractor
import torch
from torch import nn

from adet_core.bundle import ExportedGraph, Manifest, TransformRecord
from adet_core.errors import ExportError
from adet_core.inference.onnx_graph import OnnxGraph
from adet_core.models.statistics_model import NamedTransform
from adet_training.adapter import Graph, StatisticsGraph

OPSET = 18
_PRODUCER = 'adet'
_OUTPUTS, _FEATURES = ['score', 'anomaly_map'], ['features']


class Traced(NamedTuple):
    """A graph in ONNX.

    Attributes:
        exported: From image to score and map, with the record of its statistics transform.
        features: Its part from image to features as an ONNX model; None for a model without
            statistics.
    """

    exported: ExportedGraph
    features: bytes | None


def to_onnx(graph: Graph, manifest: Manifest) -> Traced:
    """Turn a graph into an ONNX model.

    The number of images stays free, and so does the length of statistics that grow; the size of
    the images is fixed.

    Raises:
        ExportError: A model of Anomalib cannot be exported.
    """
    inputs = graph.inputs(graph.statistics)
    # Of the examples, which are no longer than the shortest that there are.
    least = [inputs[name].shape[axis] for name, axis in graph.growing.items()]
    length = torch.export.Dim('length', min=min(least, default=2))
    lengths = [{graph.growing[name]: length} if name in graph.growing else None for name in inputs]
    onnx_bytes, features = _trace_any_number(graph, manifest, inputs, lengths), None
    if isinstance(graph.module, StatisticsGraph):
        both = Extractor(onnx.load_from_string(onnx_bytes))
        onnx_bytes = _extract(both, ['image', *inputs], _OUTPUTS)
        features = _extract(both, ['image'], _FEATURES)
    return Traced(
        ExportedGraph(onnx_bytes, transform_record(onnx_bytes, graph.transform)), features
    )


def transform_record(
    onnx_bytes: bytes, transform: NamedTransform | None
) -> TransformRecord | None:
    """Where a graph holds the constants of its statistics transform; None without one."""
    if transform is None:
        return None
    onnx_graph = OnnxGraph(onnx_bytes)
    constants = {
        key: onnx_graph.find_constant(array) for key, array in transform.constants.items()
    }
    return TransformRecord(
        name=transform.name, parameters=transform.parameters, constants=constants
    )


def _trace_any_number(
    graph: Graph,
    manifest: Manifest,
    statistics: Mapping[str, torch.Tensor],
    lengths: Sequence[Any],
) -> bytes:
    """Trace a graph for any number of images; for one at a time if it takes no other."""
    if not graph.may_take_one_image:
        return _trace(graph.module, manifest, statistics, lengths)
    try:
        onnx_bytes = _trace(graph.module, manifest, statistics, lengths)
    except torch.onnx.OnnxExporterError:
        pass
    else:
        # torch.export takes the number for a constant where the module's code looks at it.
        image = onnx.load_from_string(onnx_bytes).graph.input[0]
        if image.type.tensor_type.shape.dim[0].dim_param:
            return onnx_bytes
    try:
        return _trace(graph.module, manifest, statistics, lengths, 1)
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        msg = f'{manifest.model} cannot be exported ({reason:.200}); take another model'
        raise ExportError(msg) from None


def _trace(
    module: nn.Module,
    manifest: Manifest,
    statistics: Mapping[str, torch.Tensor],
    lengths: Sequence[Any],
    images: int = 2,
) -> bytes:
    """Trace a module once, to an ONNX model that gives its features, too, if it has some.

    With an example of 1 image it takes one at a time, else any number.
    """
    size = (manifest.image.height, manifest.image.width)
    example = torch.zeros(images, *size, 3, dtype=torch.uint8)
    number = {0: torch.export.Dim('N')} if images > 1 else None
    function: Callable[..., Any] = module
    outputs = _OUTPUTS
    if isinstance(module, StatisticsGraph):
        function, outputs = module.with_features, [*_OUTPUTS, *_FEATURES]
    _work_on_copies(module)
    program = torch.onnx.export(
        _Listed(function, module).eval(),
        (example, *statistics.values()),
        input_names=['image', *statistics],
        output_names=outputs,
        dynamic_shapes=((number, *lengths),),
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    model.producer_name = _PRODUCER
    # Stack traces with paths of this machine are of no use on a robot.
    parts = model.graph
    for part in (
        model,
        parts,
        *parts.node,
        *parts.initializer,
        *parts.value_info,
        *parts.input,
        *parts.output,
    ):
        del part.metadata_props[:]
    return bytes(model.SerializeToString())


def _work_on_copies(module: nn.Module) -> None:
    """Let no activation write over its input, with the same result.

    torch.export replaces an operation in place by its parts, which took a third of the time.
    """
    for part in module.modules():
        if getattr(part, 'inplace', False) is True:
            part.inplace = False  # type: ignore[assignment]


def _extract(extractor: Extractor, inputs: list[str], outputs: list[str]) -> bytes:
    """The part of an ONNX model that some of its outputs need."""
    model = extractor.extract_model(inputs, outputs)
    model.producer_name = _PRODUCER
    model.graph.name = extractor.graph.name
    return bytes(model.SerializeToString())


class _Listed(nn.Module):
    """Calls a function of any number of tensors, as torch.export needs it.

    Attributes:
        module: Holds the function's weights.
    """

    def __init__(self, function: Callable[..., Any], module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._function = function

    def forward(self, *tensors: torch.Tensor) -> Any:
        """Call it."""
        return self._function(*tensors)
