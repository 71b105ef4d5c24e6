# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""EfficientAD trained for some minutes: its image AUROC after more and more steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import fcntl
from itertools import count, islice
from pathlib import Path
import time
from typing import Any

from anomalib.data import ImageBatch
from gpu_report import GPU_LOCK
from gpu_steps import device_of_torch, draw_once, load_data, locked, Step
import numpy as np
import torch

from adet_core.io.folders import list_images
from adet_core.metrics import auroc
from adet_core.progress import silent
from adet_training.backbone import load_backbone
from adet_training.distill import distill, IMAGE, make_teacher
from adet_training.learning_set import split
from adet_training.models.efficientad import ADAPTER, EfficientAdParameters
from adet_training.natural import Natural, NaturalImages
from adet_training.parameters import make_parameters
from adet_training.predictions import predict, to_tensor

_FIRST = 250
"""Steps before the first test; each later test is after twice as many."""
# As in the paper: the last twentieth learns at a tenth of the rate.
_SLOW = 0.05


def learn_curve(step: Step) -> None:
    """Distil a teacher, then train on the drawn images or another category until time is over.

    All images are kept on the GPU, so that a step waits for nothing.
    """
    options = step.options
    if step.arguments:
        data = load_data(step, options.data_root, step.arguments[0])
    else:
        draw_once(step)
        data = load_data(step)
    parameters = make_parameters(EfficientAdParameters, {'image_size': options.image_size})
    backbone = load_backbone(
        parameters.backbone, parameters.layers, options.backbone_weights, seed=0
    )
    to_learn = split(ADAPTER, parameters, data, 0)
    labels = np.array([labelled.is_anomalous for labelled in data.test])
    device = device_of_torch()
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    with locked(step.folder(GPU_LOCK), fcntl.LOCK_SH):
        start = time.monotonic()
        end = start + 60 * options.curve_minutes
        normal = [to_tensor(labelled.pixels).to(device) for labelled in to_learn.fit]
        photographs = _photographs(options.natural_images, device)
        teacher = make_teacher(parameters.model_size)
        error = distill(
            teacher,
            backbone,
            _endless(photographs or normal),
            solved=options.distill_pieces,
            steps=options.distill_steps,
            progress=silent,
        )
        module: Any = ADAPTER.build(parameters, backbone._replace(network=teacher))
        module.natural = _Kept(photographs) if photographs else None
        step.keep(
            backbone=backbone.spec.name,
            distill_steps=options.distill_steps,
            distill_error=error,
            distill_seconds=time.monotonic() - start,
            photographs=len(photographs),
        )
        pixels = [labelled.pixels for labelled in to_learn.fit]
        module.learn_teacher_scale(pixels, silent)
        module.solve_student(pixels, silent)
        module.to(device)
        points: list[dict[str, float | None]] = []
        for steps in _train(module, parameters, normal, end):
            module.learn_map_scale([labelled.pixels for labelled in to_learn.held_out], silent)
            scores = predict(module, [one.pixels for one in data.test], silent, '').scores
            module.to(device)
            seconds = time.monotonic() - start
            points.append(
                {'steps': steps, 'seconds': seconds, 'image_auroc': auroc(scores, labels)}
            )
            step.keep(points=points)


def _train(
    module: Any, parameters: EfficientAdParameters, images: Sequence[torch.Tensor], end: float
) -> Iterator[int]:
    """Train until a point of the monotonic clock; yields the number of steps for each test."""
    model = module.model
    optimizer = torch.optim.Adam(
        [*model.student.parameters(), *model.ae.parameters()],
        lr=parameters.learning_rate,
        weight_decay=parameters.weight_decay,
    )
    batches = [ImageBatch(image=image[None]) for image in images]
    slow_from = end - _SLOW * (end - time.monotonic())
    due = _FIRST
    _to_training(module)
    for number in count(1):
        if (number - 1) % len(batches) == 0:
            order = torch.randperm(len(batches)).tolist()
        loss = module.training_step(batches[order[(number - 1) % len(batches)]])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        now = time.monotonic()
        if now >= slow_from:
            optimizer.param_groups[0]['lr'] = parameters.learning_rate / 10
        if number == due or now >= end:
            yield number
            due *= 2
            _to_training(module)
        if now >= end:
            return


def _to_training(module: Any) -> None:
    # A test computes in full fp32, for the sake of exports.
    torch.backends.cudnn.allow_tf32 = True
    module.train()
    module.model.teacher.eval()


class _Kept(Natural):
    """Photographs that are kept on the GPU."""

    def __init__(self, images: Sequence[torch.Tensor]) -> None:
        self._images = images

    def one(self) -> torch.Tensor:
        return self._images[int(torch.randint(len(self._images), ()))]

    def endless(self) -> Iterator[torch.Tensor]:
        return _endless(self._images)


def _photographs(folder: Path | None, device: torch.device) -> list[torch.Tensor]:
    """The photographs of a folder, each prepared once; none without a folder."""
    if folder is None:
        return []
    images = NaturalImages(folder, IMAGE).endless()
    return [image.to(device) for image in islice(images, len(list_images(folder)))]


def _endless(images: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
    while True:
        for index in torch.randperm(len(images)).tolist():
            yield images[index]
