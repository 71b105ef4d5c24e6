# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The rows of Cholesky factors, in torch and as exported to ONNX."""

from __future__ import annotations

import functools

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from adet_training.cholesky import cholesky_rows
from adet_training.export import _to_onnx

pytestmark = pytest.mark.training


class Rows(nn.Module):
    """The first rows, as a graph has them."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows

    def forward(self, matrices: torch.Tensor) -> torch.Tensor:
        return cholesky_rows(matrices[:, : self.rows].double())


@functools.cache
def _session(rows: int, columns: int) -> onnxruntime.InferenceSession:
    example = torch.eye(columns).expand(4, -1, -1).contiguous()
    return onnxruntime.InferenceSession(_to_onnx(Rows(rows), [example], [None], ['s'], ['root']))


def _matrices(columns: int) -> np.ndarray:
    parts = np.random.default_rng(0).normal(size=(4, columns, columns + 2))
    return (parts @ parts.transpose(0, 2, 1)).astype(np.float32)


@pytest.mark.parametrize(('rows', 'columns'), [(1, 1), (1, 7), (2, 7), (6, 7), (7, 7)])
def test_they_are_those_of_the_whole_factor(rows: int, columns: int) -> None:
    matrices = _matrices(columns)
    whole = np.linalg.cholesky(matrices.astype(np.float64)).transpose(0, 2, 1)
    in_torch = Rows(rows)(torch.from_numpy(matrices)).numpy()
    (exported,) = _session(rows, columns).run(None, {'s': matrices})
    for found in (in_torch, exported):
        assert found.shape == (4, rows, columns)
        np.testing.assert_allclose(found, whole[:, :rows], rtol=1e-9, atol=1e-12)
    # Exactly: what lies below the diagonal would be summed up again.
    assert not np.tril(exported, -1).any()


def test_what_is_not_positive_definite_gives_no_number() -> None:
    matrices = _matrices(7)
    matrices[2] = -matrices[2]
    with pytest.raises(torch.linalg.LinAlgError):
        Rows(6)(torch.from_numpy(matrices))
    (exported,) = _session(6, 7).run(None, {'s': matrices})
    assert np.isnan(exported[2]).any()
    assert np.isfinite(exported[[0, 1, 3]]).all()
