# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The one reader of labelled images: for training, for retraining and for their tests."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
import hashlib
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adet_core.cores import usable_cores
from adet_core.errors import ImageError
from adet_core.geometry import Geometry, Mask, Placement
from adet_core.image import decode_image, Image, ImageArray, read_file
from adet_core.io.feedback import is_feedback
from adet_core.io.folders import ignore_file, LABELS, OnFile
from adet_core.io.masks import Masks

# Images that are read while those before them are waited for.
_AHEAD = 8


@dataclass(frozen=True)
class LabelledImage:
    """One image on the canvas of a geometry, or one input that was cut from it.

    Attributes:
        path: Its file.
        pixels: uint8 ``(H, W, 3)``, RGB, of the canvas' size.
        label: ``normal``, ``anomaly``, or empty for one that is only learned from.
        mask: bool, True where it is anomalous, of the canvas' size; None if nobody marked it.
        sha256: Of the file.
        is_marked: An operator marked it while it was inspected.
        placement: Where the image lies on the canvas; None: it fills the canvas.
    """

    path: Path
    pixels: ImageArray
    label: str = ''
    mask: Mask | None = None
    sha256: str = ''
    is_marked: bool = False
    placement: Placement | None = None

    @property
    def is_anomalous(self) -> bool:
        """Whether it is labelled as an anomaly."""
        return self.label == LABELS[1]

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas that the image fills."""
        return (
            (slice(None), slice(None)) if self.placement is None else self.placement.placed.slices
        )


class _Placed(NamedTuple):
    """An image on the canvas of a geometry, and the height and width of its file's pixels."""

    path: Path
    sha256: str
    size: tuple[int, int]
    pixels: ImageArray
    placement: Placement


class LabelledReader:
    """Reads images one by one, and keeps the tally over several folders.

    Attributes:
        masks: Finds their masks, and knows those that are of no use.
        unreadable: One line for each image that was skipped.
    """

    def __init__(self, geometry: Geometry, *, on_file: OnFile = ignore_file) -> None:
        """Read nothing yet.

        Args:
            geometry: Brings images and masks to its canvas.
            on_file: Told of each image and mask that was read.
        """
        self.masks = Masks(on_file)
        self.unreadable: list[str] = []
        self._geometry, self._on_file = geometry, on_file

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
        return self._take(self._look(path, known), label)

    def read_all(self, labels: Mapping[Path, str]) -> Iterator[LabelledImage | None]:
        """Read images with several threads; the results and all tallies are in order.

        Few images are read ahead, so memory does not grow with their number.

        Args:
            labels: Label by path, as of `read`.
        """
        with ThreadPoolExecutor(usable_cores(), thread_name_prefix='read') as pool:
            ahead: deque[tuple[str, Future[_Placed | ImageError | None]]] = deque()
            waiting = iter(labels.items())
            try:
                while True:
                    for path, label in islice(waiting, _AHEAD - len(ahead)):
                        ahead.append((label, pool.submit(self._look, path)))
                    if not ahead:
                        return
                    label, look = ahead.popleft()
                    yield self._take(look.result(), label)
            finally:
                for _, look in ahead:
                    look.cancel()

    def _look(self, path: Path, known: Container[str] = ()) -> _Placed | ImageError | None:
        """Read and place an image; several threads may, for nothing of the reader changes."""
        try:
            data = read_file(path)
            sha256 = hashlib.sha256(data).hexdigest()
            if sha256 in known:
                return None
            image = _with_known_range(decode_image(data, str(path)), path)
            return _Placed(path, sha256, image.size, *self._place(image, path))
        except ImageError as error:
            return error

    def _take(self, look: _Placed | ImageError | None, label: str) -> LabelledImage | None:
        """Keep the tally of an image, and read its mask."""
        if isinstance(look, ImageError):
            self.unreadable.append(str(look))
            return None
        if look is None:
            return None
        self._on_file(look.path, look.sha256)
        mask: Mask | None = None
        if label == LABELS[0]:
            mask = np.zeros(self._geometry.size, np.bool_)
        elif label == LABELS[1]:
            found = self.masks.read_whole(look.path, look.size)
            mask = None if found is None else self._geometry.place_mask(found, look.placement)
        path, sha256 = look.path, look.sha256
        marked = is_feedback(path)
        return LabelledImage(path, look.pixels, label, mask, sha256, marked, look.placement)

    def _place(self, image: Image, path: Path) -> tuple[ImageArray, Placement]:
        try:
            return self._geometry.place(image)
        except ImageError as error:
            msg = f'{path}: {error}'
            raise ImageError(msg) from None


def _with_known_range(image: Image, path: Path) -> Image:
    """Refuse grey levels that would all become white; on a robot, ``float_range`` says more."""
    if image.encoding == '32FC1' and (peak := np.nanmax(image.pixels, initial=0)) > 1:
        msg = f'{path}: has float pixels up to {peak:g}, expected 0 to 1; save it with 16 bits'
        raise ImageError(msg)
    return image
