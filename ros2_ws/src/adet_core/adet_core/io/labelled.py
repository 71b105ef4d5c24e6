# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The one reader of labelled images: for training, for retraining and for their tests."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
import hashlib
from pathlib import Path

import numpy as np

from adet_core.errors import ImageError
from adet_core.image import decode_image, Image, ImageArray, preprocess, read_file
from adet_core.io.feedback import is_feedback
from adet_core.io.folders import ignore_file, LABELS, OnFile
from adet_core.io.masks import Mask, Masks


@dataclass(frozen=True)
class LabelledImage:
    """One image, preprocessed for a graph.

    Attributes:
        path: Its file.
        pixels: uint8 ``(H, W, 3)``, RGB, of the graph's size.
        label: ``normal``, ``anomaly``, or empty for one that is only learned from.
        mask: Of the graph's size; None if nobody marked it.
        sha256: Of the file.
        is_marked: An operator marked it while it was inspected.
    """

    path: Path
    pixels: ImageArray
    label: str = ''
    mask: Mask | None = None
    sha256: str = ''
    is_marked: bool = False

    @property
    def is_anomalous(self) -> bool:
        """Whether it is labelled as an anomaly."""
        return self.label == LABELS[1]


class LabelledReader:
    """Reads images one by one, and keeps the tally over several folders.

    Attributes:
        masks: Finds their masks, and knows those that are of no use.
        unreadable: One line for each image that was skipped.
    """

    def __init__(self, size: tuple[int, int], *, on_file: OnFile = ignore_file) -> None:
        """Read nothing yet.

        Args:
            size: Height and width of the graph's input, in pixels.
            on_file: Told of each image and mask that was read.
        """
        self.masks = Masks(on_file)
        self.unreadable: list[str] = []
        self._size, self._on_file = size, on_file

    def read(
        self, path: Path, label: str = '', *, known: Container[str] = ()
    ) -> LabelledImage | None:
        """Read one image, and where it is labelled its mask: that of a normal one is empty.

        Args:
            path: Its file.
            label: See `LabelledImage`.
            known: Checksums of files that are not wanted again.

        Returns:
            None if it is known, or cannot be read; then `unreadable` says why.
        """
        try:
            data = read_file(path)
            sha256 = hashlib.sha256(data).hexdigest()
            if sha256 in known:
                return None
            image = _with_known_range(decode_image(data, str(path)), path)
        except ImageError as error:
            self.unreadable.append(str(error))
            return None
        self._on_file(path, sha256)
        mask: Mask | None = None
        if label == LABELS[0]:
            mask = np.zeros(self._size, np.bool_)
        elif label == LABELS[1]:
            mask = self.masks.read(path, image.size, self._size)
        pixels = preprocess(image, self._size)
        return LabelledImage(path, pixels, label, mask, sha256, is_feedback(path))


def _with_known_range(image: Image, path: Path) -> Image:
    """Refuse grey levels that would all become white; on a robot, ``float_range`` says more."""
    if image.encoding == '32FC1' and (peak := np.nanmax(image.pixels, initial=0)) > 1:
        msg = f'{path}: has float pixels up to {peak:g}, expected 0 to 1; save it with 16 bits'
        raise ImageError(msg)
    return image
