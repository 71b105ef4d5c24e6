# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Where an anomalous image is anomalous, as somebody marked it.

The mask of ``anomaly/NAME.*`` is ``masks/NAME.*`` in the folder that holds ``anomaly``: the same
path without the suffix. The suffix is that of any image format, in any case.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from adet_core.errors import ImageError
from adet_core.geometry import Mask, scale_mask
from adet_core.image import decode_pixels, is_jpeg, read_file
from adet_core.io.folders import ignore_file, LABELS, MASKS_FOLDER, OnFile, walk_images


class Masks:
    """Finds and reads masks, and remembers which of them are of no use.

    Attributes:
        unfit: One line for each mask that cannot be read or does not fit its image.
    """

    def __init__(self, on_file: OnFile = ignore_file) -> None:
        """Look at nothing yet.

        Args:
            on_file: Told of each mask that is used.
        """
        self.unfit: list[str] = []
        self._on_file = on_file
        self._homes: dict[Path, _Pairs] = {}

    @property
    def unmatched(self) -> list[str]:
        """One line for each mask without an image, in the folders that were asked about."""
        return [line for pairs in self._homes.values() for line in pairs.unmatched()]

    @property
    def warnings(self) -> list[str]:
        """All lines of `unfit` and `unmatched`."""
        return [*self.unfit, *self.unmatched]

    def find(self, image: Path) -> Path | None:
        """The mask of an image below ``anomaly``; None for any other image."""
        image = image.absolute()
        labelled = next((one for one in image.parents if one.name in LABELS), None)
        if labelled is None:
            return None
        home = labelled.parent
        if home not in self._homes:
            self._homes[home] = _Pairs(home)
        return self._homes[home].mask_of(image)

    def read(self, image: Path, image_size: tuple[int, int], size: tuple[int, int]) -> Mask | None:
        """The mask of an image, brought to the size of an anomaly map that covers the image.

        Args:
            image: The file of an image.
            image_size: Its height and width, in pixels.
            size: Height and width of the result, in pixels.

        Returns:
            As `read_whole`.
        """
        mask = self.read_whole(image, image_size)
        return None if mask is None else scale_mask(mask, size)

    def read_whole(self, image: Path, image_size: tuple[int, int]) -> Mask | None:
        """The mask of an image, True where it is anomalous, in the mask's own size.

        Args:
            image: The file of an image.
            image_size: Its height and width, in pixels.

        Returns:
            None if there is no mask, or none that fits; then `unfit` says why.
        """
        path = self.find(image)
        if path is None:
            return None
        try:
            data = read_file(path)
            mask = decode_mask(data, str(path), image_size)
        except ImageError as error:
            line = f'{error}; the mask is not used'
            if line not in self.unfit:
                self.unfit.append(line)
            return None
        self._on_file(path, hashlib.sha256(data).hexdigest())
        return mask


class _Pairs:
    """The anomalous images and the masks of one folder of labels."""

    def __init__(self, home: Path) -> None:
        self._anomalous = home / LABELS[1]
        self._folder = home / MASKS_FOLDER
        self._masks: dict[Path, list[Path]] = {}
        for path in walk_images(self._folder) if self._folder.is_dir() else []:
            self._masks.setdefault(_key(path, self._folder), []).append(path)

    def mask_of(self, image: Path) -> Path | None:
        if not image.is_relative_to(self._anomalous):
            return None
        masks = self._masks.get(_key(image, self._anomalous), [])
        # Where several have the name, the one with the image's own suffix comes first.
        return next((mask for mask in masks if mask.name == image.name), next(iter(masks), None))

    def unmatched(self) -> list[str]:
        if not self._masks:
            return []
        images = walk_images(self._anomalous) if self._anomalous.is_dir() else []
        used = {self.mask_of(image) for image in images}
        masks = (mask for several in self._masks.values() for mask in several)
        return [
            f'{mask}: is the mask of no image in {self._anomalous}; it is not used'
            for mask in masks
            if mask not in used
        ]


def _key(path: Path, folder: Path) -> Path:
    # Only the suffix goes: a name may hold dots of its own.
    return path.relative_to(folder).with_suffix('')


def decode_mask(data: bytes, name: str, image_size: tuple[int, int]) -> Mask:
    """The pixels of a mask: any value but 0, of any bit depth and in any channel, is anomalous.

    In a JPEG, whose compression leaves a rim of small values around what was marked, it is any
    value above half of the largest.

    Args:
        data: The bytes of the file.
        name: Of the file, for messages.
        image_size: Height and width of its image, in pixels. The mask may be smaller or larger
            than that, but needs the same proportions.

    Raises:
        ImageError: It cannot be decoded, or does not fit its image.
    """
    pixels = decode_pixels(data, name)
    if pixels.ndim == 3:
        pixels = pixels.max(axis=2)
    rows, columns = pixels.shape
    height, width = image_size
    # One pixel of the mask is left to rounding.
    if abs(rows * width - columns * height) > max(width, height):
        msg = f'{name}: {columns}x{rows} pixels do not fit an image of {width}x{height}'
        raise ImageError(msg)
    mask: Mask = pixels > (pixels.max() / 2 if is_jpeg(data) else 0)
    return mask
