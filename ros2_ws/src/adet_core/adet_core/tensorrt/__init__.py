# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT: engines built on this machine from a bundle's graph, kept, checked and run."""

from __future__ import annotations

from adet_core.tensorrt.build import build_plan
from adet_core.tensorrt.flavour import find_flavour, Flavour
from adet_core.tensorrt.open import build_for, open_tensorrt
from adet_core.tensorrt.runtime import EngineError, find_gpu, Gpu

__all__ = [
    'EngineError',
    'Flavour',
    'Gpu',
    'build_for',
    'build_plan',
    'find_flavour',
    'find_gpu',
    'open_tensorrt',
]
