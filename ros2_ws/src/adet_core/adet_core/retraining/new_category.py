# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A bundle of a new category from images of good parts, made on the robot, without torch.

The backbone and the graph of another category's bundle do the work: of a model that has
statistics, these are all that a category's images decide. The thresholds come from images that
were kept back, as in a training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
import hashlib
from importlib.metadata import version
import json
from pathlib import Path
from typing import Any, IO

import numpy as np

from adet_core.bundle import (
    AREA_FILE,
    Bundle,
    Content,
    DatasetInfo,
    Figures,
    Golden,
    GOLDEN_FILE,
    KNOWN_IMAGES_FILE,
    KnownImages,
    MADE_UP_FILE,
    Manifest,
    NORMALS_FILE,
    open_bundle,
    Parity,
    read_engine,
    read_features,
    read_precision,
    read_record,
    WEIGHTS_FILE,
    write_arrays,
    write_bundle,
    write_engine,
)
from adet_core.errors import BackendError, ConfigError
from adet_core.folder import check_name, readable_name
from adet_core.geometry import parse_box, read_area
from adet_core.image import usual_size
from adet_core.inference.parity import map_tolerance_of, measure_parity
from adet_core.io.folders import list_images
from adet_core.io.labelled import LabelledImage
from adet_core.made_up import draw_defects
from adet_core.prediction import Prediction
from adet_core.progress import ProgressCallback, silent
from adet_core.retraining.gate import parity_fault
from adet_core.retraining.gate_graph import GateGraph
from adet_core.retraining.images import collect, collect_test, CollectedImages
from adet_core.retraining.questions import all_finite, figures, predict_all, Questions, Scores
from adet_core.retraining.relearned import Relearned
from adet_core.retraining.settings import retrain_settings
from adet_core.retraining.statistics import has_statistics, relearn_statistics
from adet_core.run_folders import BUNDLE_FOLDER, new_run_folder
from adet_core.thresholds import normal_thresholds, score_range, Thresholds

REGION = 'roi='
_GOLDEN_PER_CLASS = 2
# As many normal images as a training keeps for retrainings.
_NORMALS = 20


@dataclass(frozen=True, kw_only=True)
class LearnedCategory:
    """A bundle that was just made.

    Attributes:
        bundle: It, with its graph; nothing is deployed yet.
        figures: What it says of the images that it was not fitted to.
        learned: How many images it was fitted to.
        unreadable: One line for each image that was skipped.
    """

    bundle: Bundle
    figures: Figures
    learned: int
    unreadable: Sequence[str]


