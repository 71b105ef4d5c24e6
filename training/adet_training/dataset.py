# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Images of one category, read once and prepared exactly as the detector will prepare them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import hashlib
import os
from pathlib import Path

import numpy as np

from adet_core.errors import DatasetError, ImageError
from adet_core.folder import check_name
from adet_core.image import ImageArray, preprocess, read_image
from adet_core.io.masks import find_mask, Mask, read_mask
from adet_core.io.sources import label_of, list_images
from adet_core.progress import ProgressCallback, silent

# A spread needs two images.
_MINIMUM = 2


@dataclass(frozen=True)
class LabelledImage:
    """One prepared image.

    Attributes:
        path: Its file.
        image: uint8 ``(H, W, 3)``, RGB, of the graph's size.
        is_anomalous: Its label.
        mask: Of the graph's size; None if nobody marked it.
        sha256: Of the file.
    """

    path: Path
    image: ImageArray
    is_anomalous: bool = False
    mask: Mask | None = None
    sha256: str = ''


@dataclass(frozen=True)
class Category:
    """All images of one category.

    Attributes:
        train: Normal images.
        test: Labelled images; may be empty.
        unreadable: One line for each image that was skipped.
        warnings: What makes the test doubtful, one line each.
        fingerprint: sha256 over the names and contents of all images and masks.
    """

    train: list[LabelledImage]
    test: list[LabelledImage]
    unreadable: list[str]
    warnings: list[str]
    fingerprint: str

    @property
    def is_labelled(self) -> bool:
        """Whether the test data can tell good from bad."""
        return len({labelled.is_anomalous for labelled in self.test}) == 2


def load_category(
    data_root: Path, category: str, size: int, *, progress: ProgressCallback = silent
) -> Category:
    """Read ``data_root/train/<category>`` and ``data_root/test/<category>``.

    Args:
        data_root: Folder with ``train`` and ``test``.
        category: Name of the folder inside both.
        size: Edge of the square the images are brought to, in pixels.
        progress: Told how many images are read.

    Raises:
        DatasetError: There are fewer than two readable training images, a test image has no
            label, or a mask cannot be read.
    """
    try:
        check_name(category)
    except ValueError:
        msg = f'category {category!r} is not the name of a folder under train and test'
        raise DatasetError(msg) from None
    folder = data_root / 'train' / category
    if not folder.is_dir():
        known = sorted(p.name for p in folder.parent.glob('*') if p.is_dir())
        has = f'; it has {", ".join(known)}' if known else ''
        msg = f'{folder}: no such folder; put images of good parts there{has}'
        raise DatasetError(msg)
    test_folder = data_root / 'test' / category
    train_paths = list_images(folder)
    test_paths = list_images(test_folder) if test_folder.is_dir() else []
    reader = _Reader(data_root, size, progress, len(train_paths) + len(test_paths))
    train = reader.read(train_paths)
    test = reader.read(test_paths, test_folder)
    if len(train) < _MINIMUM:
        msg = f'{folder}: {len(train)} readable images, at least {_MINIMUM} are needed'
        raise DatasetError(f'{msg}; {reader.unreadable[0]}' if reader.unreadable else msg)
    warnings = [*_all_alike(train), *_duplicates(train, test)]
    return Category(train, test, reader.unreadable, warnings, reader.digest.hexdigest())


def hold_out(
    samples: Sequence[LabelledImage], share: float, seed: int
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Split samples at random into those to fit, at least two, and those kept back, at least one.

    Returns:
        The samples to fit, and those kept back.

    Raises:
        DatasetError: There are fewer than three.
    """
    most = len(samples) - _MINIMUM
    if most < 1:
        msg = (
            f'{samples[0].path.parent}: {len(samples)} readable images, at least {_MINIMUM + 1} '
            'are needed; without labelled test images one is kept back to find the threshold'
        )
        raise DatasetError(msg)
    count = min(max(round(len(samples) * share), 1), most)
    kept = set(np.random.default_rng(seed).permutation(len(samples))[:count].tolist())
    fit = [labelled for index, labelled in enumerate(samples) if index not in kept]
    return fit, [samples[index] for index in sorted(kept)]


def _all_alike(train: Sequence[LabelledImage]) -> list[str]:
    """A warning if there is only one image, however often."""
    if len({_hash(labelled.image) for labelled in train}) > 1:
        return []
    return [
        f'all {len(train)} training images are the same ({train[0].path}): whatever differs '
        'from it will be anomalous; take images of different good parts'
    ]


def _duplicates(train: Sequence[LabelledImage], test: Sequence[LabelledImage]) -> list[str]:
    """A warning if test images are among those that were learned from."""
    learned = {_hash(labelled.image): labelled.path for labelled in train}
    seen = [(s.path, learned[key]) for s in test if (key := _hash(s.image)) in learned]
    if not seen:
        return []
    first, same = seen[0]
    return [
        f'{len(seen)} test images are also training images ({first} is {same}); '
        'metrics and threshold flatter the model: move them out of one of the folders'
    ]


def _hash(image: ImageArray) -> bytes:
    return hashlib.sha256(image.tobytes()).digest()


class _Reader:
    """Reads images, keeping the tally over several folders."""

    def __init__(self, root: Path, size: int, progress: ProgressCallback, total: int) -> None:
        self.unreadable: list[str] = []
        self.digest = hashlib.sha256()
        self._root, self._size = root, (size, size)
        self._progress, self._done, self._total = progress, 0, total

    def read(self, paths: Sequence[Path], labels: Path | None = None) -> list[LabelledImage]:
        """Read images; with ``labels``, the folder whose subfolders name the classes."""
        samples = []
        for path in paths:
            try:
                samples.append(self._sample(path, labels))
            except ImageError as error:
                self.unreadable.append(str(error))
            self._done += 1
            self._progress('reading images', self._done, self._total)
        return samples

    def _sample(self, path: Path, labels: Path | None) -> LabelledImage:
        image = preprocess(read_image(path), self._size)
        sha256 = self._add_to_fingerprint(path)
        if labels is None:
            return LabelledImage(path, image, sha256=sha256)
        label = label_of(path, labels)
        if not label:
            msg = f'{path}: has no label; test images belong in normal/ or anomaly/'
            raise DatasetError(msg)
        if label == 'normal':
            return LabelledImage(path, image, mask=np.zeros(self._size, np.bool_))
        return LabelledImage(path, image, is_anomalous=True, mask=self._mask(path))

    def _mask(self, path: Path) -> Mask | None:
        mask_path = find_mask(path)
        if mask_path is None:
            return None
        self._add_to_fingerprint(mask_path)
        return read_mask(mask_path, self._size)

    def _add_to_fingerprint(self, path: Path) -> str:
        # A name is bytes, whatever the encoding it was made in.
        self.digest.update(os.fsencode(path.relative_to(self._root)))
        content = hashlib.sha256(path.read_bytes())
        self.digest.update(content.digest())
        return content.hexdigest()
