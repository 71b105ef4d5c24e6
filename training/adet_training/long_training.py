# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a training of many steps needs: an expected end, a limit of time, going on after a kill.

All that is random in a step depends on the seed and the step's number alone. So a training that
was interrupted, and went on from its last checkpoint, ends with the weights of one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import math
from pathlib import Path
import random
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
import numpy as np
import torch
from torch.utils.data import Sampler

from adet_core.progress import ProgressCallback

# Measured after this time, and after so many steps at least; the first step is slower.
_MEASURED_S, _MEASURED_STEPS = 5.0, 3
_SAVE_S = 60.0
# The best checkpoint is looked for so often, with so many steps between at least.
_LOOKS, _LOOK_STEPS = 10, 50
_PRIME = 1_000_003
"""Seeds of neighbouring trainings do not share those of their steps."""


class StepOrder(Sampler[int]):
    """Each image once in each pass, in an order of the pass' own.

    Attributes:
        start: Steps that were done before; the next pass begins after them.
    """

    def __init__(self, images: int, batch_size: int, seed: int) -> None:
        """Begin with the first pass."""
        self._images, self._batch_size, self._seed = images, batch_size, seed
        self._passes = math.ceil(images / batch_size)
        self.start = 0

    def __len__(self) -> int:
        """Images of a whole pass."""
        return self._images

    def __iter__(self) -> Iterator[int]:
        """The rest of the pass that has been begun."""
        number, done = divmod(self.start, self._passes)
        generator = torch.Generator().manual_seed(_seed_of(self._seed, number))
        order = torch.randperm(self._images, generator=generator).tolist()
        self.start = (number + 1) * self._passes
        return iter(order[done * self._batch_size :])


class KeepGoing(Callback):
    """Tells the progress, ends a training in time, and saves it every minute.

    Attributes:
        share: How much of the training is done, 0 to 1; of the time where that ends it first.
    """

    def __init__(
        self,
        *,
        steps: int,
        max_s: float,
        seed: int,
        order: StepOrder,
        last: Path | None,
        progress: ProgressCallback,
        tell: Callable[[str], object],
    ) -> None:
        """Watch a training.

        Args:
            steps: How many there are to be.
            max_s: Time for them, in seconds; infinite: no limit.
            seed: Of all that is random.
            order: Of the images; it is set to where a training goes on.
            last: Checkpoint that a training goes on from; None: it is not saved.
            progress: Told the steps.
            tell: Told how long it will take, in one line, when that is known.
        """
        self._steps, self._max_s, self._seed = steps, max_s, seed
        self._order, self._last = order, last
        self._progress, self._tell = progress, tell
        self._step = 0
        self._spent_before = self._saved = 0.0
        self._begun: float | None = None
        self._first: tuple[int, float] | None = None
        self._per_step: float | None = None
        self.share = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Time and steps so far."""
        return {'spent_s': self._spent(), 'step': self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._spent_before = float(state_dict['spent_s'])
        self._step = self._order.start = int(state_dict['step'])

    def on_train_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Tell of all steps before the first, which may take long."""
        self._begun = self._saved = time.monotonic()
        self._progress('training', trainer.global_step, self._steps)
        self.save(trainer)

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Give the step random numbers of its own."""
        step = trainer.global_step
        self.share = max(step / self._steps, self._spent() / self._max_s)
        if hasattr(module, 'share'):
            module.share = self.share
        seed_all(_seed_of(self._seed, step))

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Tell the progress, save, and end the training when its time is over."""
        step, now = trainer.global_step, time.monotonic()
        self._step = step
        if self._first is None:
            self._first = step, now
        elif self._per_step is None:
            self._measure(step, now)
        self._progress('training', step, self._expected(step))
        if self._spent() >= self._max_s:
            trainer.should_stop = True
        if now - self._saved > _SAVE_S:
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Save, so that nothing is trained twice if what follows is interrupted."""
        self._progress('training', trainer.global_step, trainer.global_step)
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint, whole or not at all."""
        if self._last:
            save_checkpoint(trainer, self._last)
        self._saved = time.monotonic()

    def _spent(self) -> float:
        now = 0.0 if self._begun is None else time.monotonic() - self._begun
        return self._spent_before + now

    def _measure(self, step: int, now: float) -> None:
        assert self._first is not None
        first, since = self._first
        if step - first < _MEASURED_STEPS or now - since < _MEASURED_S:
            return
        self._per_step = (now - since) / (step - first)
        steps = self._expected(step)
        left = (steps - step) * self._per_step / 60
        limit = '' if steps == self._steps else f' of {self._steps}, as the time is limited'
        self._tell(
            f'training: {1 / self._per_step:.2f} steps/s here; {steps} steps{limit}, '
            f'about {left:.0f} min from now. It can be interrupted: '
            'the same command goes on from there'
        )

    def _expected(self, step: int) -> int:
        """How many steps there will be."""
        if self._per_step is None:
            return self._steps
        more = max((self._max_s - self._spent()) / self._per_step, 0.0)
        return self._steps if more == math.inf else min(self._steps, max(step + int(more), step))


class KeepBest(Callback):
    """Keeps the checkpoint with the lowest loss on images that are not learned from."""

    def __init__(
        self, look: Callable[[], float], going: KeepGoing, best: Path, steps: int
    ) -> None:
        """Look at the loss up to ten times, and after the last step.

        Args:
            look: Gives the loss, with the module in evaluation mode.
            going: Knows how much of the training is done.
            best: The checkpoint.
            steps: How many there are to be.
        """
        self._looks = min(_LOOKS, steps // _LOOK_STEPS)
        self._look, self._going, self._best = look, going, best
        self._lowest, self._looked = math.inf, 0

    def state_dict(self) -> dict[str, Any]:
        """The lowest loss so far, and how often it was looked at."""
        return {'lowest': self._lowest, 'looked': self._looked}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._lowest, self._looked = state_dict['lowest'], state_dict['looked']

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Look, if it is time."""
        if (due := int(self._going.share * self._looks)) > self._looked:
            self._looked = due
            self._keep_lowest(trainer, module)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Look at the end."""
        self._keep_lowest(trainer, module)

    def _keep_lowest(self, trainer: Trainer, module: LightningModule) -> None:
        module.eval()
        with torch.no_grad():
            loss = self._look()
        module.train()
        # Of two that are alike the later one has learned more.
        if loss <= self._lowest:
            self._lowest = loss
            save_checkpoint(trainer, self._best)
        if trainer.logger:
            trainer.logger.log_metrics({'held_out_loss': loss}, trainer.global_step)


def save_checkpoint(trainer: Trainer, path: Path) -> None:
    """Write a checkpoint of a training, whole or not at all.

    Lightning's own way is not safe from a kill where its temporary files are on another disk.
    """
    part = path.with_name(f'{path.name}.part')
    trainer.save_checkpoint(part)
    part.replace(path)


def seed_all(seed: int) -> None:
    """Seed the random numbers of Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - some of Anomalib's models use it
    torch.manual_seed(seed)


def _seed_of(seed: int, number: int) -> int:
    return (seed * _PRIME + number) % 2**32
