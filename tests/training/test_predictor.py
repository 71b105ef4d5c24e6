# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Predictions through the graph, and how many threads there are for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny_models import Train

from adet_core.progress import silent

pytestmark = pytest.mark.training


def test_many_images_go_through_the_graph_and_few_through_the_module(
    trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adet_training import predictor
    from adet_training.models import load_adapter
    from adet_training.predictions import predict

    made = trained('padim')
    manifest = made.run.bundle.manifest
    images = list(made.run.bundle.golden().images)
    values = (load_adapter('padim'), made.module, manifest, images)
    geometry = made.run.bundle.geometry()
    few = predictor.Predictor(*values, geometry=geometry, count=len(images))
    assert few.traced is None

    monkeypatch.setattr(predictor, '_WORTH_A_GRAPH', 1)
    stages: list[Any] = []
    many = predictor.Predictor(
        *values, geometry=geometry, count=4, progress=lambda *told: stages.append(told)
    )
    assert many.traced is not None
    assert stages[-1] == ('tracing the graph', 1, 1)
    own = predict(made.module, images)
    for found in (few(images, silent, 'testing'), many(images, silent, 'testing')):
        np.testing.assert_allclose(found.scores, own.scores, rtol=1e-4)
        np.testing.assert_allclose(found.maps, own.maps, rtol=1e-3, atol=1e-3)


def test_a_graph_that_differs_from_the_module_predicts_nothing(
    trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adet_core.inference.onnxruntime import OnnxRuntimeBackend
    from adet_core.prediction import Prediction
    from adet_training import predictor
    from adet_training.models import load_adapter

    made = trained('padim')
    images = list(made.run.bundle.golden().images)
    run = OnnxRuntimeBackend.run

    def wrong(backend: OnnxRuntimeBackend, image: Any) -> Prediction:
        found = run(backend, image)
        return Prediction(found.scores * 1.01, found.maps)

    monkeypatch.setattr(predictor, '_WORTH_A_GRAPH', 1)
    monkeypatch.setattr(OnnxRuntimeBackend, 'run', wrong)
    values = (load_adapter('padim'), made.module, made.run.bundle.manifest, images)
    geometry = made.run.bundle.geometry()
    assert predictor.Predictor(*values, geometry=geometry, count=4).traced is None


def test_threads_that_somebody_chose_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from adet_training.cli.loading import limit_threads

    told: list[int] = []
    monkeypatch.setattr(torch, 'set_num_threads', told.append)
    limit_threads(3)
    monkeypatch.delenv('OMP_NUM_THREADS')
    limit_threads(1)
    assert told == [1]
