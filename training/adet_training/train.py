# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""One training run: from folders of pictures to a bundle and its test results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
import time
from typing import Any

from lightning.pytorch import seed_everything
import numpy as np
import torch
import yaml

from adet_core.bundle import (
    Bundle,
    DatasetInfo,
    Golden,
    GOLDEN_FILE,
    ImageSpec,
    Manifest,
    Threshold,
    WEIGHTS_FILE,
    write_arrays,
    write_atomic,
    write_bundle,
)
from adet_core.metrics import auroc, best_f1_threshold, pixel_metrics, rates_at
from adet_core.models import model_info
from adet_core.progress import Report, silent
from adet_core.thresholds import labelled_threshold, normal_threshold, score_range
from adet_training.backbone import Backbone
from adet_training.dataset import Category, hold_out, load_category, Sample
from adet_training.fit import answer, Answers, fit, LOGS_FOLDER
from adet_training.models import load_adapter
from adet_training.parameters import check, make_parameters, Parameters
from adet_training.results import write_test_result
from adet_training.versions import library_versions

BUNDLE_FOLDER = 'pytorch'
_GOLDEN_PER_CLASS = 2


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What to train on, and how.

    Attributes:
        model: The model's word.
        category: Name of the folder under ``train`` and ``test``.
        data_root: Folder that holds ``train`` and ``test``.
        models_root: Folder the run is written under.
        backbone_weights: ``imagenet``, ``random`` or a file.
        settings: Hyper-parameters that differ from their defaults.
        seed: Of everything that is random.
    """

    model: str
    category: str
    data_root: Path
    models_root: Path
    backbone_weights: str
    settings: dict[str, Any]
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the seed.

        Raises:
            ConfigError: It is out of the range that all the libraries take.
        """
        check(0 <= self.seed < 2**32, 'seed', self.seed, '0 to 4294967295')


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: The run's folder.
        bundle: Its bundle.
        fit_seconds: Wall time of the fit alone.
        unreadable: One line for each picture that was skipped.
    """

    folder: Path
    bundle: Bundle
    fit_seconds: float
    unreadable: list[str]


def train(config: TrainConfig, *, report: Report = silent) -> Run:
    """Fit a model, find its thresholds, test it, and write the whole PC layout.

    The bundle appears last, so a folder with a bundle is a finished run.

    Raises:
        adet_core.errors.ConfigError: A setting, the model's name or the weights cannot be used.
        adet_core.errors.DatasetError: The pictures are missing, too few or arranged wrongly.
        OSError: The models root cannot be written.
    """
    adapter = load_adapter(config.model)
    parameters = make_parameters(adapter.parameters, config.settings)
    backbone = adapter.backbone(parameters, config.backbone_weights, seed=config.seed)
    data = load_category(config.data_root, config.category, parameters.image_size, report=report)
    to_fit = data.train
    held_out: list[Sample] = []
    if not data.is_labelled:
        to_fit, held_out = hold_out(data.train, parameters.held_out, config.seed)
    seed_everything(config.seed, verbose=False)
    module = adapter.build(parameters, backbone)
    folder = _new_run_folder(config)
    log = _Log(folder / LOGS_FOLDER / 'train.log', report)
    log.write(f'adet train, {len(to_fit)} pictures to fit, {len(held_out)} held out')
    for line in data.unreadable:
        log.write(f'skipped {line}')
    report = log.report
    settings = yaml.safe_dump(_plain(parameters), sort_keys=False)
    write_atomic(folder / 'param' / 'best_params.yaml', settings.encode())

    start = time.perf_counter()
    fit(module, to_fit, folder, parameters.batch_size, report)
    fit_seconds = time.perf_counter() - start

    ask = partial(answer, module, report=report)
    tested = ask([s.image for s in data.test], stage='testing') if data.test else None
    calibrated = ask([s.image for s in held_out], stage='calibrating') if held_out else None
    manifest = _manifest(config, parameters, backbone, data, len(held_out), tested, calibrated)
    if tested:
        write_test_result(folder / 'test_result', data.test, tested, manifest, report=report)
    statistics = adapter.statistics(module)
    weights = dict(adapter.weights(module))
    golden = _golden(data.test or held_out, tested or calibrated)
    bundle = write_bundle(
        folder / BUNDLE_FOLDER,
        manifest,
        {
            WEIGHTS_FILE: partial(torch.save, weights),
            model_info(config.model).statistics_file: lambda f: write_arrays(f, statistics),
            GOLDEN_FILE: lambda f: write_arrays(f, golden._asdict()),
        },
    )
    log.write(
        f'bundle {bundle.bundle_id}, threshold {manifest.image_threshold}, {manifest.metrics}'
    )
    return Run(folder, bundle, fit_seconds, data.unreadable)


class _Log:
    """The run's own account of itself, line by line, for whoever looks at it later."""

    def __init__(self, path: Path, report: Report) -> None:
        path.parent.mkdir(exist_ok=True)
        self._path, self._report = path, report

    def write(self, text: str) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec='seconds')
        with self._path.open('a', encoding='utf-8', errors='surrogateescape') as file:
            file.write(f'{now} {text}\n')

    def report(self, stage: str, done: int, total: int | None) -> None:
        """Pass progress on, and write down the end of each stage."""
        self._report(stage, done, total)
        if done == total:
            self.write(f'{stage}: {done} done')


