# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From any camera's or file's pixels to the graph's input: the one place where that is decided.

Training, export checks and the nodes all call `preprocess`, so an image means the same everywhere.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
import math
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from adet_core.errors import ImageError

ImageArray = npt.NDArray[np.uint8]

# Shrinking fewer pixels than these takes little longer than starting threads for it.
_LARGE = 500_000
_STRIPS = 4

# ROS names the colours of the first row, OpenCV those of the second row and column.
_BAYER = {
    'bayer_rggb8': cv2.COLOR_BayerBG2RGB,
    'bayer_bggr8': cv2.COLOR_BayerRG2RGB,
    'bayer_gbrg8': cv2.COLOR_BayerGR2RGB,
    'bayer_grbg8': cv2.COLOR_BayerGB2RGB,
}
_TO_RGB = {
    'mono8': cv2.COLOR_GRAY2RGB,
    'mono16': cv2.COLOR_GRAY2RGB,
    '32FC1': cv2.COLOR_GRAY2RGB,
    'bgr8': cv2.COLOR_BGR2RGB,
    'bgra8': cv2.COLOR_BGRA2RGB,
    'rgba8': cv2.COLOR_RGBA2RGB,
}

ENCODINGS: dict[str, tuple[type[np.generic], int]] = {
    'mono8': (np.uint8, 1),
    'mono16': (np.uint16, 1),
    'bgr8': (np.uint8, 3),
    'rgb8': (np.uint8, 3),
    'bgra8': (np.uint8, 4),
    'rgba8': (np.uint8, 4),
    **dict.fromkeys(_BAYER, (np.uint8, 1)),
    '32FC1': (np.float32, 1),
}
"""The pixel layouts adet reads, in ROS's names: element type and channels of each."""


@dataclass(frozen=True)
class Image:
    """Pixels as a camera or a file gave them.

    Attributes:
        pixels: ``(H, W)`` for one channel, else ``(H, W, C)``; element type and channels as
            `ENCODINGS` says.
        encoding: A key of `ENCODINGS`.
    """

    pixels: npt.NDArray[Any]
    encoding: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


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


def read_image(path: Path) -> Image:
    """Read an image file; rotation in its EXIF data is applied, an alpha channel dropped.

    Returns:
        mono8 or bgr8 for 8-bit files, mono16 or 32FC1 for such grey files; deeper colour becomes
        bgr8.

    Raises:
        ImageError: The file is missing or cannot be decoded; names it.
    """
    return decode_image(read_file(path), str(path))


def read_file(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        ImageError: The file is missing or cannot be read; names it.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f'{path}: {error.strerror}') from None


def decode_image(data: bytes, name: str) -> Image:
    """Decode the bytes of an image file, as `read_image` does.

    Raises:
        ImageError: They cannot be decoded; names ``name``.
    """
    pixels = decode_pixels(data, name)
    if pixels.ndim == 3:
        return Image(_to_8bit(pixels), 'bgr8')
    encodings = {'uint8': 'mono8', 'uint16': 'mono16', 'float32': '32FC1'}
    if pixels.dtype.name not in encodings:
        raise ImageError(f'{name}: has {pixels.dtype} pixels, which adet does not read')
    return Image(pixels, encodings[pixels.dtype.name])


def decode_pixels(data: bytes, name: str) -> npt.NDArray[Any]:
    """The pixels of an image file, in the type and with the channels (1 or 3) that it has.

    Raises:
        ImageError: They cannot be decoded; names ``name``.
    """
    try:
        flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None or _is_cut_jpeg(data):
        raise ImageError(f'{name}: cannot be decoded as an image')
    return np.asarray(pixels)


def is_jpeg(data: bytes) -> bool:
    """Whether these are the bytes of a JPEG file."""
    return data.startswith(b'\xff\xd8')


