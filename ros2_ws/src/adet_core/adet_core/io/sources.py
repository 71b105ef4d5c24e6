# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Where images come from: what all sources have, and folders, files and videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from adet_core.errors import DatasetError, ImageError
from adet_core.image import check_pixels, Image, read_image
from adet_core.io.folders import label_of, list_images


@dataclass(frozen=True)
class Frame:
    """One image of a source, or the news that it could not be read.

    Attributes:
        image: None when ``error`` says why.
        source: File path, ``video.mp4#12`` or ``camera:0``.
        label: ``normal``, ``anomaly`` or empty for unknown.
        error: Empty, or one line that says why there is no image.
        stamp_ns: When it was recorded, in nanoseconds; None for images that do not say.
        frame_id: Frame of the camera; empty for images that do not say.
    """

    image: Image | None
    source: str
    label: str = ''
    error: str = ''
    stamp_ns: int | None = None
    frame_id: str = ''


# How far the number of frames may be off in the header of a whole video.
_ESTIMATE = 0.02


class FrameSource(Protocol):
    """Iterated once or more; each pass starts at the beginning.

    Attributes:
        is_live: Frames come by themselves and are lost when nobody takes them.
        total: Number of frames of one pass, as far as it can be told; None if only the end will.
        duplicates: Frames of the present pass that were left out, as their stamp had come before.
        non_monotonic: Frames of the present pass whose stamp is earlier than the one before it.
        lost: Images that the last pass could not give, not even as a frame with an error; None if
            nobody knows how many.
        warnings: What is wrong with the source, a line each; complete after a pass.
    """

    is_live: bool
    total: int | None
    duplicates: int
    non_monotonic: int

    @property
    def lost(self) -> int | None:
        """See above."""

    @property
    def warnings(self) -> Sequence[str]:
        """See above."""

    def __iter__(self) -> Iterator[Frame]:
        """Read the frames one after the other."""


class PlainSource:
    """A source whose frames have no stamps of their own, and that has nothing to warn of."""

    is_live = False
    duplicates = non_monotonic = 0
    lost: int | None = 0
    warnings: Sequence[str] = ()


class FolderSource(PlainSource):
    """The images below a folder, in sorted order; ``normal`` and ``anomaly`` are labels."""

    def __init__(self, folder: Path, images: list[Path] | None = None) -> None:
        """List the images.

        Raises:
            DatasetError: There are none.
        """
        self._folder = folder
        self._images = list_images(folder) if images is None else images
        self.total: int | None = len(self._images)

    def __iter__(self) -> Iterator[Frame]:
        """Read the images; an unreadable one is a frame with an error, and the rest goes on."""
        for path in self._images:
            label = label_of(path, self._folder)
            try:
                yield Frame(read_image(path), str(path), label)
            except ImageError as error:
                yield Frame(None, str(path), label, str(error))


class VideoSource(PlainSource):
    """The frames of a video file."""

    def __init__(self, path: Path) -> None:
        """Check that the file can be opened.

        Raises:
            DatasetError: It is no video that OpenCV reads.
        """
        self._path = path
        with self._opened() as capture:
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.total: int | None = count if count > 0 else None

    def __iter__(self) -> Iterator[Frame]:
        """Decode the frames in order."""
        with self._opened() as capture:
            index = 0
            while (pixels := _grab(capture)) is not None:
                yield Frame(Image(pixels, 'bgr8'), f'{self._path}#{index}')
                index += 1
        total = self.total or 0
        # Some headers give a duration alone, from which OpenCV estimates the number.
        self.lost = total - index if index < total * (1 - _ESTIMATE) - 1 else 0
        if self.lost:
            told = f'{index} of the {total} frames that its header tells of can be decoded'
            self.warnings = [f'{self._path}: cut short or damaged: {told}']

    @contextmanager
    def _opened(self) -> Iterator[cv2.VideoCapture]:
        try:
            file = self._path.open('rb')
        except OSError as error:
            raise DatasetError(f'{self._path}: {error.strerror}') from None
        # By its descriptor: a path need not be text, and may look like a pattern or an address.
        with file:
            capture = cv2.VideoCapture(f'/proc/self/fd/{file.fileno()}')
            try:
                if not capture.isOpened():
                    msg = f'{self._path}: neither an image nor a video that OpenCV can read'
                    raise DatasetError(msg)
                size = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
                width, height = (int(capture.get(one)) for one in size)
                check_pixels(width, height, str(self._path))
                yield capture
            finally:
                capture.release()


def _grab(capture: cv2.VideoCapture) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None:
    grabbed, pixels = capture.read()
    return np.asarray(pixels, np.uint8) if grabbed else None