def _new_run_folder(config: TrainConfig) -> Path:
    parent = config.models_root / model_info(config.model).folder / config.category
    parent.mkdir(parents=True, exist_ok=True)
    now = datetime.now()  # noqa: DTZ005 - a name for people
    while True:
        folder = parent / f'{now:%Y%m%d_%H%M%S}'
        try:
            folder.mkdir()
        except FileExistsError:
            now += timedelta(seconds=1)
        else:
            return folder


def _manifest(
    config: TrainConfig,
    parameters: Parameters,
    backbone: Backbone,
    data: Category,
    held_out: int,
    tested: Answers | None,
    calibrated: Answers | None,
) -> Manifest:
    image, pixel = _thresholds(parameters, data, tested, calibrated)
    judged = tested if data.is_labelled else calibrated
    assert judged is not None
    size = parameters.image_size
    anomalies = sum(sample.is_anomalous for sample in data.test)
    return Manifest(
        model=config.model,
        category=config.category,
        created=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        image=ImageSpec(height=size, width=size, mean=backbone.mean, std=backbone.std),
        backbone=backbone.spec,
        hyper_parameters={**_plain(parameters), 'seed': config.seed},
        image_threshold=image,
        pixel_threshold=pixel,
        score_range=score_range(judged.scores, image.value),
        dataset=DatasetInfo(
            train=len(data.train) - held_out,
            held_out=held_out,
            test_normal=len(data.test) - anomalies,
            test_anomaly=anomalies,
            unreadable=len(data.unreadable),
            fingerprint=data.fingerprint,
        ),
        metrics=_metrics(data.test, tested, image.value) if tested else {},
        versions=library_versions('anomalib', 'torch', 'timm', 'numpy', 'cv2'),
    )


def _thresholds(
    parameters: Parameters, data: Category, tested: Answers | None, calibrated: Answers | None
) -> tuple[Threshold, Threshold]:
    if calibrated is not None:
        image = normal_threshold(calibrated.scores, parameters.false_reject_rate)
    else:
        assert tested is not None
        labels = np.array([sample.is_anomalous for sample in data.test])
        image = labelled_threshold(tested.scores, labels)
    marked = [(s.mask, m) for s, m in _with_maps(data.test, tested) if s.mask is not None]
    # Without good pictures, masks that fill theirs leave no good pixel to compare with.
    if not any(mask.any() for mask, _ in marked) or all(mask.all() for mask, _ in marked):
        detail = 'no masks; pixels are compared with the image threshold'
        values = {**asdict(image), 'method': 'image_threshold', 'detail': detail}
        return image, Threshold(**values)
    pixels = np.concatenate([anomaly_map.ravel() for _, anomaly_map in marked])
    masks = np.concatenate([mask.ravel() for mask, _ in marked])
    anomalies = sum(bool(mask.any()) for mask, _ in marked)
    return image, Threshold(
        value=best_f1_threshold(pixels, masks),
        method='f1_optimal',
        normals=len(marked) - anomalies,
        anomalies=anomalies,
        detail='best F1 over the pixels of the masked test pictures',
    )


def _metrics(samples: Sequence[Sample], tested: Answers, threshold: float) -> dict[str, float]:
    labels = np.array([sample.is_anomalous for sample in samples])
    rates = rates_at(threshold, tested.scores, labels)
    marked = [(s.mask, m) for s, m in _with_maps(samples, tested) if s.mask is not None]
    pixels = pixel_metrics([m for _, m in marked], [mask for mask, _ in marked])
    figures = {
        'image_auroc': auroc(tested.scores, labels),
        'image_f1': rates.f1,
        'false_reject_rate': rates.false_reject_rate,
        'false_accept_rate': rates.false_accept_rate,
        'pixel_auroc': pixels.auroc,
        'aupro': pixels.aupro,
    }
    return {name: value for name, value in figures.items() if value is not None}


def _with_maps(samples: Sequence[Sample], tested: Answers | None) -> list[tuple[Sample, Any]]:
    return list(zip(samples, tested.maps, strict=True)) if tested else []


def _golden(samples: Sequence[Sample], answers: Answers | None) -> Golden:
    """A few pictures of each class with the trained module's own answers."""
    assert answers is not None
    chosen = [
        index
        for label in (False, True)
        for index in [i for i, s in enumerate(samples) if s.is_anomalous == label][
            :_GOLDEN_PER_CLASS
        ]
    ]
    return Golden(
        images=np.stack([samples[index].image for index in chosen]),
        scores=answers.scores[chosen],
        maps=answers.maps[chosen],
    )


def _plain(parameters: Parameters) -> dict[str, Any]:
    values = asdict(parameters)
    return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
