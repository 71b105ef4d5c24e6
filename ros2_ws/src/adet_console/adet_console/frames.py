# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The images people look at: the newest of each detector, scaled once for all who watch."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
import threading

import cv2

from adet_core.errors import AdetError, ImageError
from adet_core.image import decode_pixels, ImageArray, read_image, to_bgr
from adet_core.image.header import read_header

_WIDTHS = (480, 960, 1920)
_QUALITY = 80
# What the history keeps is scaled down where it is wider.
_KEPT_WIDTH = 960
_KEPT_BYTES = 96 << 20


@dataclass(frozen=True)
class Frame:
    """One inspected image.

    Attributes:
        stamp: In nanoseconds.
        image: JPEG file of the image as the camera gave it; None where it was not received.
        overlay: JPEG file, with the anomaly map laid over it.
    """

    stamp: int
    image: bytes | None
    overlay: bytes


def width_for(wanted: int) -> int:
    """The width that an image is sent with: the smallest step that is enough for a viewer."""
    return next((width for width in _WIDTHS if width >= wanted), _WIDTHS[-1])


def encode(image: ImageArray, width: int) -> bytes:
    """An image as JPEG, not wider than ``width`` pixels.

    Args:
        image: bgr8 ``(H, W, 3)``.
        width: Most pixels of a row.
    """
    height, own = image.shape[:2]
    if own > width:
        size = (width, max(1, round(height * width / own)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        msg = f'OpenCV cannot encode an image of {image.shape}'
        raise ValueError(msg)
    return bytes(data)


def scale_down(jpeg: bytes, width: int) -> bytes:
    """A JPEG file that is not wider than ``width`` pixels; as it is where it is not.

    Raises:
        ImageError: It is none, or is damaged.
    """
    header = read_header(jpeg)
    if header is None or header.kind != 'jpeg':
        msg = 'a preview is no JPEG file'
        raise ImageError(msg)
    if header.width <= width:
        return jpeg
    return encode(decode_pixels(jpeg, 'a preview'), width)


def pack(frame: Frame, width: int) -> bytes:
    """A frame as one message: stamp, length of the first JPEG, plain image, overlay.

    The stamp has 8 bytes, the length 4, both big-endian. Where there is no plain image, the
    overlay stands for it.

    Raises:
        ImageError: What the detector sent is no JPEG file.
    """
    overlay = scale_down(frame.overlay, width)
    plain = overlay if frame.image is None else scale_down(frame.image, width)
    return frame.stamp.to_bytes(8, 'big') + len(plain).to_bytes(4, 'big') + plain + overlay


class FrameStore:
    """JPEG files of the last frames that somebody watched, and those that a detector stored.

    Bounded by bytes; for any threads.
    """

    def __init__(self, data_root: Path) -> None:
        """Touch no folder yet.

        Args:
            data_root: Folder of ``train``, ``test`` and ``review``, where detectors store images.
        """
        self._root = data_root
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, detector: str, frame: Frame) -> None:
        """Keep a frame for the history, unless it is damaged."""
        try:
            data = pack(frame, _KEPT_WIDTH)
        except ImageError:
            return
        with self._lock:
            key = (detector, frame.stamp)
            self._bytes += len(data) - len(self._kept.pop(key, b''))
            self._kept[key] = data
            while self._bytes > _KEPT_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])

    def get(self, detector: str, stamp: int) -> bytes | None:
        """A frame as `pack` makes it; None where nobody watched it and no detector stored it."""
        with self._lock:
            if (found := self._kept.get((detector, stamp))) is not None:
                return found
        for path in self._stored(stamp):
            try:
                image = encode(to_bgr(read_image(path)), _KEPT_WIDTH)
            except AdetError:
                continue
            return pack(Frame(stamp, image, image), _KEPT_WIDTH)
        return None

    def _stored(self, stamp: int) -> list[Path]:
        # The name is made of a number, so that no request can lead anywhere else.
        name = f'frame_{stamp:d}.png'
        patterns = (f'review/*/{name}', f'train/*/{name}', f'test/*/anomaly/{name}')
        return [path for pattern in patterns for path in self._root.glob(pattern)]
