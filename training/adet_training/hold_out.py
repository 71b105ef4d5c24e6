# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Which normal images are kept back from fitting, so that a threshold can be promised from them.

The promise holds for good parts that are no more like the fitted ones than the held-out ones are.
Several images of one item, or of one minute, must not stand on both sides: measured on sets with
eight images of an item, other items got 1.6 to 2.3 times the promised rate.
"""

from __future__ import annotations

from collections.abc import Sequence
import re

import numpy as np

from adet_core.errors import DatasetError
from adet_core.io.labelled import LabelledImage

HELD_OUT_BY = ('random', 'last')
FOLDER = 'folder'
_MINIMUM = 2


def hold_out(
    images: Sequence[LabelledImage],
    share: float,
    seed: int,
    *,
    by: str = 'random',
    group_by: str = '',
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Split images into those to fit, at least two, and those kept back, at least one.

    Args:
        images: Normal images in file order.
        share: Share to keep back; with groups, as many whole ones as it takes to reach it.
        seed: Decides which, with ``random``.
        by: ``random``, or ``last``: those at the end of the file order.
        group_by: What a group has in common: ``folder``, or a regular expression that is searched
            in the file name (its first group, or all that it matches). An image that it does not
            match is a group of its own. Empty: every image is one.

    Returns:
        The images to fit, and those kept back.

    Raises:
        DatasetError: There are fewer than three, or all are of one group.
    """
    most = len(images) - _MINIMUM
    where = images[0].path.parent
    if most < 1:
        msg = (
            f'{where}: {len(images)} readable images, at least {_MINIMUM + 1} '
            'are needed; without labelled test images one is kept back to find the threshold'
        )
        raise DatasetError(msg)
    groups: dict[str, list[int]] = {}
    for index, labelled in enumerate(images):
        groups.setdefault(_group(labelled, index, group_by), []).append(index)
    order = np.random.default_rng(seed).permutation(len(groups))
    if by == 'last':
        order = np.arange(len(groups))[::-1]
    count = min(max(round(len(images) * share), 1), most)
    members, kept = list(groups.values()), set[int]()
    for number in order:
        # A large group may leave too few to fit; a smaller one may still fit in.
        if len(kept) < count and len(kept) + len(members[number]) <= most:
            kept.update(members[number])
    if not kept:
        msg = f'{where}: group_by={group_by} leaves no group to hold out of {len(groups)}'
        raise DatasetError(f'{msg}; name what tells items apart')
    fit = [labelled for index, labelled in enumerate(images) if index not in kept]
    return fit, [images[index] for index in sorted(kept)]


def _group(labelled: LabelledImage, index: int, group_by: str) -> str:
    if group_by == FOLDER:
        return str(labelled.path.parent)
    found = re.search(group_by, labelled.path.name) if group_by else None
    if found is None:
        return f'{index} alone'
    return f'of {found[1] if found.re.groups else found[0]}'