def _is_cut_jpeg(data: bytes) -> bool:
    """A JPEG whose last scan has no end: OpenCV 4.6, as ROS has it, fills it up with grey."""
    return is_jpeg(data) and data.rfind(b'\xff\xd9') < data.rfind(b'\xff\xda')


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
        ImageError: The encoding is not supported, or the data does not fill the image.
    """
    dtype, channels = encoding_layout(encoding)
    item = np.dtype(dtype).itemsize
    row = width * channels * item
    if not height or not row or step < row or len(data) < step * (height - 1) + row:
        msg = (
            f'{encoding} image of {width}x{height} with step {step} has {len(data)} bytes, '
            'which do not fill it'
        )
        raise ImageError(msg)
    typed = np.dtype(dtype).newbyteorder('>' if is_bigendian else '<')
    strides = (step, channels * item, item)
    pixels = np.ndarray((height, width, channels), typed, data, strides=strides)
    # OpenCV knows only the machine's own byte order.
    native = pixels if typed.isnative else pixels.astype(dtype)
    return Image(native[:, :, 0] if channels == 1 else native, encoding)


def preprocess(
    image: Image,
    size: tuple[int, int],
    *,
    float_range: tuple[float, float] = (0.0, 1.0),
) -> ImageArray:
    """Bring an image to the graph's input: RGB, 8 bit, stretched to ``size``.

    Each axis is averaged when it shrinks and interpolated when it grows, so that fine texture is
    not aliased into false structure. 16 bits are scaled by 255/65535 as cv_bridge does it.

    Args:
        image: What to prepare; it is not changed.
        size: Height and width of the result, in pixels.
        float_range: 32FC1 only: the values that become 0 and 255; values outside are clipped,
            and not-a-number counts as the lower one.

    Returns:
        uint8 ``(height, width, 3)``, C-contiguous.

    Raises:
        ImageError: The encoding is unknown, or the pixels do not fit it.
    """
    dtype, channels = encoding_layout(image.encoding)
    pixels = image.pixels
    shape = pixels.shape[2:] or (1,)
    if (
        pixels.dtype != dtype
        or pixels.ndim not in (2, 3)
        or shape != (channels,)
        or 0 in pixels.shape
    ):
        msg = f'{image.encoding} pixels of {pixels.dtype} {pixels.shape} do not fit the encoding'
        raise ImageError(msg)
    if image.encoding in _BAYER:
        pixels = cv2.cvtColor(pixels, _BAYER[image.encoding])
    # Colour conversion comes last: it is linear, and cheaper on the small image.
    pixels = _resize(_to_8bit(pixels, float_range), size)
    if image.encoding in _TO_RGB:
        pixels = cv2.cvtColor(pixels, _TO_RGB[image.encoding])
    return np.ascontiguousarray(pixels)


def to_bgr(image: Image, *, float_range: tuple[float, float] = (0.0, 1.0)) -> ImageArray:
    """The whole image as bgr8, ``(H, W, 3)``, for drawing on and for showing people.

    Raises:
        ImageError: As `preprocess`.
    """
    rgb = preprocess(image, image.size, float_range=float_range)
    bgr: ImageArray = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return bgr


def _to_8bit(
    pixels: npt.NDArray[Any], float_range: tuple[float, float] = (0.0, 1.0)
) -> ImageArray:
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


def _resize(pixels: ImageArray, size: tuple[int, int]) -> ImageArray:
    height, width = size
    rows, columns = pixels.shape[:2]
    if (rows, columns) == size:
        return pixels
    if (rows - height) * (columns - width) < 0:
        # OpenCV averages only when both axes shrink; otherwise do one axis after the other.
        pixels = _resize(pixels, (rows, width))
    if pixels.shape[0] >= height and pixels.shape[1] >= width:
        return _average(pixels, size)
    resized: ImageArray = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    return resized


def _average(pixels: ImageArray, size: tuple[int, int]) -> ImageArray:
    """Shrink by averaging, strip by strip in threads: OpenCV takes one for so small a result.

    Strips begin where rows of the image and of the result do, so that they are what the whole
    would be.
    """
    height, width = size
    rows, columns = pixels.shape[:2]
    common = math.gcd(rows, height)
    count = min(_STRIPS, len(os.sched_getaffinity(0)), common)
    if rows * columns < _LARGE or count == 1:
        whole: ImageArray = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        return whole
    resized = np.empty((height, width, *pixels.shape[2:]), pixels.dtype)
    cuts = [common * number // count for number in range(count + 1)]

    def average(first: int, last: int) -> None:
        taken = pixels[first * (rows // common) : last * (rows // common)]
        strip = resized[first * (height // common) : last * (height // common)]
        cv2.resize(taken, (width, len(strip)), dst=strip, interpolation=cv2.INTER_AREA)

    # Made for each image: threads that stay would be missing in a process that forks.
    with ThreadPoolExecutor(count) as threads:
        list(threads.map(average, cuts[:-1], cuts[1:]))
    return resized
