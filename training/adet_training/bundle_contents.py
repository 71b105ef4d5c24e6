# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What goes into the bundle of a trained model beside its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, IO

import numpy as np
import numpy.typing as npt
import torch

from adet_core.bundle import (
    Content,
    DatasetInfo,
    Golden,
    GOLDEN_FILE,
    KnownImages,
    Threshold,
    WEIGHTS_FILE,
    write_arrays,
)
from adet_core.folder import readable_name
from adet_core.geometry import Geometry
from adet_core.io.labelled import LabelledImage
from adet_core.made_up import MadeUpDefects, PastedDefects
from adet_core.progress import ProgressCallback
from adet_core.scoring import AnomalyMap
from adet_training.adapter import AnyAdapter, FitData
from adet_training.calibrate import Tested
from adet_training.changes import Changed, CHANGES
from adet_training.dataset import Category
from adet_training.predictions import predict
from adet_training.predictor import Predictor

_GOLDEN_PER_CLASS = 2
# More make a retraining slower: each is inspected twice.
NORMALS_KEPT = 20
_NORMALS_BYTES = 128 << 20


def model_contents(adapter: AnyAdapter, module: Any, golden: Golden) -> dict[str, Content]:
    """The files of a bundle that hold a trained module and its predictions, and what writes each.

    Args:
        adapter: The model's.
        module: Trained.
        golden: A few images with its predictions.
    """
    weights = dict(adapter.weights(module))
    contents: dict[str, Content] = {
        WEIGHTS_FILE: partial(torch.save, weights),
        GOLDEN_FILE: partial(write_arrays, arrays=golden.arrays()),
    }
    if adapter.statistics_file:
        statistics = adapter.statistics(module)
        contents[adapter.statistics_file] = partial(write_arrays, arrays=statistics)
    return contents


def normals_to_keep(tested: Tested | None, held_out: Tested | None) -> npt.NDArray[np.uint8]:
    """Normal images that were not fitted, for the thresholds of retrainings."""
    images = [
        labelled
        for inspected in (held_out, tested)
        if inspected
        for labelled in inspected.images
        if not labelled.is_anomalous
    ]
    if not images:
        size = (held_out or tested).images[0].pixels.shape  # type: ignore[union-attr]
        return np.empty((0, *size), np.uint8)
    most = min(NORMALS_KEPT, _NORMALS_BYTES // images[0].pixels.nbytes)
    # Evenly from all of them: neighbours in a folder are often alike.
    chosen = np.unique(np.linspace(0, len(images) - 1, num=max(most, 1)).round().astype(int))
    return np.stack([images[index].pixels for index in chosen])


def made_up_scores(
    predictor: Predictor,
    defects: MadeUpDefects,
    normals: npt.NDArray[np.uint8],
    progress: ProgressCallback,
) -> dict[str, tuple[float, ...]]:
    """What the model says of made-up defects, by strength; nothing without normals."""
    if not len(normals):
        return {}
    pasted = PastedDefects(defects, normals)
    return defects.by_strength(predictor.scores(pasted, progress, 'made-up defects'))


def changed_scores(
    predictor: Predictor, normals: Sequence[LabelledImage], progress: ProgressCallback
) -> npt.NDArray[np.float32]:
    """The highest raw score of each image under all `CHANGES`, float32 ``(N,)``."""
    scores = [
        predictor.scores(Changed(normals, change), progress, f'changed: {name}')
        for name, change in CHANGES.items()
    ]
    highest: npt.NDArray[np.float32] = np.max(scores, axis=0)
    return highest


def choosing_images(tested: Tested | None, threshold: Threshold) -> list[LabelledImage]:
    """The test images whose labels chose the threshold."""
    images = tested.images if tested else ()
    return [one for one in images if not one.is_anomalous or threshold.anomalies]


def write_known(file: IO[bytes], *, to_learn: FitData, tested: Sequence[LabelledImage]) -> None:
    """Say which images a model knows, by their checksums."""
    parts = {'learned': to_learn.fit, 'held_out': to_learn.held_out, 'tested': tested}
    known = {
        name: {one.sha256: readable_name(one.path) for one in images}
        for name, images in parts.items()
    }
    file.write(KnownImages(**known).to_json())


def golden_of(module: Any, geometry: Geometry, inspected: Tested) -> Golden:
    """A few inputs of the graph, of each class, with the trained module's own predictions."""
    chosen = [
        index
        for label in (False, True)
        for index in np.flatnonzero(inspected.labels == label)[:_GOLDEN_PER_CLASS].tolist()
    ]
    maps = inspected.prediction.maps
    inputs = np.stack(
        [geometry.input_at(inspected.images[at].pixels, _peak(maps[at])) for at in chosen]
    )
    return Golden(inputs, predict(module, list(inputs)))


def _peak(anomaly_map: AnomalyMap) -> tuple[int, int]:
    """Row and column of the largest value."""
    row, column = np.unravel_index(int(anomaly_map.argmax()), anomaly_map.shape)
    return int(row), int(column)


def dataset_info(data: Category, to_learn: FitData) -> DatasetInfo:
    """How many images there were of each kind, and which."""
    anomalies = sum(labelled.is_anomalous for labelled in data.test)
    return DatasetInfo(
        train=len(to_learn.fit),
        held_out=len(to_learn.held_out),
        test_normal=len(data.test) - anomalies,
        test_anomaly=anomalies,
        unreadable=len(data.unreadable),
        fingerprint=data.fingerprint,
    )
