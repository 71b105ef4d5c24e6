# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""AnomaVision's PaDiM and PatchCore as a peer of `inference`, where its package is installed.

    pip install --no-deps anomavision

Of it only the algorithms are imported; the rest needs web frameworks. Weights and statistics are
random, which take as long, and its ONNX export runs in ONNX Runtime, as it recommends for a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
import sys
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

Answer = Callable[[npt.NDArray[np.float32]], object]
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
_STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]


def anomavision(
    model: str, size: tuple[int, int], bank: int, folder: Path, threads: int
) -> dict[str, Answer]:
    """What AnomaVision offers for a model, by name.

    Args:
        model: ``padim`` or ``patchcore``; it has nothing like the others.
        size: Rows and columns of images.
        bank: Patches in PatchCore's bank.
        folder: Where its exports go.
        threads: Of ONNX Runtime.

    Returns:
        As it is by default, and doing what adet does with ``resnet18``: PaDiM with three layers
        and 100 channels, PatchCore with the same bank and every patch. Each takes float32
        ``(1, 3, H, W)``, RGB, 0 to 1.
    """
    if find_spec('anomavision') is None:
        print('no AnomaVision columns: pip install --no-deps anomavision')
        return {}
    make = {'padim': _padim, 'patchcore': _patchcore}.get(model)
    if make is None:
        return {}
    return {
        name: _exported(module, size, folder / f'{name}.onnx', threads)
        for name, module in make(size, bank).items()
    }


def _padim(size: tuple[int, int], _: int) -> dict[str, Any]:
    algorithm = _import('padim.padim')
    distance = _import('common.mahalanobis').MahalanobisDistance
    found = {}
    for name, layers, channels in (
        ('AnomaVision', [0, 1, 2], 100),
        ('AnomaVision, default', [0, 1], 50),
    ):
        module = algorithm.Padim(layer_indices=layers, feat_dim=channels)
        patches = (size[0] // 4) * (size[1] // 4)
        roots = torch.eye(channels).repeat(patches, 1, 1)
        module.mahalanobisDistance = distance(torch.rand(patches, channels), roots)
        found[name] = module.eval()
    return found


def default_padim() -> Any:
    """An untrained PaDiM with its defaults; the backbone has no weights yet."""
    return _import('padim.padim').Padim().eval()


def _patchcore(_: tuple[int, int], bank: int) -> dict[str, Any]:
    algorithm = _import('patchcore.patchcore')
    found = {}
    for name, length, settings in (
        ('AnomaVision', bank, {'patch_grid': None, 'max_memory_patches': None}),
        ('AnomaVision, default', 2048, {}),
    ):
        rows = torch.nn.functional.normalize(torch.rand(length, 128 + 256), dim=1)
        found[name] = algorithm.PatchCore(memory_bank=rows, **settings).eval()
    return found


def _import(name: str) -> Any:
    """A module of its algorithms, without what the package itself imports."""
    if 'anomavision' not in sys.modules:
        spec = find_spec('anomavision')
        assert spec is not None
        package = ModuleType('anomavision')
        package.__spec__ = spec
        package.__path__ = list(spec.submodule_search_locations or ())
        sys.modules['anomavision'] = package
    features: Any = import_module('anomavision.algorithm.common.feature_extraction')
    # Without a download.
    features.BACKBONES = {n: (make, None) for n, (make, _) in features.BACKBONES.items()}
    return import_module(f'anomavision.algorithm.{name}')


def _exported(module: Any, size: tuple[int, int], path: Path, threads: int) -> Answer:
    image = torch.zeros(1, 3, *size)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(module, (image,), path, dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    (entry,) = session.get_inputs()
    return lambda batch: session.run(None, {entry.name: (batch - _MEAN) / _STD})
