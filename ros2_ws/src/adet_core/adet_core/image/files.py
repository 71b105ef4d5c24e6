# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Image files: read as bytes, checked, and only then decoded.

No path goes to OpenCV as text: a name need not be text, and what it opens need not be a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from adet_core.errors import ImageError
from adet_core.folder import open_regular
from adet_core.image.header import Header, read_header
from adet_core.image.limits import check_pixels, max_pixels
from adet_core.image.pixels import BAYER, Image, scale_to_8bit

# What an uncompressed file needs: 16 bits in three channels; and some room for what it says of
# itself.
_BYTES_PER_PIXEL = 6
_ROOM = 2**20
# What the plugin compressedDepth writes before the file.
_DEPTH_HEADER = 12
# Images whose size is looked at; the most frequent one counts.
_LOOKED_AT = 15
_ENCODINGS = {'uint8': 'mono8', 'uint16': 'mono16', 'float32': '32FC1'}


def read_image(path: Path) -> Image:
    """Read an image file; rotation in its EXIF data is applied, an alpha channel dropped.

    Returns:
        mono8 or bgr8 for 8-bit files, mono16 or 32FC1 for such grey files; colour of 16 bits
        becomes bgr8.

    Raises:
        ImageError: The file is missing, too large or cannot be decoded; names it.
    """
    return decode_image(read_file(path), str(path))


def usual_size(paths: Sequence[Path]) -> tuple[int, int]:
    """Height and width that most of the images have, in pixels.

    Args:
        paths: At least one; of many only some are looked at.

    Raises:
        ImageError: None of those can be read.
    """
    found: Counter[tuple[int, int]] = Counter()
    reason: ImageError | None = None
    for path in paths[:: -(-len(paths) // _LOOKED_AT)]:
        try:
            found[read_image(path).size] += 1
        except ImageError as error:
            reason = error
    if reason is not None and not found:
        raise reason
    return found.most_common(1)[0][0]


def read_file(path: Path, *, limit: int | None = None) -> bytes:
    """The bytes of a regular file; a pipe or a device is not waited for.

    Args:
        path: The file.
        limit: The most bytes that it may have; by default as many as an image of
            `adet_core.image.max_pixels`.

    Raises:
        ImageError: The file is missing, cannot be read, is no regular file, or is too large;
            names it.
    """
    limit = _BYTES_PER_PIXEL * max_pixels() + _ROOM if limit is None else limit
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                msg = f'{path}: has {size} bytes, more than {limit} are not read'
                raise ImageError(msg)
            return file.read(size)
    except OSError as error:
        raise ImageError(f'{path}: {error.strerror}') from None
    except ValueError:
        raise ImageError(f'{path}: is not the name of a file') from None


def decode_image(data: bytes, name: str) -> Image:
    """Decode the bytes of an image file, as `read_image` does.

    Raises:
        ImageError: They cannot be decoded; names ``name``.
    """
    pixels = decode_pixels(data, name)
    kind = pixels.dtype.name
    if pixels.ndim == 3 and kind in {'uint8', 'uint16'}:
        return Image(scale_to_8bit(pixels), 'bgr8')
    if pixels.ndim == 3 or kind not in _ENCODINGS:
        what = f'{kind} colour' if pixels.ndim == 3 else kind
        msg = f'{name}: has {what} pixels, which adet does not read; save it with 8 or 16 bits'
        raise ImageError(msg)
    return Image(pixels, _ENCODINGS[kind])


def decode_message(data: bytes, image_format: str, name: str) -> Image:
    """Decode the data of a ``sensor_msgs/CompressedImage``.

    Args:
        data: The bytes of an image file.
        image_format: The message's ``format``, as image_transport writes it: the encoding of the
            camera first, as in ``bayer_rggb8; png compressed bayer_rggb8``.
        name: Of the message, for error messages.

    Raises:
        ImageError: They cannot be decoded; names ``name``.
    """
    named = f'{name} ({image_format})'
    encoding, _, coding = (part.strip() for part in image_format.partition(';'))
    if coding.startswith('compressedDepth'):
        if encoding == '32FC1':
            # Its levels are not those of float_range.
            msg = f'{named}: depth in floats is not read compressed; take the raw topic'
            raise ImageError(msg)
        data = data[_DEPTH_HEADER:]
    image = decode_image(data, named)
    # A mosaic is compressed as if it were grey.
    if encoding in BAYER and image.encoding == ('mono16' if encoding.endswith('16') else 'mono8'):
        return Image(image.pixels, encoding)
    return image


def decode_pixels(data: bytes, name: str) -> npt.NDArray[Any]:
    """The pixels of an image file, in the type and with the channels (1 or 3) that it has.

    Raises:
        ImageError: They cannot be decoded, or are more than `adet_core.image.max_pixels`; names
            ``name``.
    """
    header = read_header(data)
    if header is not None:
        check_pixels(header.width, header.height, name, decoded=header.pixels)
        try:
            flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error:
            pixels = None
        if pixels is not None:
            return _at_full_scale(np.asarray(pixels), header)
    raise ImageError(f'{name}: cannot be decoded as an image')


def _at_full_scale(pixels: npt.NDArray[Any], header: Header) -> npt.NDArray[Any]:
    """Stretch the levels of a PGM or PPM file, whose white may be any value, to all there are."""
    white = np.iinfo(pixels.dtype).max if header.full_scale else 0
    if header.full_scale == white:
        return pixels
    # Unlike a table, this takes as much memory as the result.
    levels = np.minimum(np.arange(white + 1) * (white / header.full_scale), white)
    stretched: npt.NDArray[Any] = np.rint(levels).astype(pixels.dtype)[pixels]
    return stretched
