# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A machine with a GPU that is none, in any process: a plan is the graph itself."""

from __future__ import annotations

import functools
import pickle
from typing import Any

from host_gpu import HostCudaPython, HostDevice, HostEngine, HostTensorRt
import onnx
import pytest

from adet_core.inference.tensorrt import find_library
from adet_core.inference.tensorrt.build import length_range
from adet_core.inference.tensorrt.cuda_python import CudaPythonGpu

_PLACES = ('adet_core.inference.tensorrt', 'adet_core.inference.tensorrt.backend')


def stand_in(patch: pytest.MonkeyPatch) -> None:
    """Let adet find this GPU, and a TensorRT that builds at once."""
    device = HostDevice()
    cuda = HostCudaPython(device, 'Stand-in', '8.6')
    find_gpu = functools.cache(lambda: CudaPythonGpu(cuda))
    library = find_library()
    library = library._replace(api=_GraphsAsPlans(library.api, device))
    for place in _PLACES:
        patch.setattr(f'{place}.find_gpu', find_gpu)
        patch.setattr(f'{place}.find_library', lambda: library)
    patch.setattr(f'{_PLACES[1]}.build_plan', _build)


class _GraphsAsPlans(HostTensorRt):
    def deserialize_cuda_engine(self, plan: bytes) -> HostEngine:
        return HostEngine(self._device, *pickle.loads(plan))


def _build(
    _library: Any, graph: bytes, shapes: Any, _precision: str, options: Any, **_: Any
) -> tuple[bytes, bytes]:
    ranges: dict[str, Any] = {}
    for one in onnx.load_from_string(graph).graph.input:
        free = [not axis.dim_value for axis in one.type.tensor_type.shape.dim]
        if one.name == 'image':
            fixed = tuple(axis.dim_value for axis in one.type.tensor_type.shape.dim[1:])
            ranges[one.name] = [(n, *fixed) for n in (1, 1, options.max_batch)]
        else:
            axes = [
                length_range(n) if is_free else (n,) * 3
                for n, is_free in zip(shapes[one.name], free, strict=True)
            ]
            ranges[one.name] = list(zip(*axes, strict=True))
    return pickle.dumps((graph, ranges)), b''
