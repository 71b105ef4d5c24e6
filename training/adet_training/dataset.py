# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Images of one category, read once and prepared exactly as the detector will prepare them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import hashlib
import os
from pathlib import Path

from adet_core.errors import DatasetError, did_you_mean
from adet_core.folder import check_name
from adet_core.geometry import Geometry
from adet_core.image import ImageArray
from adet_core.io.folders import label_of, labelled_images, list_images
from adet_core.io.labelled import LabelledImage, LabelledReader
from adet_core.progress import ProgressCallback, silent

# A spread needs two images.
_MINIMUM = 2


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
    """

    train: list[LabelledImage]
    test: list[LabelledImage]
    learned_tests: int
    unreadable: list[str]
    unmatched_masks: int
    unfit_masks: int
    warnings: list[str]
    fingerprint: str

    @property
    def is_labelled(self) -> bool:
        """Whether the test data can tell good from bad."""
        return len({labelled.is_anomalous for labelled in self.test}) == 2


def load_category(
    data_root: Path, category: str, geometry: Geometry, *, progress: ProgressCallback = silent
) -> Category:
    """Read ``data_root/train/<category>`` and ``data_root/test/<category>``.

    Args:
        data_root: Folder with ``train`` and ``test``.
        category: Name of the folder inside both.
        geometry: Brings the images to its canvas.
        progress: Told how many images are read.

    Raises:
        DatasetError: There are fewer than two readable training images, or a test image has no
            label.
    """
    labels = list_category(data_root, category)
    fingerprint = _Fingerprint(data_root)
    reader = LabelledReader(geometry, on_file=fingerprint.add)
    images = []
    for number, (path, label) in enumerate(labels.items(), start=1):
        if image := reader.read(path, label):
            images.append(image)
        progress('reading images', number, len(labels))
    train = [image for image in images if not image.label]
    test = [image for image in images if image.label]
    if len(train) < _MINIMUM:
        folder = data_root / 'train' / category
        msg = f'{folder}: {len(train)} readable images, at least {_MINIMUM} are needed'
        raise DatasetError(f'{msg}; {reader.unreadable[0]}' if reader.unreadable else msg)
    learned_tests, flattering = _duplicates(train, test)
    return Category(
        train,
        test,
        learned_tests,
        reader.unreadable,
        len(reader.masks.unmatched),
        len(reader.masks.unfit),
        [*reader.masks.warnings, *_all_alike(train), *flattering],
        fingerprint.digest.hexdigest(),
    )


def list_category(data_root: Path, category: str) -> dict[Path, str]:
    """The images of a category with their labels, none of which is read.

    Args:
        data_root: Folder with ``train`` and ``test``.
        category: Name of the folder inside both.

    Returns:
        Label by path, first those to learn from, whose label is empty.

    Raises:
        DatasetError: There is no such folder, it holds no images, or a test image has no label.
    """
    try:
        check_name(category)
    except ValueError:
        msg = f'category {category!r} is not the name of a folder under train and test'
        raise DatasetError(msg) from None
    folder = data_root / 'train' / category
    if not folder.is_dir():
        known = sorted(p.name for p in folder.parent.glob('*') if p.is_dir())
        has = f'; it has {", ".join(known)}{did_you_mean(category, known)}' if known else ''
        msg = f'{folder}: no such folder; put images of good parts there{has}'
        raise DatasetError(msg)
    test_folder = data_root / 'test' / category
    # Those to learn from are normal whatever they are called, and nobody needs their masks.
    labels = dict.fromkeys(list_images(folder), '')
    if test_folder.is_dir():
        labels.update((path, label_of(path, test_folder)) for path in labelled_images(test_folder))
    return labels


def _all_alike(train: Sequence[LabelledImage]) -> list[str]:
    """A warning if there is only one image, however often."""
    if len({_hash(labelled.pixels) for labelled in train}) > 1:
        return []
    return [
        f'all {len(train)} training images are the same ({train[0].path}): whatever differs '
        'from it will be anomalous; take images of different good parts'
    ]


def _duplicates(
    train: Sequence[LabelledImage], test: Sequence[LabelledImage]
) -> tuple[int, list[str]]:
    """How many test images are among those that were learned from, and a warning of them."""
    learned = {_hash(labelled.pixels): labelled.path for labelled in train}
    seen = [(s.path, learned[key]) for s in test if (key := _hash(s.pixels)) in learned]
    if not seen:
        return 0, []
    first, same = seen[0]
    return len(seen), [
        f'{len(seen)} test images are also training images ({first} is {same}); '
        'metrics and threshold flatter the model: move them out of one of the folders'
    ]


def _hash(image: ImageArray) -> bytes:
    return hashlib.sha256(image.tobytes()).digest()


class _Fingerprint:
    """A sha256 over the names below a folder, and the contents, of all files that are read."""

    def __init__(self, root: Path) -> None:
        self.digest = hashlib.sha256()
        self._root = root.absolute()

    def add(self, path: Path, sha256: str) -> None:
        # A name is bytes, whatever the encoding it was made in.
        self.digest.update(os.fsencode(path.absolute().relative_to(self._root)))
        self.digest.update(bytes.fromhex(sha256))
