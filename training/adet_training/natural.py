# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Photographs of anything, from a local folder: what a network is to keep apart from the parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torchvision.transforms.v2 import RandomGrayscale

from adet_core.errors import ConfigError, ImageError
from adet_core.image import preprocess, read_image
from adet_core.io.folders import list_images
from adet_training.fit import to_tensor

# The EfficientAD paper's share of images that lose their colour.
_GREY = 0.3


class NaturalImages:
    """The images of a folder, as the EfficientAD paper prepares ImageNet's."""

    def __init__(self, folder: Path, size: int) -> None:
        """List the folder.

        Args:
            folder: Holds images, also in folders inside.
            size: Edge of the squares, in pixels.

        Raises:
            ConfigError: There is no such folder, or no image that can be read in it.
        """
        if not folder.is_dir():
            msg = f'{folder}: no such folder; natural_images takes a folder of photographs'
            raise ConfigError(msg)
        self._paths = list_images(folder)
        self._size = size
        self._folder = folder
        self._to_grey = RandomGrayscale(_GREY)

    def endless(self) -> Iterator[torch.Tensor]:
        """Images in random order for ever, float32 ``(3, size, size)`` on the 0..1 scale.

        An image that cannot be read is left out.

        Raises:
            ConfigError: None can be read.
        """
        while True:
            found = 0
            for index in torch.randperm(len(self._paths)).tolist():
                try:
                    image = read_image(self._paths[index])
                except ImageError:
                    continue
                found += 1
                # Twice the size, of which the middle is taken: details as large as the paper's.
                large = preprocess(image, (2 * self._size, 2 * self._size))
                first = self._size // 2
                middle = large[first : first + self._size, first : first + self._size]
                yield self._to_grey(to_tensor(middle))
            if not found:
                msg = f'{self._folder}: holds no image that can be read'
                raise ConfigError(msg)
