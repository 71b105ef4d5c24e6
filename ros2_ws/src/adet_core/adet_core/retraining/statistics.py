# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Retraining by statistics alone: it needs neither torch nor anomalib.

The feature graph of the bundle turns images into features, and `adet_core.models` makes statistics
of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from adet_core.bundle import Arrays, Bundle, read_engine, read_features, write_arrays
from adet_core.errors import ConfigError
from adet_core.image import ImageArray
from adet_core.inference.backend import bind_inputs
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
    old: Sequence[Arrays],
    *,
    threads: int,
    progress: ProgressCallback,
) -> Relearned:
    """Make new statistics for a model that `has_statistics`.

    Args:
        bundle: As it is in service.
        collected: The images to learn.
        settings: See `adet_core.retraining.settings`.
        old: Statistics to go on from, see `adet_core.bundle.Bundle.input_statistics`; empty to
            begin anew.
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
    groups = geometry.inputs if geometry.has_own_statistics else 1
    # To a learner that all inputs share, every input is an image.
    shared = geometry.inputs // groups
    learners = [
        model.learner(settings, own, before * shared) for own in old or [Arrays()] * groups
    ]
    del old
    done, total = 0, len(collected.learn) * geometry.inputs
    for group, learner in enumerate(learners):
        own = slice(group * shared, (group + 1) * shared)
        inputs = (
            (view, one) for one in collected.learn for view in geometry.views(one.pixels)[own]
        )
        while batch := list(islice(inputs, _BATCH)):
            features = extractor.features(np.stack([view for view, _ in batch]))
            learner.add(features, [one.is_marked for _, one in batch])
            done += len(batch)
            progress('extract', done, total)
    parts = [learner.statistics(progress) for learner in learners]
    runs = bind_inputs(backend, parts)
    made = parts[0]
    every = {name: np.stack([part[name] for part in parts]) for name in made}
    size = (bundle.manifest.image.height, bundle.manifest.image.width)

    def predict(image: ImageArray) -> Prediction:
        return model.predict(extractor.features(image[None]), made, settings, size)

    return Relearned(
        contents={model.file: partial(write_arrays, arrays=every if groups > 1 else made)},
        backend=backend,
        runs=runs,
        predict=predict,
        images=learners[0].images // shared,
    )
