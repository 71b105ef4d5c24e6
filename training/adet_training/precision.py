# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Casts a graph to float16 or quantises it to int8, by types in the graph itself.

Every runtime then uses the same types. Only the networks are cast: the nodes that lie between two
convolutions. Normalisation of the image, norms, distances and sums stay in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper, TensorProto
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    quantize_static,
    QuantType,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from adet_core.inference.statistics_transform import IMAGE_INPUT
from adet_core.models.statistics_model import Statistics
from adet_core.progress import ProgressCallback, silent

_CONVOLUTIONS = ('Conv', 'ConvTranspose')
# Sums over all features, which need float32 even inside of a network.
_SUMS = ('Gemm', 'MatMul')


def cast_graph(
    graph: bytes,
    precision: str,
    images: Sequence[npt.NDArray[np.uint8]],
    statistics: Statistics,
    *,
    progress: ProgressCallback = silent,
) -> bytes:
    """A graph in ``fp32``, ``fp16`` or ``int8``; see `to_float16` and `to_int8`."""
    if precision == 'fp16':
        return to_float16(graph)
    if precision == 'int8':
        return to_int8(graph, images, statistics, progress=progress)
    return graph


def to_float16(graph: bytes) -> bytes:
    """Cast the networks of a graph to float16; inputs and outputs keep their types.

    It is our own because onnxruntime's ``convert_float_to_float16`` casts the results of blocked
    nodes back: with PatchCore, 44 results of 55 such nodes were rounded to float16, by 101 casts
    instead of 5, so that distances would lose digits and could overflow.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(graph))
    parts = model.graph
    inner = set(_Network(model).inner)
    values = [*parts.value_info, *parts.input]
    floats = {one.name for one in values if one.type.tensor_type.elem_type == TensorProto.FLOAT}
    weights = {one.name: one for one in parts.initializer if one.data_type == TensorProto.FLOAT}
    halves: dict[str, str] = {}
    nodes: list[Any] = []

    def half(name: str) -> str:
        """The name of a tensor in float16; makes it when it is first needed."""
        if name not in halves:
            halves[name] = f'{name}_fp16'
            if name in weights:
                values = numpy_helper.to_array(weights[name]).astype(np.float16)
                parts.initializer.append(numpy_helper.from_array(values, halves[name]))
            else:
                nodes.append(_cast(name, halves[name], TensorProto.FLOAT16))
        return halves[name]

    for node in parts.node:
        if node.name not in inner or node.op_type in _SUMS:
            nodes.append(node)
            continue
        # The further inputs of Resize are scales, which stay in float32.
        count = 1 if node.op_type == 'Resize' else len(node.input)
        for place, name in enumerate(node.input[:count]):
            if name in floats or name in weights:
                node.input[place] = half(name)
        nodes.append(node)
        for place, name in enumerate(node.output):
            if name in floats:
                halves[name] = node.output[place] = f'{name}_fp16'
                nodes.append(_cast(halves[name], name, TensorProto.FLOAT))
    used = {name for node in nodes for name in node.input}
    used |= {one.name for one in parts.output}
    del parts.node[:], parts.value_info[:]
    parts.node.extend(node for node in nodes if node.op_type != 'Cast' or node.output[0] in used)
    kept = [one for one in parts.initializer if one.name in used]
    del parts.initializer[:]
    parts.initializer.extend(kept)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def to_int8(
    graph: bytes,
    images: Sequence[npt.NDArray[np.uint8]],
    statistics: Statistics,
    *,
    progress: ProgressCallback = silent,
) -> bytes:
    """Quantise the convolutions of a graph to int8, by QuantizeLinear and DequantizeLinear.

    Weights are scaled per channel, activations symmetrically as TensorRT needs it. The first
    convolution of a network stays in float32: it is the most sensitive and costs little.

    Args:
        graph: In float32.
        images: uint8 ``(H, W, 3)``, RGB, of the graph's size, of normal parts: the ranges of
            values are measured on them in several lights (see `in_other_light`).
        statistics: The graph's other inputs.
        progress: Told the progress.
    """
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch, 'source.onnx'), Path(scratch, 'target.onnx')
        source.write_bytes(graph)
        quant_pre_process(str(source), str(source), skip_symbolic_shape=True)
        network = _Network(onnx.load(source))
        quantize_static(
            str(source),
            str(target),
            _Images(in_other_light(images), statistics, progress),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[_CONVOLUTIONS[0]],
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=network.first,
            calibrate_method=CalibrationMethod.MinMax,
            # As TensorRT takes it: zero at zero, and no bias in integers.
            extra_options={
                'ActivationSymmetric': True,
                'AddQDQPairToWeight': True,
                'QuantizeBias': False,
            },
        )
        return target.read_bytes()


def in_other_light(images: Sequence[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.uint8]]:
    """Add a brighter and a more contrasting version of each image.

    Values beyond the measured ranges are clipped, and a normal part does not show all that an
    anomaly may: with an EfficientAD bright spots were off by three score ranges. Noise widens the
    ranges too far: too few of the 256 steps are left, and a PatchCore lost five points of AUROC.

    Args:
        images: uint8 ``(H, W, 3)``.

    Returns:
        Three images for each one.
    """
    found = []
    for image in images:
        values = image.astype(np.float32)
        bright, contrasting = 1.5 * values, 1.5 * values - 0.5 * values.mean()
        found += [image, *(other.clip(0, 255).astype(np.uint8) for other in (bright, contrasting))]
    return found


def _cast(source: str, target: str, kind: int) -> onnx.NodeProto:
    return helper.make_node('Cast', [source], [target], name=f'{target}_cast', to=kind)


class _Network:
    """The nodes of a graph that belong to a network: all between two convolutions.

    Attributes:
        inner: Names of these nodes, convolutions included.
        first: Names of the convolutions with no convolution before them.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        nodes = list(model.graph.node)
        behind = _reached(nodes, lambda node: node.input, lambda node: node.output)
        before = _reached(nodes[::-1], lambda node: node.output, lambda node: node.input)
        self.inner, self.first = [], []
        for node in nodes:
            is_behind = any(name in behind for name in node.input)
            is_before = any(name in before for name in node.output)
            if node.op_type in _CONVOLUTIONS:
                self.inner.append(node.name)
                if not is_behind:
                    self.first.append(node.name)
            elif is_behind and is_before:
                self.inner.append(node.name)


def _reached(nodes: Iterable[Any], from_: Any, to: Any) -> set[str]:
    """The tensors that depend on a convolution, for nodes in the order of their execution."""
    reached: set[str] = set()
    for node in nodes:
        if node.op_type in _CONVOLUTIONS or any(name in reached for name in from_(node)):
            reached.update(to(node))
    return reached


class _Images(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Gives the calibration images to the graph, one by one."""

    def __init__(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        statistics: Statistics,
        progress: ProgressCallback,
    ) -> None:
        self._feeds = self._feed(images, statistics, progress)

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        """Give the next inputs; None ends the calibration."""
        return next(self._feeds, None)

    @staticmethod
    def _feed(
        images: Sequence[npt.NDArray[np.uint8]],
        statistics: Statistics,
        progress: ProgressCallback,
    ) -> Iterator[dict[str, npt.NDArray[Any]]]:
        for number, image in enumerate(images, start=1):
            yield {IMAGE_INPUT: image[None], **statistics}
            progress('calibrating', number, len(images))
