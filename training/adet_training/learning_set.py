# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Which images of a category a model learns, in which order, and in which process."""

from __future__ import annotations

from collections.abc import Sequence

from adet_core.errors import ConfigError, DatasetError
from adet_core.geometry import Geometry
from adet_core.io.labelled import LabelledImage, LabelledReader
from adet_training import processes
from adet_training.adapter import AnyAdapter, FitData
from adet_training.dataset import Category
from adet_training.hold_out import hold_out
from adet_training.limits import check
from adet_training.parameters import Parameters


def takes_labels(parameters: Parameters, data: Category) -> bool:
    """Whether the thresholds come from the labelled test images, or from good ones kept back.

    Raises:
        DatasetError: Labels are asked for, and the test data does not have both classes.
    """
    labelled = parameters.threshold != 'normal' and data.is_labelled
    needs = ''
    if parameters.threshold == 'labelled':
        needs, remedy = 'threshold=labelled', 'threshold=normal'
    elif parameters.objective != 'false_reject_rate':
        needs, remedy = f'objective={parameters.objective}', 'objective=false_reject_rate'
    if needs and not labelled:
        msg = (
            f'{needs} needs normal and anomalous test images (test/<category>/normal and '
            f'anomaly); use --set {remedy}'
        )
        raise DatasetError(msg)
    return labelled


def split(adapter: AnyAdapter, parameters: Parameters, data: Category, seed: int) -> FitData:
    """Which normal images to fit, and which to keep back.

    Raises:
        DatasetError: There are too few, or none with the labels asked for.
    """
    if takes_labels(parameters, data) and not adapter.needs_held_out:
        return FitData(data.train, blocks=_blocks(data, data.train))
    try:
        kept = hold_out(
            data.train,
            parameters.held_out,
            seed,
            by=parameters.held_out_by,
            group_by=parameters.group_by,
        )
    except DatasetError as error:
        # More may have been there.
        raise DatasetError('; '.join([str(error), *data.unreadable[:1]])) from None
    return FitData(*kept, blocks=_blocks(data, kept[0]))


def _blocks(data: Category, images: Sequence[LabelledImage]) -> list[int]:
    return [data.blocks[image.path] for image in images] if data.blocks else []


def check_together(model: str, adapter: AnyAdapter) -> None:
    """Refuse what several processes cannot do.

    Raises:
        ConfigError: The model cannot be trained so, or not by a strategy of Lightning.
    """
    if processes.count() > 1 and not adapter.together:
        msg = f'{model} learns in one pass that Anomalib keeps to one process'
        raise ConfigError(f'{msg}: take --devices 1, or padim, patchcore or efficientad')
    if adapter.together == 'merged':
        known = f'none for {model}, which does not train by steps'
        check(not processes.strategy(), 'strategy', processes.strategy(), known)


def block_size(adapter: AnyAdapter, parameters: Parameters, geometry: Geometry) -> int:
    """How many files are read and learned by one process before the next one has its turn."""
    if adapter.together != 'merged':
        return 1
    # Tiles with statistics of their own are learned one position after the other.
    at_once = 1 if geometry.has_own_statistics else geometry.inputs
    return max(parameters.batch_size // at_once, 1)


def own_part(adapter: AnyAdapter, to_learn: FitData, geometry: Geometry) -> FitData:
    """The images that this process learns, and in the first one all that are held out.

    Raises:
        ConfigError: The model cannot be trained by several processes, or images are too few.
    """
    if processes.count() == 1:
        return to_learn
    mine = [index for index, block in enumerate(to_learn.blocks) if processes.is_mine(block)]
    if adapter.together == 'steps':
        counts = processes.collect(len(mine))
        check(min(counts) > 0, 'devices', len(counts), f'no more than {len(to_learn.fit)} images')
        # All take the same number of steps in an epoch: some see an image twice.
        mine = [mine[number % len(mine)] for number in range(max(counts))]
    held_out: list[LabelledImage] = []
    if not processes.rank():
        reader = LabelledReader(geometry)
        found = [reader.read(image.path) for image in to_learn.held_out]
        if reader.unreadable:
            raise DatasetError(reader.unreadable[0])
        held_out = [image for image in found if image]
    return FitData(
        [to_learn.fit[index] for index in mine],
        held_out,
        blocks=[to_learn.blocks[index] for index in mine],
    )
