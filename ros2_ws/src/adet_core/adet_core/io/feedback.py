# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Frames that are kept for the next retraining: marked by an operator, or worth a look.

Each is a PNG with a JSON file of the same name beside it, which says where it came from.
"""

from __future__ import annotations

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from adet_core.errors import DatasetError, ImageError
from adet_core.folder import open_folder
from adet_core.image import Image, read_file, to_bgr

SCHEMA = 'adet_marked_image_1'
"""What the field ``schema`` of a note says."""
_NOTE = '.json'
_LARGEST_NOTE = 2**16
# What OpenCV writes without loss as it is.
_PLAIN = ('mono8', '8UC1', 'mono16', '16UC1', 'bgr8', '8UC3')


def is_feedback(path: Path) -> bool:
    """Whether an image was kept by `keep_frame`: the JSON file beside it is a note of ours."""
    try:
        values = json.loads(read_file(path.with_suffix(_NOTE), limit=_LARGEST_NOTE))
    except (ImageError, ValueError, RecursionError):
        # Other programs write files of that name, too.
        return False
    if not isinstance(values, dict) or 'schema' in values:
        return isinstance(values, dict) and values['schema'] == SCHEMA
    # Version 0.1 wrote no schema.
    return isinstance(values.get('stamp_ns'), int) and all(
        isinstance(values.get(name), str) for name in ('model', 'bundle_id')
    )


def encode_png(image: Image, *, float_range: tuple[float, float] = (0.0, 1.0)) -> bytes:
    """An image of any encoding adet reads as PNG: 8-bit BGR, or grey as it is.

    Args:
        image: It is not changed.
        float_range: For 32FC1 images.

    Raises:
        ImageError: The pixels do not fit the encoding.
    """
    plain = image.encoding in _PLAIN
    pixels = image.pixels if plain else to_bgr(image, float_range=float_range)
    _, data = cv2.imencode('.png', np.ascontiguousarray(pixels))
    return bytes(data)


def keep_frame(
    folder: Path,
    name: str,
    image: Image,
    note: Mapping[str, Any],
    *,
    limit: int,
    replace: bool = False,
    float_range: tuple[float, float] = (0.0, 1.0),
) -> Path:
    """Store a frame with a note beside it; the same name again replaces it.

    Args:
        folder: Made if need be.
        name: Of the file, without suffix; names sort by time.
        image: Any encoding adet reads; 8-bit BGR, or grey as it is, in the file.
        note: Where it came from; plain values.
        limit: Frames with a note of ours that the folder may hold.
        replace: Whether the oldest makes room when it is full.
        float_range: For 32FC1 images.

    Returns:
        The image's path.

    Raises:
        DatasetError: The folder is full.
        OSError: It cannot be written.
    """
    data = encode_png(image, float_range=float_range)
    # A person may have linked a folder of a data set, but frames are only removed from our own.
    place = (folder.parent, folder.name) if replace else (folder,)
    with open_folder(*place, make=True) as home:
        names = [entry for entry in home.names() if entry.endswith(_NOTE)]
        kept = [entry for entry in names if is_feedback(folder / entry)]
        if f'{name}{_NOTE}' not in kept and len(kept) >= limit:
            if not replace:
                msg = f'{folder}: holds {len(kept)} marked frames, the limit; retrain, then move'
                raise DatasetError(f'{msg} some away, or raise parameter keep_limit')
            for entry in kept[: len(kept) - limit + 1]:
                home.remove(f'{entry.removesuffix(_NOTE)}.png')
                home.remove(entry)
        # The note first: an image that a person marked is never taken for one of many.
        text = json.dumps({'schema': SCHEMA, **note}, indent=2) + '\n'
        home.write_atomic(f'{name}{_NOTE}', text.encode())
        home.write_atomic(f'{name}.png', data)
    return folder / f'{name}.png'
