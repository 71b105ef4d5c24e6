# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The source of pictures that a user named, whatever it is."""

from __future__ import annotations

from pathlib import Path
import re

from adet_core.errors import DatasetError
from adet_core.sources import (
    CameraSource,
    FolderSource,
    FrameSource,
    PICTURE_SUFFIXES,
    VideoSource,
)

_CAMERA = re.compile(r'camera:(\d{1,6})')


def is_live(spec: str) -> bool:
    """Whether ``open_source(spec)`` would be a live source; opens nothing."""
    return _CAMERA.fullmatch(spec) is not None


def is_bag(path: Path) -> bool:
    """Whether a path is a rosbag2 recording: its folder, or a storage file."""
    if path.is_dir():
        names = ('metadata.yaml', '*.mcap', '*.db3')
        return any(next(path.glob(name), None) for name in names)
    return path.suffix in ('.mcap', '.db3')


def open_source(spec: str, *, topic: str = '') -> FrameSource:
    """Open what a user named.

    Args:
        spec: A folder, a picture file, a video file, a rosbag, or ``camera:N``.
        topic: Bags only: the topic of the pictures; by default the only one, or ``image_raw``.

    Raises:
        DatasetError: It does not exist, is empty, or is none of these.
    """
    if match := _CAMERA.fullmatch(spec):
        return CameraSource(int(match[1]))
    if not spec:
        msg = 'source is empty; give a folder, a video, a bag or camera:N'
        raise DatasetError(msg)
    path = Path(spec).expanduser()
    if not path.exists():
        msg = f'{spec}: no such folder, file or camera; give a folder, a video, a bag or camera:N'
        raise DatasetError(msg)
    if is_bag(path):
        # Its libraries are loaded where there is a bag.
        from adet_core.bags import BagSource

        return BagSource(path, topic)
    if path.is_dir():
        return FolderSource(path)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return FolderSource(path.parent, [path])
    return VideoSource(path)
