# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From pixels of any encoding and size to the graph's input."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import math

import cv2
import numpy as np

from adet_core.cores import usable_cores
from adet_core.errors import ImageError
from adet_core.image.pixels import (
    BAYER,
    encoding_layout,
    Image,
    ImageArray,
    PLANAR,
    scale_to_8bit,
    YUV422,
)

# Shrinking fewer pixels than these takes little longer than starting threads for it.
_LARGE = 500_000
_STRIPS = 4

# Neighbours share their colours: these are converted at full size.
_WHOLE_TO_RGB = {**BAYER, **YUV422, **PLANAR}
_TO_RGB = {
    **dict.fromkeys(('mono8', '8UC1', 'mono16', '16UC1', '32FC1'), cv2.COLOR_GRAY2RGB),
    **dict.fromkeys(('bgr8', '8UC3', 'bgr16'), cv2.COLOR_BGR2RGB),
    **dict.fromkeys(('bgra8', '8UC4', 'bgra16'), cv2.COLOR_BGRA2RGB),
    **dict.fromkeys(('rgba8', 'rgba16'), cv2.COLOR_RGBA2RGB),
}


def preprocess(
    image: Image,
    size: tuple[int, int],
    *,
    part: tuple[slice, slice] | None = None,
    float_range: tuple[float, float] = (0.0, 1.0),
) -> ImageArray:
    """Bring an image to the graph's input: RGB, 8 bit, stretched to ``size``.

    Each axis is averaged when it shrinks and interpolated when it grows, so that fine texture is
    not aliased into false structure. 16 bits are scaled by 255/65535 as cv_bridge does it.

    Args:
        image: What to prepare; it is not changed.
        size: Height and width of the result, in pixels.
        part: Rows and columns of the image that are taken; None: all of it.
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
    if image.encoding in _WHOLE_TO_RGB:
        _check_pairs(image)
        pixels = cv2.cvtColor(pixels, _WHOLE_TO_RGB[image.encoding])
    if part is not None:
        pixels = pixels[part]
    # Colour conversion comes last: it is linear, and cheaper on the small image.
    pixels = _resize(scale_to_8bit(pixels, float_range), size)
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


def _check_pairs(image: Image) -> None:
    height, width = image.size
    needs_height = image.encoding in PLANAR and height % 2
    if image.encoding not in BAYER and (width % 2 or needs_height):
        msg = f'{image.encoding} image of {width}x{height}: needs even numbers of pixels'
        raise ImageError(msg)


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
    count = min(_STRIPS, usable_cores(), common)
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