def learn_category(
    base: Path,
    images: Path,
    *,
    category: str,
    models_root: Path,
    test_dir: Path | None = None,
    overrides: Sequence[str] = (),
    threads: int = 0,
    progress: ProgressCallback = silent,
) -> LearnedCategory:
    """Learn a new category; the bundle appears in a run's folder of its own, whole.

    Args:
        base: An exported bundle of any category; its model has statistics.
        images: Images of good parts of the new category.
        category: Its name.
        models_root: Folder of all models.
        test_dir: Labelled images, ``normal`` and ``anomaly``, for the figures.
        overrides: ``KEY=VALUE`` words, see `adet_core.retraining.settings`; and
            ``roi=x,y,width,height``, in pixels of the images: what is inspected.
        threads: Of the computation; 0: one per core.
        progress: Told the progress, by stage.

    Raises:
        BackendError: The graph cannot be run, or does not predict what the model predicts.
        BundleError: The base or its engine cannot be used.
        ConfigError: The category cannot be a folder's name, a setting is wrong, the region does
            not fit the images, the base was made for images of one kind, or its model has weights
            alone.
        DatasetError: A folder is missing, empty or arranged wrongly, or holds too few images.
        OSError: The models root cannot be written.
    """
    try:
        check_name(category)
    except ValueError as error:
        raise ConfigError(f'category {error}') from None
    regions = [word for word in overrides if word.startswith(REGION)]
    roi = regions[-1].removeprefix(REGION) if regions else ''
    bundle = _with_region(open_bundle(base), images, roi)
    if not has_statistics(bundle):
        msg = (
            f'{base}: {bundle.manifest.model} learns a new category with its weights, which needs '
            'a PC: adet train'
        )
        raise ConfigError(msg)
    settings = retrain_settings(
        bundle.manifest, [word for word in overrides if word not in regions]
    )
    collected = collect(
        bundle,
        images,
        incremental=False,
        share=settings['held_out'],
        replay=False,
        progress=progress,
    )
    test, unreadable = collect_test(test_dir, bundle, progress)
    graph = GateGraph(bundle, threads=threads)
    new = relearn_statistics(
        bundle, collected, settings, [], graph=graph, threads=threads, progress=progress
    )
    questions = _questions(bundle, collected, test, settings['seed'])
    scores = predict_all(
        new.runs, questions, stage='calibrate', progress=progress, at_once=graph.at_once
    )
    if not all_finite(scores):
        msg = f'{base}: its graph gives scores that are no numbers; export it again'
        raise BackendError(msg)
    thresholds = _thresholds(scores, questions, settings)
    golden = _golden(new, questions)
    parity = measure_parity(
        new.backend,
        *golden,
        threshold=thresholds.image.value,
        span=thresholds.score_range.span,
        precision=read_precision(bundle),
        map_tolerance=map_tolerance_of(bundle, golden.prediction),
        progress=progress,
    )
    if fault := parity_fault(parity):
        raise BackendError(fault)
    found = figures(scores, thresholds.image.value, questions)
    manifest = _manifest(bundle, category, thresholds, collected, found, settings)
    folder = new_run_folder(models_root, manifest.model, category) / BUNDLE_FOLDER
    contents = _contents(bundle, new, collected, questions, golden)
    made = _write(folder, manifest, contents, bundle, parity)
    skipped = [*collected.unreadable, *unreadable]
    return LearnedCategory(bundle=made, figures=found, learned=new.images, unreadable=skipped)


def _with_region(base: Bundle, images: Path, roi: str) -> Bundle:
    """The base without its own region of interest, with this one where it is given.

    Raises:
        ConfigError: As `learn_category`.
        DatasetError: There are no images.
        ImageError: None of them can be read.
    """
    spec = base.manifest.image
    kinds = {'tiles': spec.tiles, 'align': spec.align, 'light': spec.light}
    if found := [name for name, value in kinds.items() if value is not None]:
        msg = (
            f'{base.folder}: was trained with {" and ".join(found)}, made for the images of '
            f'{base.manifest.category}; take a base without, or learn on a PC: adet train'
        )
        raise ConfigError(msg)
    spec = replace(spec, roi=None, source=None)
    if roi:
        if parse_box(roi) is None:
            msg = f'roi is {roi!r:.60}, expected x,y,width,height; adet train takes files, too'
            raise ConfigError(msg)
        height, width = usual_size(list_images(images))
        area = read_area(roi, (height, width))
        spec = replace(spec, roi=area.box, source=(width, height))
    files = {name: entry for name, entry in base.manifest.files.items() if name != AREA_FILE}
    return Bundle(base.folder, replace(base.manifest, image=spec, files=files), base.meta)


def _questions(
    bundle: Bundle, collected: CollectedImages, test: Sequence[LabelledImage], seed: int
) -> Questions:
    good, geometry = collected.good, bundle.geometry()
    count = len(good)
    return Questions(
        geometry=geometry,
        good=good,
        marked=[one.pixels for one in collected.marked],
        test=test,
        are_old=np.zeros(count, np.bool_),
        are_fair=np.ones(count, np.bool_),
        defects=draw_defects(
            min(count, _NORMALS),
            geometry.size,
            piece=geometry.spec.size,
            allowed=geometry.inspected,
            seed=seed,
        ),
    )


