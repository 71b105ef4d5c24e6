# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A whole data set on disk, in the folders that training and evaluation expect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass
import os
from pathlib import Path
import re
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from adet_core.errors import DatasetError

from .camera import ImageArray
from .defects import DEFECTS
from .images import draw_anomalous, draw_normal, Size
from .small_defects import SMALL_DEFECTS

SMALLEST, LARGEST = 32, 4096
"""Limits of the edges of an image in pixels."""
_MOST_PIXELS = 1 << 23
SMALLEST_DEFECT = 3
"""Least extent of a small defect in pixels."""

_TRAIN, _TEST_NORMAL, _TEST_ANOMALY = range(3)
_CATEGORY = re.compile(r'[A-Za-z0-9_-][A-Za-z0-9_.-]*')
# file names end at 255 bytes in most file systems; a category also becomes part of other names
_LONGEST_CATEGORY = 100


@dataclass(frozen=True)
class DatasetFolders:
    """Where a data set was written.

    Attributes:
        train: Normal images to learn from.
        test_normal: Normal images to test with.
        test_anomaly: Images with a defect; its kind is the first part of the name.
        masks: For each of these a single-channel image, 255 where the defect is, else 0.
    """

    train: Path
    test_normal: Path
    test_anomaly: Path
    masks: Path


