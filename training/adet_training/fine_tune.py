# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Retraining of models with weights alone: a bounded number of further training steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import tempfile
from typing import Any

from lightning.pytorch import seed_everything

from adet_core.bundle import Bundle, Golden, GRAPH_FILE
from adet_core.inference.onnxruntime import OnnxRuntimeBackend
from adet_core.io.labelled import LabelledImage
from adet_core.progress import ProgressCallback, silent
from adet_core.retraining.images import CollectedImages
from adet_core.retraining.relearned import Relearned
from adet_training.adapter import FitData
from adet_training.bundle_contents import model_contents
from adet_training.export import load_weights
from adet_training.models import load_adapter
from adet_training.natural import DRAWN, NONE
from adet_training.parameters import make_parameters
from adet_training.predictions import predict
from adet_training.quiet import quiet_libraries
from adet_training.trace import to_onnx


def fine_tune(
    bundle: Bundle,
    collected: CollectedImages,
    settings: Mapping[str, Any],
    *,
    progress: ProgressCallback,
) -> Relearned:
    """Train the model of a bundle further and export it; the bundle in service stays as it is.

    It learns from all normal images of the folder, new and old, so that it does not forget.

    Raises:
        BundleError: ``model.pth`` is damaged.
        ConfigError: The model cannot be trained further.
    """
    manifest = bundle.manifest
    adapter = load_adapter(manifest.model)
    known = adapter.parameters.__dataclass_fields__
    values = {k: v for k, v in manifest.hyper_parameters.items() if k in known}
    # Files that the training used may not be on this machine; a download is not for a retraining.
    values = {k: v for k, v in values.items() if k not in {'teacher', 'max_minutes'}}
    if values.get('natural_images', NONE) != NONE:
        values['natural_images'] = DRAWN
    if adapter.retrain_steps:
        # Else `resume` says that it cannot be trained further.
        values['steps'] = settings['steps'] or adapter.retrain_steps
    with quiet_libraries(), tempfile.TemporaryDirectory(prefix='adet_retrain_') as scratch:
        parameters = make_parameters(adapter.parameters, values)
        module = adapter.resume(parameters, manifest, load_weights(bundle))
        seed_everything(settings['seed'], verbose=False)
        geometry = bundle.geometry()
        learn = [*collected.learn, *collected.known]
        data = FitData(learn, _good(collected)).cut(geometry)

        def tell(stage: str, done: int, total: int | None) -> None:
            progress('fit' if stage == 'training' else stage, done, total)

        adapter.fit_further(module, data, Path(scratch), parameters, tell)
        images = bundle.golden().images
        prediction = predict(module, list(images), progress, 'validate')
        contents = model_contents(adapter, module, Golden(images, prediction))
        exported, _ = to_onnx(adapter.graph(manifest, adapter.weights(module)), manifest)
        backend = OnnxRuntimeBackend(exported)

    return Relearned(
        contents={**contents, GRAPH_FILE: lambda file: file.write(exported.onnx)},
        backend=backend,
        runs=backend.run,
        predict=lambda image: predict(module, [image], silent, 'validate'),
        images=len(learn),
    )


def _good(collected: CollectedImages) -> list[LabelledImage]:
    return [LabelledImage(Path(), image) for image in collected.good]
