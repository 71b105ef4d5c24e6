# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Which images of a folder are new, which of them are learned, and which are kept back."""

from __future__ import annotations

from dataclasses import dataclass, field
import hashlib
from pathlib import Path

import numpy as np

from adet_core.bundle import Bundle
from adet_core.errors import DatasetError
from adet_core.image import ImageArray
from adet_core.io.feedback import is_feedback
from adet_core.io.folders import label_of, labelled_images, LABELS, list_images
from adet_core.io.labelled import LabelledImage, LabelledReader
from adet_core.progress import ProgressCallback

_MINIMUM = 2


@dataclass
class CollectedImages:
    """What a retraining works with.

    Attributes:
        learn: New images to learn from.
        known: Images of the folder that were learned from before; filled on request.
        held_out: Normal images kept back, new and old.
        normals: Normal images that came with the bundle, kept back too.
        learned_normals: Indices of those that an operator marked, so that they are learned now.
        unreadable: One line for each image that was skipped.
    """

    learn: list[LabelledImage] = field(default_factory=list)
    known: list[LabelledImage] = field(default_factory=list)
    held_out: list[LabelledImage] = field(default_factory=list)
    normals: list[ImageArray] = field(default_factory=list)
    learned_normals: set[int] = field(default_factory=set)
    unreadable: list[str] = field(default_factory=list)

    @property
    def marked(self) -> list[LabelledImage]:
        """Those to learn from that an operator marked as fine."""
        return [image for image in self.learn if image.is_marked]

    @property
    def good(self) -> list[ImageArray]:
        """All normal images that no model of this retraining was fitted to."""
        return [*self.normals, *(image.pixels for image in self.held_out)]


def collect(
    bundle: Bundle,
    folder: Path,
    *,
    incremental: bool,
    share: float,
    replay: bool,
    progress: ProgressCallback,
) -> CollectedImages:
    """Read a folder of normal images and divide it.

    An image is kept back or learned for good: its content decides, not the number of images
    beside it. What an operator marked as fine is always learned.

    Args:
        bundle: As it is in service.
        folder: Normal images.
        incremental: Go on from what the bundle knows; else it is forgotten, and all count as new.
        share: Of the new images, how many are kept back.
        replay: Whether images that were learned before are wanted, too.
        progress: Told the progress.

    Raises:
        DatasetError: The folder is missing or empty, holds images labelled as anomalies, holds
            nothing new, or too little.
    """
    if not folder.is_dir():
        msg = f'{folder}: no such folder; put images of good parts there'
        raise DatasetError(msg)
    # Marked ones first: of two equal images the first one counts.
    paths = sorted(list_images(folder), key=lambda path: not is_feedback(path))
    learned, kept_back = bundle.known_images() if incremental else ({}, {})
    found = CollectedImages(normals=list(bundle.normals()) if incremental else [])
    # The bundle's own may also lie in the folder.
    own = {_content(image): index for index, image in enumerate(found.normals)}
    seen: set[bytes] = set()
    reader = LabelledReader(bundle.geometry())
    for number, path in enumerate(paths, start=1):
        if label_of(path, folder) == LABELS[1]:
            msg = f'{path}: is labelled as an anomaly; only good parts are learned from'
            raise DatasetError(f'{msg}; name the folder of the good ones')
        image = reader.read(path, known=() if replay else learned)
        content = b'' if image is None else _content(image.pixels)
        if image is not None and content not in seen and (image.is_marked or content not in own):
            seen.add(content)
            _sort_in(image, found, learned, kept_back, share)
            if content in own:
                found.learned_normals.add(own[content])
        progress('load', number, len(paths))
    found.unreadable = reader.unreadable
    _check(found, folder, len(paths), incremental=incremental)
    return found


def collect_test(
    folder: Path | None, bundle: Bundle, progress: ProgressCallback
) -> tuple[list[LabelledImage], list[str]]:
    """Read labelled images, ``normal`` and ``anomaly``; none for None.

    Args:
        folder: Holds ``normal`` and ``anomaly``.
        bundle: As it is in service.
        progress: Told the progress.

    Returns:
        The images, and one line for each that was skipped.

    Raises:
        DatasetError: The folder is missing or empty, an image has no label, or none can be read.
    """
    if folder is None:
        return [], []
    if not folder.is_dir():
        msg = f'{folder}: no such folder; it takes normal/ and anomaly/'
        raise DatasetError(msg)
    reader = LabelledReader(bundle.geometry())
    found = []
    paths = labelled_images(folder)
    for number, path in enumerate(paths, start=1):
        if image := reader.read(path, label_of(path, folder)):
            found.append(image)
        progress('load test images', number, len(paths))
    if not found:
        msg = f'{folder}: none of {len(paths)} images can be read; {reader.unreadable[0]}'
        raise DatasetError(msg)
    return found, reader.unreadable


def _sort_in(
    image: LabelledImage,
    found: CollectedImages,
    learned: dict[str, str],
    kept_back: dict[str, str],
    share: float,
) -> None:
    if image.sha256 in learned:
        found.known.append(image)
    elif not image.is_marked and (
        image.sha256 in kept_back or int(image.sha256[:8], 16) < share * 2**32
    ):
        found.held_out.append(image)
    else:
        found.learn.append(image)


def _check(found: CollectedImages, folder: Path, count: int, *, incremental: bool) -> None:
    if not found.good and len(found.learn) > _MINIMUM:
        # Somebody has to be asked where the threshold lies.
        found.held_out.append(found.learn.pop())
    why = f'; {found.unreadable[0]}' if found.unreadable else ''
    if incremental and not found.learn:
        msg = f'{folder}: nothing new to learn among {count} images{why}; add images of good '
        raise DatasetError(f'{msg}parts, or learn all of them anew (mode full)')
    needed = 1 if incremental else _MINIMUM
    if len(found.learn) < needed or not found.good:
        msg = (
            f'{folder}: {len(found.learn)} images to learn from and {len(found.good)} to find '
            f'the threshold with, at least {needed} and 1 are needed{why}'
        )
        raise DatasetError(msg)


def _content(image: ImageArray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()
