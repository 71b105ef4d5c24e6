# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Fitting an Anomalib module through Lightning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import math
from pathlib import Path
import signal
from typing import Any

from anomalib.data import ImageBatch
from anomalib.utils.serialization import anomalib_safe_globals
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
import torch
from torch.utils.data import DataLoader

from adet_core.errors import ConfigError
from adet_core.io.labelled import LabelledImage
from adet_core.progress import ProgressCallback
from adet_core.run_folders import LOGS_FOLDER
from adet_training import processes
from adet_training.long_training import KeepBest, KeepGoing, StepOrder
from adet_training.parameters import SteppedParameters
from adet_training.predictions import to_tensor

CHECKPOINT_FOLDER = 'checkpoint'
BEST, LAST = 'best.ckpt', 'last.ckpt'


def fit(
    module: Any,
    images: Sequence[LabelledImage],
    folder: Path,
    batch_size: int,
    progress: ProgressCallback,
    *,
    batches: Sequence[Sequence[int]] = (),
) -> None:
    """Train a module that learns in the passes it asks for.

    Writes ``checkpoint/best.ckpt`` and ``logs/`` into ``folder``.

    Args:
        module: A Lightning module; left on the CPU, in evaluation mode.
        images: Normal images.
        folder: The run's folder.
        batch_size: Images per step.
        progress: Told the progress.
        batches: Indices of the images of each step; none: ``batch_size`` of them at random.

    Raises:
        KeyboardInterrupt: Somebody pressed Ctrl-C.
    """
    sampling: dict[str, Any] = {'batch_size': batch_size, 'shuffle': True}
    if batches:
        sampling = {'batch_sampler': batches}
    loader: DataLoader[LabelledImage] = DataLoader(
        list(images),  # type: ignore[arg-type]  # a list is a map-style dataset
        collate_fn=_collate,
        **sampling,
    )
    best = ModelCheckpoint(dirpath=folder / CHECKPOINT_FOLDER, filename='best')
    _run(module, loader, folder, {}, [best, _ReportSteps(progress)])


