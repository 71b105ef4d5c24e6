# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime with matrix products in bfloat16, which it has for Arm alone."""

from __future__ import annotations

import platform

from adet_core.errors import BackendError
from adet_core.inference.backend import BackendRequest
from adet_core.inference.first_use import compare, drift
from adet_core.inference.kept_inputs import graph_inputs
from adet_core.inference.machine import describe_cpu
from adet_core.inference.onnxruntime import kept_rewrite, OnnxRuntimeBackend

_SETTING = {'mlas.enable_gemm_fastmath_arm64_bfloat16': '1'}


def open_onnxruntime_bf16(request: BackendRequest) -> OnnxRuntimeBackend:
    """See `adet_core.inference.backend.BackendFactory`; compared with the trained model first.

    Raises:
        BackendError: The CPU has no bfloat16, or a verdict changes.
    """
    if platform.machine() != 'aarch64' or 'bf16' not in describe_cpu().get('flags', '').split():
        raise BackendError('this CPU is no Arm with bfloat16')
    backend = OnnxRuntimeBackend(
        request.graph,
        threads=request.threads,
        rewrite=lambda _: kept_rewrite(request),
        settings=_SETTING,
        inputs=graph_inputs(request.bundle, request.graph, request.threads),
    )
    remedy, what = 'use backend: onnxruntime', 'ONNX Runtime in bf16'
    # It has to pass what float16 has to: no verdict changes outside of that band.
    parity = compare(backend, request.bundle, request.graph, 'fp16', what, remedy)
    far = drift(parity, request.bundle)
    backend.detail = f', bf16, scores within {far:.2g} of the score range'
    return backend
