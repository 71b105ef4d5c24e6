# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT: engines built on this machine from a bundle's graph, kept, checked and run."""

from __future__ import annotations

from adet_core.inference.tensorrt.backend import build_for, open_tensorrt
from adet_core.inference.tensorrt.build import build_plan
from adet_core.inference.tensorrt.gpu import find_gpu, Gpu
from adet_core.inference.tensorrt.library import find_library, TensorRtLibrary
from adet_core.inference.tensorrt.runtime import EngineError

__all__ = [
    'EngineError',
    'Gpu',
    'TensorRtLibrary',
    'build_for',
    'build_plan',
    'find_gpu',
    'find_library',
    'open_tensorrt',
]
