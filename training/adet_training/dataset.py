# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of one category, read once and prepared exactly as the detector will prepare them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import hashlib
import os
from pathlib import Path

import numpy as np

from adet_core.errors import DatasetError, PictureError
from adet_core.masks import find_mask, Mask, read_mask
from adet_core.pictures import Image, prepare, read_picture
from adet_core.progress import Report, silent
from adet_core.sources import label_of, list_pictures

# A spread needs two pictures.
_MINIMUM = 2


@dataclass(frozen=True)
class Sample:
    """One prepared picture.

    Attributes:
        path: Its file.
        image: uint8 ``(H, W, 3)``, RGB, of the graph's size.
        is_anomalous: Its label.
        mask: Of the graph's size; None if nobody marked it.
        sha256: Of the file.
    """

    path: Path
    image: Image
    is_anomalous: bool = False
    mask: Mask | None = None
    sha256: str = ''


@dataclass(frozen=True)
class Category:
    """All pictures of one category.

    Attributes:
        train: Good pictures.
        test: Labelled pictures; may be empty.
        unreadable: One line for each picture that was skipped.
        warnings: What makes the test doubtful, one line each.
        fingerprint: sha256 over the names and contents of all pictures and masks.
    """

    train: list[Sample]
    test: list[Sample]
    unreadable: list[str]
    warnings: list[str]
    fingerprint: str

    @property
    def is_labelled(self) -> bool:
        """Whether the test data can tell good from bad."""
        return len({sample.is_anomalous for sample in self.test}) == 2


def load_category(
    data_root: Path, category: str, size: int, *, report: Report = silent
) -> Category:
    """Read ``data_root/train/<category>`` and ``data_root/test/<category>``.

    Args:
        data_root: Folder with ``train`` and ``test``.
        category: Name of the folder inside both.
        size: Edge of the square the pictures are brought to, in pixels.
        report: Told how many pictures are read.

    Raises:
        DatasetError: There are fewer than two readable training pictures, a test picture has no
            label, or a mask cannot be read.
    """
    if category in {'', '.', '..'} or Path(category).name != category:
        msg = f'category {category!r} is not the name of a folder under train and test'
        raise DatasetError(msg)
    folder = data_root / 'train' / category
    if not folder.is_dir():
        known = sorted(p.name for p in folder.parent.glob('*') if p.is_dir())
        has = f'; it has {", ".join(known)}' if known else ''
        msg = f'{folder}: no such folder; put pictures of good parts there{has}'
        raise DatasetError(msg)
    test_folder = data_root / 'test' / category
    train_paths = list_pictures(folder)
    test_paths = list_pictures(test_folder) if test_folder.is_dir() else []
    reader = _Reader(data_root, size, report, len(train_paths) + len(test_paths))
    train = reader.read(train_paths)
    test = reader.read(test_paths, test_folder)
    if len(train) < _MINIMUM:
        msg = f'{folder}: {len(train)} readable pictures, at least {_MINIMUM} are needed'
        raise DatasetError(f'{msg}; {reader.unreadable[0]}' if reader.unreadable else msg)
    warnings = [*_all_alike(train), *_duplicates(train, test)]
    return Category(train, test, reader.unreadable, warnings, reader.digest.hexdigest())


def hold_out(
    samples: Sequence[Sample], share: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Split samples at random into those to fit, at least two, and those kept back, at least one.

    Returns:
        The samples to fit, and those kept back.

    Raises:
        DatasetError: There are fewer than three.
    """
    most = len(samples) - _MINIMUM
    if most < 1:
        msg = (
            f'{samples[0].path.parent}: {len(samples)} readable pictures, at least {_MINIMUM + 1} '
            'are needed; without labelled test pictures one is kept back to find the threshold'
        )
        raise DatasetError(msg)
    count = min(max(round(len(samples) * share), 1), most)
    kept = set(np.random.default_rng(seed).permutation(len(samples))[:count].tolist())
    fit = [sample for index, sample in enumerate(samples) if index not in kept]
    return fit, [samples[index] for index in sorted(kept)]


def _all_alike(train: Sequence[Sample]) -> list[str]:
    """A warning if there is only one picture, however often."""
    if len({_hash(sample.image) for sample in train}) > 1:
        return []
    return [
        f'all {len(train)} training pictures are the same ({train[0].path}): whatever differs '
        'from it will be anomalous; take pictures of different good parts'
    ]


def _duplicates(train: Sequence[Sample], test: Sequence[Sample]) -> list[str]:
    """A warning if test pictures are among those that were learned from."""
    learned = {_hash(sample.image): sample.path for sample in train}
    seen = [(s.path, learned[key]) for s in test if (key := _hash(s.image)) in learned]
    if not seen:
        return []
    first, same = seen[0]
    return [
        f'{len(seen)} test pictures are also training pictures ({first} is {same}); '
        'metrics and threshold flatter the model: move them out of one of the folders'
    ]


def _hash(image: Image) -> bytes:
    return hashlib.sha256(image.tobytes()).digest()


class _Reader:
    """Reads pictures, keeping the tally over several folders."""

    def __init__(self, root: Path, size: int, report: Report, total: int) -> None:
        self.unreadable: list[str] = []
        self.digest = hashlib.sha256()
        self._root, self._size = root, (size, size)
        self._report, self._done, self._total = report, 0, total

    def read(self, paths: Sequence[Path], labels: Path | None = None) -> list[Sample]:
        """Read pictures; with ``labels``, the folder whose subfolders name the classes."""
        samples = []
        for path in paths:
            try:
                samples.append(self._sample(path, labels))
            except PictureError as error:
                self.unreadable.append(str(error))
            self._done += 1
            self._report('reading pictures', self._done, self._total)
        return samples

    def _sample(self, path: Path, labels: Path | None) -> Sample:
        image = prepare(read_picture(path), self._size)
        sha256 = self._add_to_fingerprint(path)
        if labels is None:
            return Sample(path, image, sha256=sha256)
        label = label_of(path, labels)
        if not label:
            msg = f'{path}: has no label; test pictures belong in normal/ or anomaly/'
            raise DatasetError(msg)
        if label == 'normal':
            return Sample(path, image, mask=np.zeros(self._size, np.bool_))
        return Sample(path, image, is_anomalous=True, mask=self._mask(path))

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
