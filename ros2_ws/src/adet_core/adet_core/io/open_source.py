# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The source of images that a user named, whatever it is."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

from adet_core.errors import ConfigError, DatasetError, ImageError
from adet_core.image import read_file
from adet_core.io.camera import CameraSettings, CameraSource, is_camera
from adet_core.io.folders import IMAGE_SUFFIXES
from adet_core.io.sources import FolderSource, FrameSource, VideoSource
from adet_core.paths import user_path

BAG_SUFFIXES = ('.mcap', '.db3', '.mcap.zstd', '.db3.zstd')
"""What the names of storage files of ROS 2 end in, compressed or not."""
_ROS_1 = '.bag'
_LARGEST_METADATA = 2**26
_MAY_BE = 'give a folder, a video, a bag, camera:N or an address like rtsp://HOST/PATH'


def is_live(spec: str) -> bool:
    """Whether ``open_source(spec)`` would be a live source; opens nothing."""
    return is_camera(spec)


def is_bag(path: Path) -> bool:
    """Whether a path is a rosbag: the folder of a recording, or a storage file."""
    if not path.is_dir():
        return path.is_file() and path.name.endswith((*BAG_SUFFIXES, _ROS_1))
    files = (file for file in path.iterdir() if file.name.endswith(BAG_SUFFIXES))
    return any(file.is_file() for file in files) or _is_bag_metadata(path / 'metadata.yaml')


def _is_bag_metadata(path: Path) -> bool:
    """Whether a file is the metadata of a bag; other programs call theirs so, too."""
    try:
        return path.is_file() and b'rosbag2_bagfile_information:' in read_file(
            path, limit=_LARGEST_METADATA
        )
    except ImageError:
        return False


def open_source(
    spec: str, *, topic: str = '', camera: CameraSettings | None = None
) -> FrameSource:
    """Open what a user named.

    Args:
        spec: A folder, an image file, a video file, a rosbag, ``camera:N``, the address of a
            stream (``rtsp://``, ``http://``, ...), or ``gstreamer:PIPELINE``.
        topic: Bags only: the topic of the images; by default the only one, or ``image_raw``.
        camera: For ``camera:N`` only.

    Raises:
        ConfigError: It is no path, or is a rosbag, and the package that reads these is not
            installed; or a camera cannot do what its settings ask for.
        DatasetError: It does not exist, is empty, or is none of these.
    """
    if is_camera(spec):
        return CameraSource(spec, camera)
    if camera not in (None, CameraSettings()):
        msg = f'{spec}: camera_* parameters are for camera:N'
        raise ConfigError(msg)
    if not spec:
        msg = f'source is empty; {_MAY_BE}'
        raise DatasetError(msg)
    path = user_path(spec, 'source')
    if not path.exists():
        msg = f'{spec}: no such folder, file or camera; {_MAY_BE}'
        raise DatasetError(msg)
    if is_bag(path):
        return _open_bag(path, topic)
    if path.is_dir():
        return FolderSource(path)
    if not path.is_file():
        msg = f'{spec}: is no regular file; a camera is camera:N'
        raise DatasetError(msg)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return FolderSource(path.parent, [path])
    return VideoSource(path)


def _open_bag(path: Path, topic: str) -> FrameSource:
    """Bags need libraries that a robot may do without: another package brings the reader."""
    entry = next(iter(entry_points(group='adet.sources', name='bag')), None)
    if entry is None:
        msg = f'{path}: is a rosbag, which needs a package: pip install adet_evaluation'
        raise ConfigError(msg)
    return cast('Callable[[Path, str], FrameSource]', entry.load())(path, topic)
