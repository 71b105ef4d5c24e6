# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Which files of a folder are images, and which label their folders give them."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path

from adet_core.errors import DatasetError

IMAGE_SUFFIXES = frozenset(
    {'.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp', '.pgm', '.ppm'}
)
LABELS = ('normal', 'anomaly')
MASKS_FOLDER = 'masks'

OnFile = Callable[[Path, str], None]
"""Takes a file that was read, and the sha256 of its bytes."""


def ignore_file(path: Path, sha256: str) -> None:
    """An `OnFile` for callers that need no record of what was read."""
    del path, sha256


def list_images(folder: Path) -> list[Path]:
    """All images below a folder, as `walk_images` lists them.

    Raises:
        DatasetError: The folder is missing, unreadable or holds no image.
    """
    found = walk_images(folder)
    if not found:
        suffixes = ' '.join(sorted(IMAGE_SUFFIXES))
        msg = f'{folder}: holds no images; put some there ({suffixes})'
        raise DatasetError(msg)
    return found


def walk_images(folder: Path) -> list[Path]:
    """All images below a folder, in a fixed order; masks and hidden folders are left out.

    Raises:
        DatasetError: The folder, or one below it, is missing or unreadable.
    """
    found: list[Path] = []

    def fail(error: OSError) -> None:
        raise DatasetError(f'{error.filename}: {error.strerror}') from None

    seen: set[str] = set()
    for base, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        # A link may lead back up: each folder counts once.
        if (real := os.path.realpath(base)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if name != MASKS_FOLDER and name[0] != '.')
        found += [
            Path(base, name)
            for name in files
            if Path(name).suffix.lower() in IMAGE_SUFFIXES and name[0] != '.'
        ]
    return sorted(found)


def label_of(path: Path, folder: Path) -> str:
    """The label that the folders between ``folder`` (included) and an image give, or ''."""
    names = [folder.absolute().name, *path.relative_to(folder).parts[:-1]]
    return next((name for name in reversed(names) if name in LABELS), '')


def readable(text: str) -> str:
    """A path, or a message about one, as text that a message can hold.

    A file may have any bytes for a name; those that are no UTF-8 become escapes.
    """
    return text.encode(errors='backslashreplace').decode()


def labelled_images(folder: Path) -> list[Path]:
    """All images below a folder of test images; each has a label.

    Raises:
        DatasetError: As `list_images`, or an image has no label.
    """
    paths = list_images(folder)
    for path in paths:
        if not label_of(path, folder):
            msg = f'{path}: has no label; test images belong in normal/ or anomaly/'
            raise DatasetError(msg)
    return paths