def _thresholds(scores: Scores, questions: Questions, settings: dict[str, Any]) -> Thresholds:
    image, pixel = normal_thresholds(
        scores.good,
        scores.peaks,
        settings['false_reject_rate'],
        confidence=settings['confidence'],
        uncertain_rate=settings['uncertain_rate'],
    )
    kept = score_range(
        np.concatenate([scores.good, scores.test]),
        image.value,
        scores.good,
        anomalies=scores.test[questions.labels],
        made_up=questions.defects.by_strength(scores.made_up),
    )
    return Thresholds(image, pixel, kept)


def _golden(new: Relearned, questions: Questions) -> Golden:
    """A few good images and made-up defects, with the model's own predictions."""
    geometry, defects = questions.geometry, questions.defects
    middle = (geometry.size[0] // 2, geometry.size[1] // 2)
    inputs = [geometry.input_at(one, middle) for one in questions.good[:_GOLDEN_PER_CLASS]]
    for index in np.argsort(-defects.strength, kind='stable')[:_GOLDEN_PER_CLASS].tolist():
        _, _, tall, wide, top, left = defects.box[index].tolist()
        pasted = defects.pasted(questions.good, index)
        inputs.append(geometry.input_at(pasted, (top + tall // 2, left + wide // 2)))
    images = np.stack(inputs)
    return Golden(images, Prediction.concatenate(new.predict(image) for image in images))


def _manifest(
    base: Bundle,
    category: str,
    thresholds: Thresholds,
    collected: CollectedImages,
    found: Figures,
    settings: dict[str, Any],
) -> Manifest:
    learned = {**base.manifest.hyper_parameters, **settings}
    return replace(
        base.manifest,
        category=category,
        created=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        hyper_parameters={name: learned[name] for name in base.manifest.hyper_parameters},
        image_threshold=thresholds.image,
        pixel_threshold=thresholds.pixel,
        score_range=thresholds.score_range,
        files={},
        dataset=DatasetInfo(
            train=len(collected.learn),
            held_out=len(collected.held_out),
            test_normal=found.test_normals,
            test_anomaly=found.anomalies,
            unreadable=len(collected.unreadable),
            fingerprint=_fingerprint(collected),
        ),
        metrics={} if found.image_auroc is None else {'image_auroc': found.image_auroc},
        versions={name: version(name) for name in ('adet_core', 'numpy', 'onnxruntime')},
    )


def _fingerprint(collected: CollectedImages) -> str:
    images = sorted((one.path.name, one.sha256) for one in (*collected.learn, *collected.held_out))
    return hashlib.sha256(json.dumps(images).encode()).hexdigest()


def _contents(
    base: Bundle,
    new: Relearned,
    collected: CollectedImages,
    questions: Questions,
    golden: Golden,
) -> dict[str, Content]:
    normals = np.stack(questions.good[:_NORMALS])
    known = KnownImages(
        learned={one.sha256: readable_name(one.path) for one in collected.learn},
        held_out={one.sha256: readable_name(one.path) for one in collected.held_out},
    )

    def copy_weights(file: IO[bytes]) -> object:
        return file.write(base.weights())

    return {
        **new.contents,
        WEIGHTS_FILE: copy_weights,
        GOLDEN_FILE: partial(write_arrays, arrays=golden.arrays()),
        NORMALS_FILE: partial(write_arrays, arrays={'images': normals}),
        MADE_UP_FILE: partial(write_arrays, arrays=questions.defects._asdict()),
        KNOWN_IMAGES_FILE: lambda file: file.write(known.to_json()),
    }


def _write(
    folder: Path, manifest: Manifest, contents: dict[str, Content], base: Bundle, parity: Parity
) -> Bundle:
    """The bundle with the graph of its base, which now belongs to it, too."""
    graph, features, record = read_engine(base), read_features(base), read_record(base)
    made = write_bundle(folder, manifest, contents)
    record = replace(record, bundle_id=made.bundle_id, parity=parity, plan=None)
    write_engine(made, graph.onnx, record, features.onnx)
    return made
