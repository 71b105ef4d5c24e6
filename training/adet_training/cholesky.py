# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Cholesky factors, which torch has and ONNX has not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnxscript
import torch

# Its types have no operators.
op: Any = onnxscript.opset18


@torch.library.custom_op('adet::cholesky_rows', mutates_args=())
def cholesky_rows(matrices: torch.Tensor) -> torch.Tensor:
    """The first rows of upper Cholesky factors, from the same rows of their matrices.

    Args:
        matrices: float64 ``(P, n, m)``: of each of ``P`` symmetric positive definite matrices
            ``(m, m)`` the first ``n`` rows.

    Returns:
        ``(P, n, m)``: of each upper triangular U with U'U that matrix, the first ``n`` rows.

    Raises:
        torch.linalg.LinAlgError: One is not positive definite; an exported graph gives NaN then.
    """
    rows = matrices.shape[1]
    lower = torch.linalg.cholesky(matrices[:, :, :rows])
    rest = torch.linalg.solve_triangular(lower, matrices[:, :, rows:], upper=False)
    return torch.cat([lower.transpose(1, 2), rest], dim=2)


@cholesky_rows.register_fake
def _(matrices: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(matrices)


@onnxscript.script(default_opset=op)
def _cholesky_rows(matrices: onnxscript.DOUBLE) -> onnxscript.DOUBLE:  # type: ignore[valid-type]
    """Row by row, each from those above it."""
    count = op.Shape(matrices, start=1, end=2)
    columns = op.Range(0, op.Squeeze(op.Shape(matrices, start=2, end=3)), 1)
    first = op.Gather(matrices, op.Constant(value_ints=[0]), axis=1)
    found = first / op.Sqrt(op.Gather(first, op.Constant(value_ints=[0]), axis=2))
    for above in range(op.Squeeze(count) - 1):
        row = op.Reshape(above + 1, op.Constant(value_ints=[1]))
        told = op.MatMul(op.Transpose(op.Gather(found, row, axis=2), perm=[0, 2, 1]), found)
        rest = op.Gather(matrices, row, axis=1) - told
        rest = op.Where(columns < row, op.CastLike(0.0, rest), rest)
        found = op.Concat(found, rest / op.Sqrt(op.Gather(rest, row, axis=2)), axis=1)
    return found  # type: ignore[no-any-return]


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.adet.cholesky_rows.default: _cholesky_rows,
}
"""For `torch.onnx.export`."""