def write_dataset(  # noqa: PLR0913 - each is one option of the command
    out: Path,
    *,
    category: str,
    train: int,
    test_normal: int,
    test_anomaly: int,
    size: int | tuple[int, int],
    seed: int,
    defect_size: tuple[int, int] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> DatasetFolders:
    """Draw a labelled data set; either all of it appears, or nothing does.

    An image depends on the seed and on its own number only: asking for more images adds some
    and leaves the others as they were. Another size shows the same parts. Pixels are the same on
    every run with the same versions of numpy and OpenCV.

    Args:
        out: Gets ``train/<category>`` and ``test/<category>/{normal,anomaly,masks}``.
        category: Name of the folders.
        train: Number of normal images to learn from.
        test_normal: Number of normal images to test with.
        test_anomaly: Number of images with a defect; the kinds take turns.
        size: Width and height of the images in pixels, or the edge of square ones.
        seed: Which parts are drawn, 0 or more.
        defect_size: Least and largest extent of small defects in pixels: the longer side of the
            box around what a mask marks. None: defects as large as they come.
        on_progress: Called with the number of images drawn and of all images.

    Raises:
        DatasetError: An argument is impossible, the category has images already, or the
            folders cannot be written.
    """
    counts = {'train': train, 'test_normal': test_normal, 'test_anomaly': test_anomaly}
    shape = Size(size, size) if isinstance(size, int) else Size(*size)
    _check(category, counts, shape, seed)
    _check_defect_size(defect_size, shape)
    homes = (out / 'train' / category, out / 'test' / category)
    order = _Order(train, test_normal, test_anomaly, shape, seed, defect_size, on_progress)
    try:
        for home in homes:
            _refuse_if_used(home)
        with _new_folders(out, out / 'train', out / 'test'):
            _write_and_publish(order, homes)
    except OSError as error:
        msg = f'{out}: cannot write the data set: {error.strerror or error}; nothing was kept'
        raise DatasetError(msg) from error
    return DatasetFolders(homes[0], *(homes[1] / name for name in ('normal', 'anomaly', 'masks')))


@dataclass(frozen=True)
class _Order:
    """What is to be drawn; the fields are the arguments of ``write_dataset``."""

    train: int
    test_normal: int
    test_anomaly: int
    size: Size
    seed: int
    defect_size: tuple[int, int] | None
    on_progress: Callable[[int, int], None] | None

    def fill(self, train: Path, test: Path) -> None:
        """Draw everything into two folders that do not exist yet."""
        total = self.train + self.test_normal + self.test_anomaly
        normal, anomaly, masks = (test / name for name in ('normal', 'anomaly', 'masks'))
        for folder in (train, normal, anomaly, masks):
            folder.mkdir(parents=True)
        for done, _ in enumerate(self._draw(train, normal, anomaly, masks), start=1):
            if self.on_progress:
                self.on_progress(done, total)

    def _draw(self, train: Path, normal: Path, anomaly: Path, masks: Path) -> Iterator[None]:
        for split, folder, count in (
            (_TRAIN, train, self.train),
            (_TEST_NORMAL, normal, self.test_normal),
        ):
            for index in range(count):
                key = (self.seed, split, index)
                image = draw_normal(key, self.size, sharp=self.defect_size is not None)
                _write_png(folder / f'{index:04}.png', image)
                yield
        kinds = DEFECTS if self.defect_size is None else SMALL_DEFECTS
        for index in range(self.test_anomaly):
            number, kind = divmod(index, len(kinds))
            name = f'{kinds[kind]}_{number:04}.png'
            key = (self.seed, _TEST_ANOMALY, index)
            bad = draw_anomalous(key, self.size, kinds[kind], extent=self.defect_size)
            _write_png(masks / name, bad.mask)
            _write_png(anomaly / name, bad.image)
            yield


def _check(category: str, counts: dict[str, int], size: Size, seed: int) -> None:
    if not _CATEGORY.fullmatch(category) or len(category) > _LONGEST_CATEGORY:
        msg = (
            f'category {category!r} cannot be a folder name; use up to {_LONGEST_CATEGORY} '
            'letters, digits, "_", "-" or ".", not starting with a dot'
        )
        raise DatasetError(msg)
    for name, count in counts.items():
        if count < 0:
            msg = f'{name} is {count}; a number of images cannot be negative'
            raise DatasetError(msg)
    if min(size) < SMALLEST or max(size) > LARGEST:
        msg = f'size is {size}; edges can be {SMALLEST} to {LARGEST} pixels long'
        raise DatasetError(msg)
    if size.width * size.height > _MOST_PIXELS:
        msg = f'size is {size}; images can have up to {_MOST_PIXELS} pixels'
        raise DatasetError(msg)
    if seed < 0:
        msg = f'seed is {seed}; use 0 or a positive number'
        raise DatasetError(msg)


def _check_defect_size(extent: tuple[int, int] | None, size: Size) -> None:
    if extent is None:
        return
    most = min(size) // 4
    if not SMALLEST_DEFECT <= extent[0] <= extent[1] <= most:
        msg = (
            f'defect size is {extent[0]}..{extent[1]}; in images of {size} it can be '
            f'{SMALLEST_DEFECT}..{most} pixels'
        )
        raise DatasetError(msg)


def _refuse_if_used(home: Path) -> None:
    if home.is_dir() and not any(home.iterdir()):
        return
    if os.path.lexists(home):
        msg = f'{home}: exists and is not empty; delete it or choose another category'
        raise DatasetError(msg)


@contextmanager
def _new_folders(*folders: Path) -> Iterator[None]:
    """Create folders; upon failure remove those that did not exist before."""
    created: list[Path] = []
    try:
        for folder in folders:
            missing = [f for f in (folder, *folder.parents) if not f.exists()]
            for parent in reversed(missing):
                parent.mkdir(exist_ok=True)
                created.append(parent)
        yield
    except BaseException:
        for folder in reversed(created):
            # somebody else may have put something there in the meantime
            if not any(folder.iterdir()):
                folder.rmdir()
        raise


def _write_and_publish(order: _Order, homes: tuple[Path, Path]) -> None:
    """Draw beside the folders, then rename both into place."""
    with ExitStack() as stack:
        # beside each, because a rename does not cross file systems
        drafts = [
            Path(stack.enter_context(TemporaryDirectory(prefix='.adet-synth-', dir=home.parent)))
            / home.name
            for home in homes
        ]
        order.fill(*drafts)
        published: list[tuple[Path, Path]] = []
        try:
            for draft, home in zip(drafts, homes, strict=True):
                # replaces an empty folder, and fails if images have appeared there meanwhile
                draft.rename(home)
                published.append((draft, home))
        except BaseException:
            for draft, home in published:
                home.rename(draft)
            raise


def _write_png(path: Path, image: ImageArray) -> None:
    """Write an image, RGB or single channel, and have it on the disk before returning."""
    pixels = image[..., ::-1] if image.ndim == 3 else image
    # light compression: noise does not shrink further, and this is three times as fast
    done, data = cv2.imencode(
        '.png', np.ascontiguousarray(pixels), [cv2.IMWRITE_PNG_COMPRESSION, 1]
    )
    if not done:
        msg = f'{path}: OpenCV could not encode the image'
        raise DatasetError(msg)
    with path.open('wb') as file:
        file.write(data.tobytes())
        file.flush()
        os.fsync(file.fileno())