def fit_steps(
    module: Any,
    images: Sequence[LabelledImage],
    folder: Path,
    parameters: SteppedParameters,
    progress: ProgressCallback,
    *,
    tell: Callable[[str], object],
    look: Callable[[], float] | None = None,
) -> None:
    """Train a module for a number of steps, or until its time is over.

    It goes on from ``checkpoint/last.ckpt`` where that is in ``folder``; writes that,
    ``checkpoint/best.ckpt`` and ``logs/``. Several processes do not save their way, nor look.

    Args:
        module: A Lightning module; left on the CPU, in evaluation mode. Where it has an attribute
            ``share``, that is set to how much of the training is done, 0 to 1, before each step.
        images: Normal images.
        folder: The run's folder.
        parameters: Steps, images per step and limit of time.
        progress: Told the progress.
        tell: Told how long it will take, in one line, when that is known.
        look: Gives a loss on images that are not learned from: the module is left as it was when
            that was lowest. None: as it is after the last step.

    Raises:
        ConfigError: The time is limited, and several processes train.
        KeyboardInterrupt: Somebody pressed Ctrl-C.
    """
    is_alone = processes.count() == 1
    if parameters.max_minutes and not is_alone:
        # Each would end at another step.
        raise ConfigError('--max-time is for a training in one process; leave out --devices')
    seed = torch.initial_seed()
    order = StepOrder(len(images), parameters.batch_size, seed)
    loader: DataLoader[LabelledImage] = DataLoader(
        list(images),  # type: ignore[arg-type]  # a list is a map-style dataset
        batch_size=parameters.batch_size,
        sampler=order,
        collate_fn=_collate,
    )
    place = folder / CHECKPOINT_FOLDER
    place.mkdir(exist_ok=True)
    going = KeepGoing(
        steps=parameters.steps,
        max_s=60 * parameters.max_minutes or math.inf,
        seed=seed,
        order=order,
        last=place / LAST if is_alone else None,
        progress=progress,
        tell=tell,
    )
    # What is best is known before it is saved where the training is.
    callbacks: list[Callback] = [going]
    if not is_alone:
        look = None
        callbacks.append(ModelCheckpoint(dirpath=place, filename='best'))
    if look:
        callbacks.insert(0, KeepBest(look, going, place / BEST, parameters.steps))
    # Schedules of learning rates ask for one or the other.
    epochs = -(-parameters.steps // len(loader))
    length = {'max_steps': parameters.steps, 'max_epochs': epochs}
    _run(module, loader, folder, length, callbacks, place / LAST)
    if look:
        kept = torch.load(place / BEST, map_location='cpu', weights_only=True)
        module.load_state_dict(kept['state_dict'])


def finish_checkpoints(folder: Path) -> None:
    """Leave ``checkpoint/best.ckpt`` alone of a training that nobody will go on with."""
    last, best = (folder / CHECKPOINT_FOLDER / name for name in (LAST, BEST))
    if best.is_file():
        last.unlink(missing_ok=True)
    elif last.is_file():
        last.replace(best)


def _run(
    module: Any,
    loader: DataLoader[LabelledImage],
    folder: Path,
    length: Mapping[str, int],
    callbacks: list[Callback],
    last: Path | None = None,
) -> None:
    trainer = Trainer(
        **{
            'accelerator': 'auto',
            **module.trainer_arguments,
            **length,
            **processes.trainer_options(by_steps=bool(length)),
        },
        # The same seed is to give the same weights; on a GPU only this sees to it.
        deterministic='warn',
        default_root_dir=folder,
        logger=CSVLogger(folder, name=LOGS_FOLDER, version=''),
        log_every_n_steps=1,
        callbacks=callbacks,
        enable_checkpointing=any(isinstance(one, ModelCheckpoint) for one in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    extra: Sequence[Any] = getattr(module, 'checkpoint_safe_globals', tuple)()
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        with anomalib_safe_globals(extra=extra):
            if last and last.is_file():
                _check_checkpoint(last)
            else:
                last = None
            trainer.fit(module, datamodule=_Images(loader), ckpt_path=last, weights_only=True)
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        # Lightning made this of Ctrl-C, and the process deaf to the next one.
        signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt from None
    module.cpu().eval()


def _check_checkpoint(path: Path) -> None:
    """Refuse a damaged checkpoint.

    Raises:
        ConfigError: It is one.
    """
    try:
        torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    except Exception as error:  # noqa: BLE001 - pickle, zip and torch each raise their own
        msg = f'{path}: damaged ({type(error).__name__}); --resume none begins anew'
        raise ConfigError(msg) from None


def fit_in_order(
    module: Any,
    images: Sequence[LabelledImage],
    folder: Path,
    batches: Mapping[int, Sequence[int]],
    progress: ProgressCallback,
    *,
    exchange: processes.Exchange,
) -> None:
    """Show all images once to a module that adds up what all processes see of theirs.

    Args:
        module: As of `fit`, with ``begin`` that takes the order of all batches.
        images: Those of this process; may be none.
        folder: The run's folder.
        batches: Indices of the images of each block.
        progress: Told the progress.
        exchange: Brings the features of a round together.
    """
    module.begin(processes.InOrder(batches, exchange))
    if not images:
        module.fit()
        return
    fit(module, images, folder, 1, progress, batches=list(batches.values()))


class _Images(LightningDataModule):
    """What some models ask their trainer for the number of batches."""

    def __init__(self, loader: DataLoader[LabelledImage]) -> None:
        super().__init__()
        self._loader = loader

    def train_dataloader(self) -> DataLoader[LabelledImage]:
        """The images to learn from."""
        return self._loader


class _ReportSteps(Callback):
    def __init__(self, progress: ProgressCallback) -> None:
        self._progress = progress

    def on_train_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Tell of all steps before the first: it may take long."""
        self.on_train_batch_end(trainer)

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Tell how far the training has come; a model fits its statistics after the last step."""
        total = int(trainer.estimated_stepping_batches) if trainer.max_epochs else None
        self._progress('extracting features and fitting', trainer.global_step, total)


def _collate(images: Sequence[LabelledImage]) -> ImageBatch:
    stacked = torch.stack([to_tensor(labelled.pixels) for labelled in images])
    count, _, height, width = stacked.shape
    return ImageBatch(
        image=stacked,
        gt_label=torch.zeros(count, dtype=torch.bool),
        gt_mask=torch.zeros(count, height, width, dtype=torch.bool),
    )
