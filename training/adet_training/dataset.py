# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Images of one category, read once and prepared exactly as the detector will prepare them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from adet_core.errors import DatasetError
from adet_core.geometry import Geometry
from adet_core.image import ImageArray
from adet_core.io.labelled import LabelledImage, LabelledReader
from adet_core.progress import ProgressCallback, silent
from adet_training import processes
from adet_training.category import list_category
from adet_training.scratch import Scratch

# A spread needs two images.
_MINIMUM = 2
THUMBNAIL = (64, 64)


@dataclass(frozen=True)
class Category:
    """All images of one category.

    Attributes:
        train: Normal images.
        test: Labelled images; may be empty.
        learned_tests: How many of these are training images, too.
        unreadable: One line for each image that was skipped.
        unmatched_masks: Masks without an image; the warnings name them.
        unfit_masks: Masks that cannot be read or do not fit their images; the warnings name them.
        warnings: What makes the test doubtful, one line each: masks that are of no use among it.
        fingerprint: sha256 over the names and contents of all images and masks.
        blocks: Number of the block of each file to learn from; none where one process reads all.
    """

    train: list[LabelledImage]
    test: list[LabelledImage]
    learned_tests: int
    unreadable: list[str]
    unmatched_masks: int
    unfit_masks: int
    warnings: list[str]
    fingerprint: str
    blocks: Mapping[Path, int] = field(default_factory=dict)

    @property
    def is_labelled(self) -> bool:
        """Whether the test data can tell good from bad."""
        return len({labelled.is_anomalous for labelled in self.test}) == 2


def load_category(
    data_root: Path,
    category: str,
    geometry: Geometry,
    *,
    block: int = 0,
    progress: ProgressCallback = silent,
    scratch: Scratch | None = None,
) -> Category:
    """Read ``data_root/train/<category>`` and ``data_root/test/<category>``.

    Where several processes train together each reads its blocks of files to learn from, and the
    first one those to test with. Of the others' images it has all but the pixels: a `thumbnail`.

    Args:
        data_root: Folder with ``train`` and ``test``.
        category: Name of the folder inside both.
        geometry: Brings the images to its canvas.
        block: Files to learn from in a block; 0: there are no blocks, and one process.
        progress: Told how many images are read.
        scratch: Keeps them; None keeps all in memory.

    Raises:
        DatasetError: There are fewer than two readable training images, a test image has no
            label, or the disk is full.
    """
    labels = list_category(data_root, category)
    learned = [path for path, label in labels.items() if not label]
    blocks = {path: number // block for number, path in enumerate(learned)} if block else {}
    own = [path for path in labels if processes.is_mine(blocks.get(path, 0))]
    found: dict[Path, _Found] = {}
    files: list[tuple[Path, str]] = []
    reader = LabelledReader(geometry, on_file=lambda *file: files.append(file))
    images = reader.read_all({path: labels[path] for path in own})
    for number, (path, image) in enumerate(zip(own, images, strict=True), start=1):
        reason = '' if image else reader.unreadable[-1]
        content = _hash(image.pixels) if image else b''
        kept = _kept(image, scratch) if image and scratch is not None else image
        found[path] = _Found(kept, reason, tuple(files), content)
        files.clear()
        progress('reading images', number, len(own))
    found = _of_all(found, labels)
    fingerprint = _Fingerprint(data_root)
    for one in found.values():
        for file in one.files:
            fingerprint.add(*file)
    unreadable = [one.unreadable for one in found.values() if one.unreadable]
    train = [one for path, one in found.items() if one.image and not labels[path]]
    test = [one for path, one in found.items() if one.image and labels[path]]
    if len(train) < _MINIMUM:
        folder = data_root / 'train' / category
        msg = f'{folder}: {len(train)} readable images, at least {_MINIMUM} are needed'
        raise DatasetError(f'{msg}; {unreadable[0]}' if unreadable else msg)
    learned_tests, flattering = _duplicates(train, test)
    return Category(
        [one.image for one in train if one.image],
        [one.image for one in test if one.image],
        learned_tests,
        unreadable,
        len(reader.masks.unmatched),
        len(reader.masks.unfit),
        [*reader.masks.warnings, *_all_alike(train), *flattering],
        fingerprint.digest.hexdigest(),
        blocks,
    )


class _Found(NamedTuple):
    """What a file turned out to be: an image or why not, all files read for it, and its hash."""

    image: LabelledImage | None
    unreadable: str
    files: Sequence[tuple[Path, str]]
    hash: bytes


def _of_all(found: dict[Path, _Found], order: Iterable[Path]) -> dict[Path, _Found]:
    """What all processes found, in the order of the files."""
    if processes.count() == 1:
        return found
    told = {
        path: one._replace(image=thumbnail(one.image) if one.image else None)
        for path, one in found.items()
    }
    every = {path: one for part in processes.collect(told) for path, one in part.items()}
    return {path: found.get(path, every[path]) for path in order}


def _kept(image: LabelledImage, scratch: Scratch) -> LabelledImage:
    mask = None if image.mask is None else scratch.keep(image.mask)
    return replace(image, pixels=scratch.keep(image.pixels), mask=mask)


def thumbnail(image: LabelledImage) -> LabelledImage:
    """An image without its mask, and with 64 x 64 grey pixels: enough to see what is alike."""
    grey = cv2.cvtColor(image.pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, THUMBNAIL, interpolation=cv2.INTER_AREA)
    return replace(image, pixels=cv2.cvtColor(small, cv2.COLOR_GRAY2RGB), mask=None)


def _all_alike(train: Sequence[_Found]) -> list[str]:
    """A warning if there is only one image, however often."""
    if len({one.hash for one in train}) > 1:
        return []
    return [
        f'all {len(train)} training images are the same ({_path(train[0])}): whatever differs '
        'from it will be anomalous; take images of different good parts'
    ]


def _duplicates(train: Sequence[_Found], test: Sequence[_Found]) -> tuple[int, list[str]]:
    """How many test images are among those that were learned from, and a warning of them."""
    learned = {one.hash: _path(one) for one in train}
    seen = [(_path(one), learned[one.hash]) for one in test if one.hash in learned]
    if not seen:
        return 0, []
    first, same = seen[0]
    return len(seen), [
        f'{len(seen)} test images are also training images ({first} is {same}); '
        'metrics and threshold flatter the model: move them out of one of the folders'
    ]


def _path(found: _Found) -> Path:
    assert found.image is not None
    return found.image.path


def _hash(image: ImageArray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()


class _Fingerprint:
    """A sha256 over the names below a folder, and the contents, of all files that are read."""

    def __init__(self, root: Path) -> None:
        self.digest = hashlib.sha256()
        self._root = root.absolute()

    def add(self, path: Path, sha256: str) -> None:
        # A name is bytes, whatever the encoding it was made in.
        self.digest.update(os.fsencode(path.absolute().relative_to(self._root)))
        self.digest.update(bytes.fromhex(sha256))
