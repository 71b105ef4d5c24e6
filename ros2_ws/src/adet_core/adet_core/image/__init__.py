# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From any camera's or file's pixels to the graph's input: the one place where that is decided.

Training, export checks and the nodes all call `preprocess`, so an image means the same everywhere.
"""

from adet_core.image.files import (
    decode_image,
    decode_message,
    decode_pixels,
    read_file,
    read_image,
    usual_size,
)
from adet_core.image.header import is_jpeg
from adet_core.image.limits import check_pixels, max_pixels, set_max_megapixels
from adet_core.image.pixels import (
    encoding_layout,
    ENCODINGS,
    Image,
    ImageArray,
    in_range,
    unpack_image,
)
from adet_core.image.preprocess import preprocess, to_bgr

__all__ = [
    'ENCODINGS',
    'Image',
    'ImageArray',
    'check_pixels',
    'decode_image',
    'decode_message',
    'decode_pixels',
    'encoding_layout',
    'in_range',
    'is_jpeg',
    'max_pixels',
    'preprocess',
    'read_file',
    'read_image',
    'set_max_megapixels',
    'to_bgr',
    'unpack_image',
    'usual_size',
]
