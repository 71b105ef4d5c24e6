# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Collects images of good parts of a new category from what a detector is shown."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
import threading
from typing import Any

from adet_core.errors import AdetError, ConfigError
from adet_core.folder import check_name, open_folder
from adet_core.image import Image, usual_size
from adet_core.io.feedback import encode_png
from adet_core.io.folders import walk_images
from adet_core.thresholds import conformal_rank

_MOST_EVERY = 1_000_000
# Of the images, how many are kept back for the threshold: the default of a retraining.
_HELD_OUT = 0.2
_RATE = 0.01


@dataclass
class Collection:
    """What is collected from one detector.

    Attributes:
        category: Of the images.
        every: Keep one of so many images; 0: only those that are asked for.
        wanted: Images asked for that have not come yet.
        seen: Images since the beginning.
        count: Images in the folder.
        size: Width and height of its images, as far as known; zeros before the first.
        last: File name of the image that was kept last; empty before the first.
        problem: Why the last one could not be kept; empty if it could.
    """

    category: str
    every: int = 0
    wanted: int = 0
    seen: int = 0
    count: int = 0
    size: tuple[int, int] = (0, 0)
    last: str = ''
    problem: str = ''

    def takes(self) -> bool:
        """Whether the next image is kept; counts it."""
        self.seen += 1
        if self.wanted:
            self.wanted -= 1
            return True
        return bool(self.every) and self.seen % self.every == 0


class Collector:
    """Stores images in ``<data_root>/train/<category>``; for any threads."""

    def __init__(self, data_root: Path) -> None:
        """Touch no folder yet.

        Args:
            data_root: Folder of ``train``, where a ``retrain_server`` learns from.
        """
        self._root = data_root
        self._collections: dict[str, Collection] = {}
        self._lock = threading.Lock()

    def begin(self, key: str, category: str, every: int = 0) -> dict[str, Any]:
        """Collect from a detector; images that the folder holds already count.

        Args:
            key: Of the detector.
            category: Name of the folder.
            every: See `Collection`.

        Raises:
            ConfigError: The category cannot be a folder's name, or ``every`` is out of range.
            ImageError: None of the images that the folder holds can be read.
        """
        try:
            check_name(category)
        except ValueError as error:
            raise ConfigError(f'category {error}') from None
        if not 0 <= every <= _MOST_EVERY:
            msg = f'every is {every}, expected 0 to {_MOST_EVERY}'
            raise ConfigError(msg)
        folder = self._folder(category)
        images = walk_images(folder) if folder.is_dir() else []
        height, width = usual_size(images) if images else (0, 0)
        with self._lock:
            before = self._collections.get(key)
            made = Collection(category, every, count=len(images), size=(width, height))
            if before is not None and before.category == category:
                made.last = before.last
            self._collections[key] = made
            return _told(made)

    def ask(self, key: str) -> dict[str, Any]:
        """Keep the next image.

        Raises:
            ConfigError: Nothing is collected from this detector.
        """
        with self._lock:
            found = self._find(key)
            found.wanted += 1
            return _told(found)

    def end(self, key: str) -> dict[str, Any]:
        """Collect no more from a detector.

        Raises:
            ConfigError: Nothing is collected from it.
        """
        with self._lock:
            found = self._find(key)
            del self._collections[key]
            return _told(found)

    def remove_last(self, key: str) -> dict[str, Any]:
        """Remove the image that was kept last, once.

        Raises:
            ConfigError: None was kept since the beginning, or it was removed.
        """
        with self._lock:
            found = self._find(key)
            if not found.last:
                msg = 'no image was kept that could be removed'
                raise ConfigError(msg)
            with open_folder(self._folder(found.category)) as folder:
                folder.remove(found.last)
            found.last, found.count = '', found.count - 1
            return _told(found)

    def offer(self, key: str, stamp: int, image: Image) -> dict[str, Any] | None:
        """An image that the detector is shown.

        Args:
            key: Of the detector.
            stamp: Of the image, in nanoseconds.
            image: As the camera gave it.

        Returns:
            The collection, if the image was to be kept.
        """
        with self._lock:
            found = self._collections.get(key)
            if found is None or not found.takes():
                return None
            name = f'good_{stamp:020d}.png'
            try:
                data = encode_png(image)
                with open_folder(self._folder(found.category), make=True) as folder:
                    folder.write_atomic(name, data)
            except (AdetError, OSError) as error:
                found.problem = str(error)
            else:
                found.last, found.problem = name, ''
                found.count += 1
                found.size = image.size[1], image.size[0]
            return _told(found)

    def _find(self, key: str) -> Collection:
        if key not in self._collections:
            msg = f'nothing is collected from {key}; begin with a category'
            raise ConfigError(msg)
        return self._collections[key]

    def _folder(self, category: str) -> Path:
        return self._root / 'train' / category


def _told(collection: Collection) -> dict[str, Any]:
    """For the page, with the share of good parts that a threshold would reject at most."""
    kept_back = max(1, int(collection.count * _HELD_OUT))
    return {**asdict(collection), 'false_rejects': conformal_rank(kept_back, _RATE)[1]}
