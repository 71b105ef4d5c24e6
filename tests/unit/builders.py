# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Small real bundles, made without torch, whose answers numpy can compute.

The graph says how far an image is from a mean image: per pixel, the mean over the channels of
``|image - mean| * inv_covariance``; the score is the map's largest value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import functools
import hashlib
import io
import json
from pathlib import Path
import struct
from typing import Any
import zipfile

import numpy as np

from adet_core.bundle import (
    BackboneSpec,
    Bundle,
    Content,
    DatasetInfo,
    EngineRecord,
    Golden,
    GOLDEN_FILE,
    ImageSpec,
    Manifest,
    META_FILE,
    NORMALS_FILE,
    Parity,
    ScoreRange,
    Threshold,
    WEIGHTS_FILE,
    write_arrays,
    write_bundle,
    write_engine,
)
from adet_core.prediction import Prediction

SIZE = 64
STATISTICS_FILE = 'stats.npz'
FILES = {META_FILE, WEIGHTS_FILE, STATISTICS_FILE, GOLDEN_FILE}
UNCERTAIN_FROM = 52.0
IMAGE_THRESHOLD = 60.0
PIXEL_THRESHOLD = 40.0
SPAN = 200.0


def manifest(**overrides: Any) -> Manifest:
    """A manifest whose every optional field is filled in."""
    values: dict[str, Any] = {
        'model': 'padim',
        'category': 'plate',
        'created': '2026-01-02T03:04:05+00:00',
        'image': ImageSpec(
            height=SIZE, width=SIZE, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
        ),
        'backbone': BackboneSpec(
            name='resnet18',
            layers=('layer1', 'layer2'),
            weights='random',
            source='seed 1',
            sha256='0' * 64,
        ),
        'hyper_parameters': {'n_features': 24, 'nested': {'list': [1, 'two', None]}},
        'image_threshold': Threshold(
            value=IMAGE_THRESHOLD,
            method='normal_quantile',
            normals=20,
            anomalies=0,
            target_false_reject_rate=0.01,
            detail='from normal images',
            confidence=0.95,
            false_reject_bound=0.14,
            uncertain_from=UNCERTAIN_FROM,
        ),
        'pixel_threshold': Threshold(
            value=PIXEL_THRESHOLD, method='f1_optimal', normals=5, anomalies=6, detail='masks'
        ),
        'score_range': ScoreRange(
            minimum=0.0,
            maximum=SPAN,
            normals=(1.0, 2.0),
            anomalies=(70.0,),
            made_up={'faint': (3.0,)},
        ),
        'dataset': DatasetInfo(
            train=12,
            held_out=3,
            test_normal=5,
            test_anomaly=6,
            unreadable=0,
            fingerprint='f' * 64,
        ),
        'metrics': {'image_auroc': 0.75},
        'versions': {'numpy': '2.0.0'},
    }
    return Manifest(**{**values, **overrides})


def statistics(seed: int = 0) -> dict[str, np.ndarray]:
    """A mean image and a weight per channel."""
    rng = np.random.default_rng(seed)
    return {
        'mean': rng.uniform(0, 255, (SIZE, SIZE, 3)).astype(np.float32),
        'inv_covariance': np.array([1.0, 2.0, 0.5], np.float32),
    }


def flat_statistics(level: float = 100.0) -> dict[str, np.ndarray]:
    """The mean image is one grey, so a good part is that grey all over."""
    return {
        'mean': np.full((SIZE, SIZE, 3), level, np.float32),
        'inv_covariance': np.ones(3, np.float32),
    }


def expected_prediction(images: np.ndarray, arrays: Mapping[str, np.ndarray]) -> Prediction:
    """What the graph has to predict."""
    distance = np.abs(images.astype(np.float32) - arrays['mean']) * arrays['inv_covariance']
    maps = distance.mean(axis=-1, dtype=np.float32)
    return Prediction(maps.max(axis=(1, 2)), maps)


def golden(arrays: Mapping[str, np.ndarray], seed: int = 0) -> Golden:
    """Two random images with the right predictions."""
    images = np.random.default_rng(seed).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    return Golden(images, expected_prediction(images, arrays))


def contents(
    arrays: Mapping[str, np.ndarray], *, weights: bytes = b'weights', seed: int = 0
) -> dict[str, Content]:
    """What writes each file of a bundle."""
    predicted = golden(arrays, seed).arrays()
    return {
        WEIGHTS_FILE: lambda file: file.write(weights),
        STATISTICS_FILE: lambda file: write_arrays(file, arrays),
        GOLDEN_FILE: lambda file: write_arrays(file, predicted),
    }


