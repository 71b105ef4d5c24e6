# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Images of anything but the parts: what a network is to keep apart from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
import hashlib
from pathlib import Path

from anomalib.models.image.efficient_ad.lightning_model import IMAGENETTE_DOWNLOAD_INFO
import numpy as np
import torch
from torchvision.transforms.v2 import RandomGrayscale

from adet_core.errors import ConfigError, ImageError
from adet_core.image import preprocess, read_image
from adet_core.io.folders import list_images
from adet_core.progress import ProgressCallback
from adet_training.cache_folder import cache_folder, make_once
from adet_training.download import download_and_unpack, DownloadError
from adet_training.predictions import to_tensor
from adet_training.textures import draw_texture

AUTO, IMAGENETTE, DRAWN, NONE = 'auto', 'imagenette', 'drawn', 'none'

# The EfficientAD paper's share of images that lose their colour.
_GREY = 0.3
# An image that cannot be read is left out, until as many as that could not in a row.
_PATIENCE = 1000


class Natural(ABC):
    """Images without end, float32 ``(3, size, size)`` on the 0..1 scale.

    Attributes:
        identity: The same for the same images.
    """

    identity: str

    @abstractmethod
    def one(self) -> torch.Tensor:
        """One of them, which torch's random numbers choose.

        Raises:
            ConfigError: None can be read.
        """

    @abstractmethod
    def endless(self) -> Iterator[torch.Tensor]:
        """All of them in random order, for ever.

        Raises:
            ConfigError: None can be read.
        """


class DrawnImages(Natural):
    """Drawn textures, see `adet_training.textures`."""

    identity = DRAWN

    def __init__(self, size: int) -> None:
        """Draw squares of so many pixels."""
        self._size = size

    def one(self) -> torch.Tensor:
        """See `Natural`."""
        rng = np.random.default_rng(int(torch.randint(2**31, (1,))))
        return to_tensor(draw_texture(rng, self._size))

    def endless(self) -> Iterator[torch.Tensor]:
        """See `Natural`."""
        while True:
            yield self.one()


class NaturalImages(Natural):
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
        listed = [(str(path.relative_to(folder)), path.stat().st_size) for path in self._paths]
        self.identity = hashlib.sha256(repr(listed).encode()).hexdigest()

    def one(self) -> torch.Tensor:
        """See `Natural`."""
        for _ in range(_PATIENCE):
            found = self._read(int(torch.randint(len(self._paths), (1,))))
            if found is not None:
                return found
        raise self._unreadable()

    def endless(self) -> Iterator[torch.Tensor]:
        """See `Natural`."""
        while True:
            read = map(self._read, torch.randperm(len(self._paths)).tolist())
            found = 0
            for image in read:
                if image is not None:
                    found += 1
                    yield image
            if not found:
                raise self._unreadable()

    def _read(self, index: int) -> torch.Tensor | None:
        try:
            image = read_image(self._paths[index])
        except ImageError:
            return None
        # Twice the size, of which the middle is taken: details as large as the paper's.
        large = preprocess(image, (2 * self._size, 2 * self._size))
        first = self._size // 2
        middle = large[first : first + self._size, first : first + self._size]
        grey: torch.Tensor = self._to_grey(to_tensor(middle))
        return grey

    def _unreadable(self) -> ConfigError:
        return ConfigError(f'{self._folder}: holds no image that can be read')


def find_natural(choice: str, *, progress: ProgressCallback, tell: Callable[[str], object]) -> str:
    """What can be had here of what a user asks for; downloads it where that is needed.

    Args:
        choice: ``auto`` takes Imagenette where it can be had, else drawn textures; ``imagenette``,
            ``drawn``, ``none`` or a folder.
        progress: Told the progress.
        tell: Told what was taken and why, in one line.

    Returns:
        The choice; instead of ``auto`` what was taken.

    Raises:
        DownloadError: Imagenette was asked for and cannot be had.
        ConfigError: The cache cannot be written.
    """
    if choice not in {AUTO, IMAGENETTE}:
        return choice
    if choice == AUTO and not _imagenette().is_dir():
        tell(
            'natural_images=auto: downloads Imagenette, 1.5 GB, once if it can be had; '
            '--set natural_images=drawn takes drawn textures instead'
        )
    try:
        make_once(
            _imagenette(),
            lambda part: download_and_unpack(IMAGENETTE_DOWNLOAD_INFO, part, progress),
            progress,
        )
    except DownloadError as error:
        if choice == IMAGENETTE:
            raise DownloadError(f'natural_images={IMAGENETTE}: {error}') from None
        tell(f'natural_images={DRAWN}: drawn textures, not photographs; {error}')
        return DRAWN
    if choice == AUTO:
        tell(f'natural_images={IMAGENETTE}: the photographs in {_imagenette()}')
    return IMAGENETTE


def open_natural(choice: str, size: int) -> Natural | None:
    """The images of a choice that `find_natural` returned; None for ``none``.

    Raises:
        ConfigError: There is no such folder, or no image in it.
    """
    if choice == NONE:
        return None
    if choice in {AUTO, DRAWN}:
        return DrawnImages(size)
    return NaturalImages(_imagenette() if choice == IMAGENETTE else Path(choice), size)


def _imagenette() -> Path:
    return cache_folder() / 'imagenette2'
