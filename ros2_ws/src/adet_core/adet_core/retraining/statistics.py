# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Retraining by statistics alone: it needs neither torch nor anomalib.

The feature graph of the bundle turns images into features, and `adet_core.models` makes statistics
of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
import queue
from typing import Any

import numpy as np
import numpy.typing as npt

from adet_core.bundle import Arrays, Bundle, read_features, write_arrays
from adet_core.cores import usable_cores
from adet_core.errors import ConfigError
from adet_core.image import ImageArray
from adet_core.inference.onnxruntime import OnnxRuntimeBackend
from adet_core.io.labelled import LabelledImage
from adet_core.models.names import statistics_model
from adet_core.models.statistics_model import Floats
from adet_core.prediction import Prediction
from adet_core.progress import ProgressCallback
from adet_core.retraining.gate_graph import GateGraph
from adet_core.retraining.images import CollectedImages
from adet_core.retraining.in_order import in_order
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
    graph: GateGraph,
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
        graph: Of the bundle.
        threads: Threads of the inference; 0: one per core.
        progress: Told the progress.

    Raises:
        AdetError: A file of the bundle or its engine cannot be used, or the images are too few.
    """
    model = statistics_model(bundle.manifest.model)
    if model is None:
        raise ConfigError(f'{bundle.manifest.model} has no statistics to retrain')
    before = bundle.report.total if bundle.report else bundle.manifest.dataset.train
    extractor = _Extractor(bundle, graph.at_once, threads)
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
        for features, are_marked in extractor.batches(inputs):
            learner.add(features, are_marked)
            done += len(are_marked)
            progress('extract', done, total)
    parts = [learner.statistics(progress) for learner in learners]
    bound = graph.bind(parts)
    made = parts[0]
    every = made
    if groups > 1:
        every = {name: np.stack([part[name] for part in parts]) for name in made}
    size = (bundle.manifest.image.height, bundle.manifest.image.width)

    def predict(image: ImageArray) -> Prediction:
        return model.predict(extractor.one(image), made, settings, size)

    return Relearned(
        contents={model.file: partial(write_arrays, arrays=every)},
        backend=bound.whole(),
        runs=bound.runs,
        predict=predict,
        images=learners[0].images // shared,
    )


class _Extractor:
    """The feature graph of a bundle, run by several threads."""

    def __init__(self, bundle: Bundle, at_once: int, threads: int) -> None:
        """Load the graph."""
        cores = threads or usable_cores()
        first = OnnxRuntimeBackend(read_features(bundle), threads=max(cores // at_once, 1))
        self._at_once = at_once
        # A thread takes one of them while it runs.
        self._free: queue.SimpleQueue[OnnxRuntimeBackend] = queue.SimpleQueue()
        for one in (first, *(first.fork() for _ in range(at_once - 1))):
            self._free.put(one)

    def one(self, image: ImageArray) -> Floats:
        """Features of one input, float32 ``(1, ...)``."""
        return self._run(image[None])

    def batches(
        self, inputs: Iterable[tuple[ImageArray, LabelledImage]]
    ) -> Iterator[tuple[Floats, list[bool]]]:
        """Features of inputs in their order, some at once, and which of them were marked."""
        rest = iter(inputs)

        def work(batch: list[tuple[ImageArray, LabelledImage]]) -> tuple[Floats, list[bool]]:
            features = self._run(np.stack([view for view, _ in batch]))
            return features, [one.is_marked for _, one in batch]

        return in_order(work, iter(lambda: list(islice(rest, _BATCH)), []), self._at_once)

    def _run(self, images: npt.NDArray[np.uint8]) -> Floats:
        backend = self._free.get()
        try:
            return backend.features(images)
        finally:
            self._free.put(backend)
