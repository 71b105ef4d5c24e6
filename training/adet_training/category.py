# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The files of one category; nothing is read yet, and torch not imported."""

from __future__ import annotations

from pathlib import Path

from adet_core.errors import DatasetError, did_you_mean
from adet_core.folder import check_name
from adet_core.io.folders import label_of, labelled_images, list_images


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
