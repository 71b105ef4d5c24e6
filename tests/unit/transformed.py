# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Graphs whose inputs are made from a bundle's statistics, and bundles with such statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import builders
from builders import SIZE
import numpy as np
from onnx import helper, numpy_helper, TensorProto

from adet_core.bundle import Bundle, open_bundle
from adet_core.models.gaussian_levels import GaussianLevels, Level

LEVELS = GaussianLevels((4, 4), [Level(2, 4, 4), Level(3, 2, 2)])


def graph_with(
    shapes: dict[str, list[Any]],
    metadata: dict[str, str] | None = None,
    constants: dict[str, np.ndarray] | None = None,
) -> bytes:
    """A graph with these inputs beside the image; its score is the sum of all their numbers."""
    inputs = [helper.make_tensor_value_info('image', TensorProto.UINT8, ['N', SIZE, SIZE, 3])]
    inputs += [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    nodes = [
        helper.make_node('Cast', ['image'], ['float'], to=TensorProto.FLOAT),
        helper.make_node('Mul', ['float', 'zero'], ['none']),
        helper.make_node('ReduceSum', ['none', 'axes'], ['map'], keepdims=0),
        helper.make_node('Unsqueeze', ['map', 'one'], ['flat']),
    ]
    nodes += [
        helper.make_node('ReduceSum', [name], [f'{name}_sum'], keepdims=0) for name in shapes
    ]
    sums = [f'{name}_sum' for name in shapes]
    nodes += [
        helper.make_node('Sum', sums, ['sum']),
        helper.make_node('Add', ['flat', 'sum'], ['anomaly_map']),
        helper.make_node('ReduceMax', ['anomaly_map', 'pixels'], ['score'], keepdims=0),
    ]
    arrays = {
        'zero': np.zeros((), np.float32),
        'axes': np.array([3]),
        'one': np.array([1]),
        'pixels': np.array([2, 3]),
        **(constants or {}),
    }
    outputs = [
        helper.make_tensor_value_info('score', TensorProto.FLOAT, ['N', 1]),
        helper.make_tensor_value_info('anomaly_map', TensorProto.FLOAT, ['N', 1, SIZE, SIZE]),
    ]
    graph = helper.make_graph(
        nodes,
        'sums',
        inputs,
        outputs,
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    return bytes(model.SerializeToString())


def gaussians(seed: int = 0) -> dict[str, np.ndarray]:
    """Statistics that `LEVELS` takes."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(16, 5, 5))
    inverse = root @ root.transpose(0, 2, 1) + np.eye(5)
    mean = rng.normal(size=(5, 16))
    return {'mean': mean.astype(np.float32), 'inv_covariance': inverse.astype(np.float32)}


def level_graph(metadata: dict[str, str] | None = None) -> bytes:
    """A graph that takes what `LEVELS` makes."""
    made = LEVELS(gaussians())
    return graph_with({name: list(made[name].shape) for name in LEVELS.inputs}, metadata)


def level_bundle(folder: Path, seed: int = 0) -> Bundle:
    """A bundle with the statistics of `gaussians`; it has no engine yet."""
    builders.make_bundle(folder)
    builders.replace_file(folder, builders.STATISTICS_FILE, builders.npz(gaussians(seed)))
    return open_bundle(folder)
