# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Retraining by statistics alone: it needs neither torch nor anomalib.

The feature graph of the bundle turns images into features, and `adet_core.models` makes statistics
of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from adet_core.bundle import Arrays, Bundle, read_engine, read_features, write_arrays
from adet_core.errors import ConfigError
from adet_core.image import ImageArray
from adet_core.inference.onnxruntime import OnnxRuntimeBackend
from adet_core.models.names import statistics_model
from adet_core.prediction import Prediction
from adet_core.progress import ProgressCallback
from adet_core.retraining.images import CollectedImages
from adet_core.retraining.relearned import Relearned

# Images through the feature graph at once.
_BATCH = 8


def has_statistics(bundle: Bundle) -> bool:
    """Whether a bundle's model is retrained by its statistics; else it has weights alone."""
    return statistics_model(bundle.manifest.model) is not None


def relearn_statistics(
    bundle: Bundle,
    collected: CollectedImages,
    settings: Mapping[str, Any],
    old: Arrays,
    *,
    threads: int,
    progress: ProgressCallback,
) -> Relearned:
    """Make new statistics for a model that `has_statistics`.

    Args:
        bundle: As it is in service.
        collected: The images to learn.
        settings: See `adet_core.retraining.settings`.
        old: Statistics to go on from; empty to begin anew.
        threads: Threads of the inference; 0: one per core.
        progress: Told the progress.

    Raises:
        AdetError: A file of the bundle or its engine cannot be used, or the images are too few.
    """
    model = statistics_model(bundle.manifest.model)
    if model is None:
        raise ConfigError(f'{bundle.manifest.model} has no statistics to retrain')
    extractor = OnnxRuntimeBackend(read_features(bundle), threads=threads)
    backend = OnnxRuntimeBackend(read_engine(bundle), threads=threads)
    before = bundle.report.total if bundle.report else bundle.manifest.dataset.train
    geometry = bundle.geometry()
    # To a learner every input of the graph is an image.
    learner = model.learner(settings, old, before * geometry.inputs)
    del old
    inputs = ((view, one) for one in collected.learn for view in geometry.views(one.pixels))
    count = len(collected.learn) * geometry.inputs
    for first in range(0, count, _BATCH):
        batch = list(islice(inputs, _BATCH))
        features = extractor.features(np.stack([view for view, _ in batch]))
        learner.add(features, [one.is_marked for _, one in batch])
        progress('extract', first + len(batch), count)
    made = learner.statistics(progress)
    backend.bind(made)
    size = (bundle.manifest.image.height, bundle.manifest.image.width)

    def predict(image: ImageArray) -> Prediction:
        return model.predict(extractor.features(image[None]), made, settings, size)

    return Relearned(
        contents={model.file: partial(write_arrays, arrays=made)},
        backend=backend,
        predict=predict,
        images=learner.images // geometry.inputs,
    )
