# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Time of a training step of EfficientAD, beside Anomalib's own step, in turns.

    python benchmarks/efficientad_steps.py --rounds 10

A step is losses, gradients and Adam. All sides learn from the same image, with a natural image in
memory. ``channels last`` is adet's step in that memory format. Prints medians and the ratios of
neighbours in time, of time on the wall and of CPU time, which depends less on other processes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
import time

from anomalib.data import ImageBatch
from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel
import torch

from adet_training.distill import make_teacher
from adet_training.efficientad import EfficientAdModule
from adet_training.models.efficientad import ADAPTER, EfficientAdParameters
from adet_training.natural import DrawnImages
from adet_training.parameters import make_parameters
from adet_training.quiet import quiet_libraries

_SIZE = 256


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=10)
    parser.add_argument('--threads', type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    image = torch.rand(1, 3, _SIZE, _SIZE)
    with quiet_libraries():
        ways = {
            'anomalib': _anomalib(image),
            'adet, teacher=official': _adet(image, 'official'),
            'adet, teacher=backbone': _adet(image, 'backbone'),
            'adet, teacher=backbone, channels last': _adet(image, 'backbone', last=True),
        }
        for run in ways.values():
            run()
        spent = [{name: _time(run) for name, run in ways.items()} for _ in range(arguments.rounds)]
    print('| step | s | CPU s | anomalib is slower by | in CPU time by |\n|---|---|---|---|---|')
    for name in ways:
        cells = [f'{median(one[name][kind] for one in spent):.2f}' for kind in (0, 1)]
        for kind in (0, 1):
            ratios = sorted(one['anomalib'][kind] / one[name][kind] for one in spent)
            cells.append(f'{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})')
        print(f'| {name} | {" | ".join(cells)} |')


def _time(run: Callable[[], object]) -> tuple[float, float]:
    """Time on the wall and of the CPU, in seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def _anomalib(image: torch.Tensor) -> Callable[[], object]:
    model = EfficientAdModel().train()
    model.teacher = make_teacher('small')
    natural = torch.rand(1, 3, _SIZE, _SIZE)
    learning = [*model.student.parameters(), *model.ae.parameters()]
    optimizer = torch.optim.Adam(learning, lr=1e-4, weight_decay=1e-5)

    def step() -> None:
        losses = model(batch=image, batch_imagenet=natural)
        _learn(optimizer, sum(losses))

    return step


def _adet(image: torch.Tensor, teacher: str, *, last: bool = False) -> Callable[[], object]:
    parameters = make_parameters(EfficientAdParameters, {'teacher': 'backbone'})
    backbone = ADAPTER.backbone(parameters, 'random', seed=0)
    if teacher == 'official':
        backbone = backbone._replace(network=make_teacher('small'))
    module: EfficientAdModule = ADAPTER.build(parameters, backbone)
    module.natural = _Kept(_SIZE)
    module.model.mean_std['std'].data.fill_(1.0)
    module.train()
    module.model.teacher.eval()
    optimizer = module.configure_optimizers()
    if last:
        module.to(memory_format=torch.channels_last)
        image = image.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        _learn(optimizer, module.training_step(ImageBatch(image=image)))

    return step


class _Kept(DrawnImages):
    """One natural image, in memory as on the other side."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._image = torch.rand(3, size, size)

    def one(self) -> torch.Tensor:
        return self._image


def _learn(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


if __name__ == '__main__':
    main()
