# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Images and their labels as a rosbag2 recording, as if ``image_source`` had been recorded."""

from __future__ import annotations

from dataclasses import dataclass
import os
from pathlib import Path
import shutil
import sqlite3
import sys
import tempfile
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer

from adet_core.bundle import sync_folder
from adet_core.errors import BagError, ConfigError
from adet_core.image import Image
from adet_core.io.folders import readable
from adet_core.io.sources import Frame, FrameSource
from adet_core.progress import ProgressCallback, silent
from adet_evaluation.bags.messages import COMPRESSED, IMAGE, INFO, known_types, make_header
from adet_evaluation.bags.source import INFO_NAME

STORAGES = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}
COMPRESSIONS = ('none', 'png', 'jpeg')
# The newest form that every supported ROS 2 reads: Humble knows quality of service as text only.
_VERSION: Literal[8] = 8
_FOREVER = QosTime(9223372036, 854775807)
# As image_source offers it, and as `ros2 bag play` will: a detector that takes every frame joins.
_EVERY_FRAME = Qos(
    QosHistory.KEEP_LAST,
    16,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    _FOREVER,
    _FOREVER,
    QosLiveliness.AUTOMATIC,
    _FOREVER,
    False,
)


class Recording(NamedTuple):
    """What was recorded.

    Attributes:
        images: Images in the bag.
        unreadable: Images that could not be read; the bag says so of each.
        topic: Where the images are.
    """

    pictures: int
    unreadable: int
    topic: str


@dataclass(frozen=True, kw_only=True)
class BagOptions:
    """How to record.

    Attributes:
        start_ns: Stamp of the first image without a stamp of its own, in nanoseconds.
        rate: Images without stamps are so many to the second.
        topic: Topic of the images; ``image_info`` is beside it. Compressed images go to
            ``<topic>/compressed``, as image_transport has it.
        frame_id: Frame of the camera, for images without one of their own.
        storage: A key of `STORAGES`.
        compression: One of `COMPRESSIONS`; ``jpeg`` loses detail, and takes 8 bits only.
    """

    start_ns: int
    rate: float = 10.0
    topic: str = 'image_raw'
    frame_id: str = 'camera'
    storage: str = 'mcap'
    compression: str = 'none'


def record_images(
    source: FrameSource, out: Path, options: BagOptions, *, progress: ProgressCallback = silent
) -> Recording:
    """Write a bag; it appears under its name when it is whole.

    Args:
        source: Where the images come from; its frames' own stamps are kept.
        out: Folder to make.
        options: See `BagOptions`.
        progress: Told of the progress.

    Raises:
        BagError: ``out`` exists, or SQLite cannot write it.
        ConfigError: The source never ends, or an image does not fit the compression.
        OSError: The bag cannot be written; names the file.
    """
    if source.is_live:
        msg = 'images is a camera, which never ends; record one with: ros2 bag record'
        raise ConfigError(msg)
    if out.exists():
        msg = f'{out}: is there already; give another name, or remove it'
        raise BagError(msg)
    out.parent.mkdir(parents=True, exist_ok=True)
    # The storage file is named after its folder, so the folder has its name from the start.
    hidden = Path(tempfile.mkdtemp(prefix=f'.{out.name}.', dir=out.parent))
    try:
        with Writer(
            hidden / out.name, version=_VERSION, storage_plugin=STORAGES[options.storage]
        ) as bag:
            recorder = _Recorder(bag, options)
            step_ns = round(1e9 / options.rate)
            for number, frame in enumerate(source):
                own = frame.stamp_ns
                recorder.add(frame, options.start_ns + number * step_ns if own is None else own)
                progress('recording', number + 1, source.total)
        for file in (hidden / out.name).iterdir():
            with file.open('rb') as opened:
                os.fsync(opened.fileno())
        sync_folder(hidden / out.name)
        (hidden / out.name).rename(out)
        sync_folder(out.parent)
    except sqlite3.Error as error:
        # A full disk, mostly: SQLite has errors of its own for it.
        msg = f'{out}: cannot be written ({error})'
        raise BagError(msg) from None
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return Recording(recorder.pictures, recorder.unreadable, recorder.topic)


class _Recorder:
    """An open bag that takes frames."""

    def __init__(self, bag: Writer, options: BagOptions) -> None:
        self._bag, self._options = bag, options
        self._types = known_types()
        compressed = options.compression != 'none'
        name = f'/{options.topic.lstrip("/")}'
        self.topic = f'{name}/compressed' if compressed else name
        self._images = self._connect(self.topic, COMPRESSED if compressed else IMAGE)
        self._infos = self._connect(f'{name.rpartition("/")[0]}/{INFO_NAME}', INFO)
        self.pictures = self.unreadable = 0

    def add(self, frame: Frame, stamp: int) -> None:
        header = make_header(self._types, stamp, frame.frame_id or self._options.frame_id)
        fields = {
            'source': readable(frame.source),
            'label': frame.label,
            'error': readable(frame.error),
        }
        self._write(self._infos, stamp, header=header, **fields)
        if frame.image is None:
            self.unreadable += 1
            return
        self.pictures += 1
        if self._options.compression == 'none':
            self._write(self._images, stamp, header=header, **_rows(frame.image))
        else:
            data, text = _compress(frame, self._options.compression)
            self._write(self._images, stamp, header=header, format=text, data=data)

    def _connect(self, topic: str, kind: str) -> Connection:
        return self._bag.add_connection(
            topic, kind, typestore=self._types, offered_qos_profiles=[_EVERY_FRAME]
        )

    def _write(self, connection: Connection, stamp: int, **fields: Any) -> None:
        message = self._types.types[connection.msgtype](**fields)
        data = self._types.serialize_cdr(message, connection.msgtype)
        self._bag.write(connection, stamp, data)


def _rows(image: Image) -> dict[str, Any]:
    pixels = np.ascontiguousarray(image.pixels)
    height, width = image.size
    return {
        'height': height,
        'width': width,
        'encoding': image.encoding,
        'is_bigendian': int(sys.byteorder == 'big'),
        'step': pixels.strides[0],
        'data': pixels.reshape(-1).view(np.uint8),
    }


def _compress(frame: Frame, compression: str) -> tuple[np.ndarray[Any, Any], str]:
    """The bytes of an image file, and the format as image_transport says it."""
    assert frame.image is not None
    pixels, encoding = frame.image.pixels, frame.image.encoding
    allowed = ('mono8', 'bgr8') if compression == 'jpeg' else ('mono8', 'bgr8', 'mono16')
    if encoding not in allowed:
        msg = f'{frame.source}: {encoding} does not go into {compression}; record it uncompressed'
        raise ConfigError(msg)
    _, data = cv2.imencode(f'.{compression}', pixels)
    return data, f'{encoding}; {compression} compressed {encoding}'
