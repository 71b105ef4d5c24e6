# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Pixels in memory: the encodings of cameras, and how their bytes are laid out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from adet_core.errors import ImageError
from adet_core.image.limits import check_pixels

ImageArray = npt.NDArray[np.uint8]

# ROS names the colours of the first row, OpenCV those of the second row and column.
BAYER = {
    f'bayer_{pattern}{bits}': code
    for bits in (8, 16)
    for pattern, code in (
        ('rggb', cv2.COLOR_BayerBG2RGB),
        ('bggr', cv2.COLOR_BayerRG2RGB),
        ('gbrg', cv2.COLOR_BayerGR2RGB),
        ('grbg', cv2.COLOR_BayerGB2RGB),
    )
}
"""Mosaics, and what makes RGB of them."""
PLANAR = {'nv12': cv2.COLOR_YUV2RGB_NV12, 'nv21': cv2.COLOR_YUV2RGB_NV21}
"""Brightness first, then the colours of 2x2 pixels each; and what makes RGB of them."""
YUV422 = {
    'yuv422': cv2.COLOR_YUV2RGB_UYVY,
    'uyvy': cv2.COLOR_YUV2RGB_UYVY,
    'yuv422_yuy2': cv2.COLOR_YUV2RGB_YUY2,
    'yuyv': cv2.COLOR_YUV2RGB_YUY2,
}
"""Two neighbours in a row share their colours; and what makes RGB of them (BT.601)."""

ENCODINGS: dict[str, tuple[type[np.generic], int]] = {
    'mono8': (np.uint8, 1),
    '8UC1': (np.uint8, 1),
    'mono16': (np.uint16, 1),
    '16UC1': (np.uint16, 1),
    'bgr8': (np.uint8, 3),
    '8UC3': (np.uint8, 3),
    'rgb8': (np.uint8, 3),
    'bgra8': (np.uint8, 4),
    '8UC4': (np.uint8, 4),
    'rgba8': (np.uint8, 4),
    'bgr16': (np.uint16, 3),
    'rgb16': (np.uint16, 3),
    'bgra16': (np.uint16, 4),
    'rgba16': (np.uint16, 4),
    **{name: (np.uint16 if name.endswith('16') else np.uint8, 1) for name in BAYER},
    **dict.fromkeys(YUV422, (np.uint8, 2)),
    **dict.fromkeys(PLANAR, (np.uint8, 1)),
    '32FC1': (np.float32, 1),
}
"""The pixel layouts adet reads, in ROS's names: element type and channels of each.

What says nothing of its colours is taken as OpenCV has it: ``8UC3`` is ``bgr8``.
"""


WHOLE_UINT16 = (0.0, 65535.0)
_GREY_16 = ('mono16', '16UC1')


@dataclass(frozen=True)
class Image:
    """Pixels as a camera or a file gave them.

    Attributes:
        pixels: ``(H, W)`` for one channel, else ``(H, W, C)``; element type and channels as
            `ENCODINGS` says. ``(H * 3 / 2, W)`` for nv12 and nv21.
        encoding: A key of `ENCODINGS`.
    """

    pixels: npt.NDArray[Any]
    encoding: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        rows, columns = self.pixels.shape[:2]
        # Their colours lie in further rows, half as many.
        return (rows * 2 // 3 if self.encoding in PLANAR else rows), columns


def encoding_layout(encoding: str) -> tuple[type[np.generic], int]:
    """Element type and number of channels of an encoding.

    Raises:
        ImageError: adet does not read it; the message lists those it reads.
    """
    try:
        return ENCODINGS[encoding]
    except KeyError:
        msg = f'encoding {encoding!r} is not supported; supported: {", ".join(ENCODINGS)}'
        raise ImageError(msg) from None


def unpack_image(
    data: memoryview, encoding: str, *, height: int, width: int, step: int, is_bigendian: bool
) -> Image:
    """The pixels of a ROS image message, without copying them where its layout allows.

    Args:
        data: The rows, ``step`` bytes each.
        encoding: See `ENCODINGS`.
        height: In pixels.
        width: In pixels.
        step: Length of a row in bytes; what is beyond its pixels is passed over.
        is_bigendian: Byte order of 16 and 32 bit pixels.

    Raises:
        ImageError: The encoding is not supported, the data does not fill the image, or it has
            more pixels than `adet_core.image.max_pixels`.
    """
    dtype, channels = encoding_layout(encoding)
    check_pixels(width, height, f'{encoding} image')
    item = np.dtype(dtype).itemsize
    row = width * channels * item
    rows = height + height // 2 if encoding in PLANAR else height
    if not height or not row or step < row or len(data) < step * (rows - 1) + row:
        msg = (
            f'{encoding} image of {width}x{height} with step {step} has {len(data)} bytes, '
            'which do not fill it'
        )
        raise ImageError(msg)
    typed = np.dtype(dtype).newbyteorder('>' if is_bigendian else '<')
    strides = (step, channels * item, item)
    pixels = np.ndarray((rows, width, channels), typed, data, strides=strides)
    # OpenCV knows only the machine's own byte order.
    native = pixels if typed.isnative else pixels.astype(dtype)
    return Image(native[:, :, 0] if channels == 1 else native, encoding)


def scale_to_8bit(
    pixels: npt.NDArray[Any], float_range: tuple[float, float] = (0.0, 1.0)
) -> ImageArray:
    """Bring pixels to 8 bits: 16 bits by 255/65535, floats by the values that become 0 and 255."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        scaled: ImageArray = cv2.convertScaleAbs(pixels, alpha=255 / 65535)
        return scaled
    low, high = float_range
    finite = np.nan_to_num(pixels, nan=low, posinf=high, neginf=low)
    with np.errstate(over='ignore'):
        levels = np.rint((finite - low) * (255 / (high - low)))
    clipped: ImageArray = np.clip(levels, 0, 255).astype(np.uint8)
    return clipped


def in_range(image: Image, levels: tuple[float, float]) -> Image:
    """Show a part of the levels of grey pixels with 16 bits, as of a depth camera.

    What is stored of such an image is then what was inspected.

    Args:
        image: Of any encoding; others than ``16UC1`` and ``mono16`` stay as they are.
        levels: The values that become black and white; what is beyond them is cut. All that 16
            bits can hold changes nothing.
    """
    if image.encoding not in _GREY_16 or levels == WHOLE_UINT16:
        return image
    low, high = levels
    grey = np.arange(WHOLE_UINT16[1] + 1, dtype=np.float32)
    shown = np.clip(np.rint((grey - low) * (255 / (high - low))), 0, 255).astype(np.uint8)
    return Image(shown[image.pixels], 'mono8')