def make_bundle(
    folder: Path,
    *,
    arrays: Mapping[str, np.ndarray] | None = None,
    weights: bytes = b'weights',
    seed: int = 0,
    normals: np.ndarray | None = None,
    more: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    **overrides: Any,
) -> Bundle:
    """Write a bundle; ``overrides`` are fields of its manifest, ``more`` arrays of more files."""
    chosen = statistics(seed) if arrays is None else arrays
    files = dict(contents(chosen, weights=weights, seed=seed))
    if normals is not None:
        files[NORMALS_FILE] = functools.partial(write_arrays, arrays={'images': normals})
    for name, found in (more or {}).items():
        files[name] = functools.partial(write_arrays, arrays=found)
    return write_bundle(folder, manifest(**overrides), files)


def make_engine(bundle: Bundle, graph: bytes | None = None, **overrides: Any) -> bytes:
    """Write the engine of a bundle and return its graph."""
    onnx_bytes = make_graph() if graph is None else graph
    values: dict[str, Any] = {
        'bundle_id': bundle.bundle_id,
        'sha256': hashlib.sha256(onnx_bytes).hexdigest(),
        'precision': 'fp32',
        'opset': 18,
        'parity': Parity(pictures=2, score_difference=0.0, map_difference=0.0, tolerance=0.1),
        'versions': {'onnx': '1.0.0'},
    }
    write_engine(bundle, onnx_bytes, EngineRecord(**{**values, **overrides}))
    return onnx_bytes


@functools.cache
def make_graph(score: str = 'score', *, divide: bool = False, flat_score: bool = False) -> bytes:
    """The graph as ONNX.

    Args:
        score: Name of the output that should be called ``score``.
        divide: Divide by the weights instead, so that weights of 0 give no number.
        flat_score: Give the score as ``(N,)`` instead of ``(N, 1)``.
    """
    from onnx import helper, TensorProto

    node, tensor = helper.make_node, helper.make_tensor_value_info
    image = [SIZE, SIZE, 3]
    axes = {'channels': [3], 'second': [1], 'image_axes': [1, 2, 3] if flat_score else [2, 3]}
    graph = helper.make_graph(
        [
            node('Cast', ['image'], ['float'], to=TensorProto.FLOAT),
            node('Sub', ['float', 'mean'], ['difference']),
            node('Abs', ['difference'], ['distance']),
            node('Div' if divide else 'Mul', ['distance', 'inv_covariance'], ['weighted']),
            node('ReduceMean', ['weighted', 'channels'], ['map'], keepdims=0),
            node('Unsqueeze', ['map', 'second'], ['anomaly_map']),
            node('ReduceMax', ['anomaly_map', 'image_axes'], [score], keepdims=0),
        ],
        'distance_to_mean',
        [
            tensor('image', TensorProto.UINT8, ['N', *image]),
            tensor('mean', TensorProto.FLOAT, image),
            tensor('inv_covariance', TensorProto.FLOAT, [3]),
        ],
        [
            tensor(score, TensorProto.FLOAT, ['N'] if flat_score else ['N', 1]),
            tensor('anomaly_map', TensorProto.FLOAT, ['N', 1, SIZE, SIZE]),
        ],
        [
            helper.make_tensor(name, TensorProto.INT64, [len(value)], value)
            for name, value in axes.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    return model.SerializeToString()


def read_meta(folder: Path) -> dict[str, Any]:
    """``meta.json`` as plain values."""
    values: dict[str, Any] = json.loads((folder / META_FILE).read_bytes())
    return values


def edit_meta(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change ``meta.json`` in place, as a stranger would."""
    values = read_meta(folder)
    edit(values)
    (folder / META_FILE).write_text(json.dumps(values))


def replace_file(folder: Path, name: str, data: bytes) -> None:
    """Exchange one file and forge its checksum, so that only its content can give it away."""
    (folder / name).write_bytes(data)
    entry = {'sha256': hashlib.sha256(data).hexdigest(), 'size': len(data)}
    edit_meta(folder, lambda values: values['files'].update({name: entry}))


def verify_all(bundle: Bundle) -> None:
    """Read every file of a bundle, which checks all checksums."""
    bundle.weights()
    bundle.statistics()
    bundle.golden()


def npz(arrays: dict[str, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **options, **arrays)
    return file.getvalue()


def raw_npz(header: bytes, data: bytes = b'\0' * 4, magic: bytes = b'\x93NUMPY\x01\x00') -> bytes:
    """An npz with the right names, whose first array has a header of our own."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        for name in ('mean', 'inv_covariance'):
            entry = magic + struct.pack('<H', len(header)) + header + data
            archive.writestr(f'{name}.npy', entry)
    return file.getvalue()
