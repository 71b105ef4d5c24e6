# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Which part of an image is inspected: a rectangle, polygons or a mask image, and what is ignored.

A JSON file holds ``rectangle`` ``[x, y, width, height]`` or ``polygons`` (lists of three or more
``[x, y]``), and ``ignore``, polygons that are left out. All are in pixels of the training's
images. Any other file is a mask image of their size: what is not black is inspected.
"""

from __future__ import annotations

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from adet_core.errors import ConfigError, ImageError
from adet_core.geometry.placement import Box
from adet_core.image import decode_pixels, read_file

Mask = npt.NDArray[np.bool_]
"""bool ``(H, W)``."""

_KEYS = ('rectangle', 'polygons', 'ignore')
_JSON_LIMIT = 1 << 20
_FORM = 'expected {"rectangle": [x, y, width, height]} or {"polygons": [[[x, y], ...], ...]}'


class Area(NamedTuple):
    """The inspected part of images of one size.

    Attributes:
        box: The smallest rectangle that holds it, in pixels of the image.
        mask: bool of the image's size; None: all of the box.
    """

    box: Box
    mask: Mask | None = None


def parse_box(text: str) -> Box | None:
    """A rectangle from ``x,y,width,height``; None if it is no such text.

    Raises:
        ConfigError: It is one, but of no rectangle.
    """
    parts = text.split(',')
    try:
        x, y, width, height = (int(part) for part in parts)
    except ValueError:
        return None
    return _box([x, y, width, height], f'roi {text}')


def read_area(roi: str | Path, source: tuple[int, int]) -> Area:
    """The inspected area, from a rectangle or a file.

    Args:
        roi: ``x,y,width,height``, or a file as this module describes it.
        source: Height and width of the training's images, in pixels.

    Raises:
        ConfigError: It cannot be read, is empty, or does not fit the images; says what to do.
    """
    box = parse_box(str(roi))
    if box is not None:
        return Area(_inside(box, source, f'roi {roi}'))
    path = Path(roi)
    limit = _JSON_LIMIT if path.suffix == '.json' else None
    try:
        data = read_file(path, limit=limit)
        if path.suffix != '.json':
            return _of_mask(decode_pixels(data, str(path)), source, str(path))
    except ImageError as error:
        msg = f'{error}; --roi takes x,y,width,height, a JSON file or a mask image'
        raise ConfigError(msg) from None
    return _of_json(data, source, str(path))


def scale_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Bring a mask to another size, in pixels (height, width)."""
    if mask.shape == size:
        return mask
    # Area averaging keeps a hairline that nearest-neighbour sampling would step over.
    share: npt.NDArray[np.float32] = cv2.resize(
        mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA
    )
    mostly: Mask = share >= 0.5
    return mostly if mostly.any() else share > 0


def _of_mask(pixels: npt.NDArray[Any], source: tuple[int, int], name: str) -> Area:
    marked = pixels.max(axis=2) > 0 if pixels.ndim == 3 else pixels > 0
    if marked.shape != source:
        size, wanted = (f'{columns}x{rows}' for rows, columns in (marked.shape, source))
        msg = f'{name}: has {size} pixels, the images {wanted}; draw it on one of them'
        raise ConfigError(msg)
    return _cut(marked, name)


def _of_json(data: bytes, source: tuple[int, int], name: str) -> Area:
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        msg = f'{name}: not valid JSON ({error}); {_FORM}'
        raise ConfigError(msg) from None
    if not isinstance(values, Mapping) or not values or not set(values) <= set(_KEYS):
        raise ConfigError(f'{name}: {_FORM}')
    if {'rectangle', 'polygons'} <= set(values):
        raise ConfigError(f'{name}: has a rectangle and polygons; give one of them')
    box = Box(x=0, y=0, width=source[1], height=source[0])
    if 'rectangle' in values:
        box = _inside(_box(values['rectangle'], f'{name}: rectangle'), source, name)
    if set(values) == {'rectangle'}:
        return Area(box)
    marked = np.zeros(source, np.uint8)
    if 'polygons' in values:
        _fill(marked, values['polygons'], 1, f'{name}: polygons')
    else:
        marked[box.slices] = 1
    _fill(marked, values.get('ignore', []), 0, f'{name}: ignore')
    return _cut(marked > 0, name)


def _fill(marked: npt.NDArray[np.uint8], polygons: Any, value: int, name: str) -> None:
    if not isinstance(polygons, list):
        raise ConfigError(f'{name} is {polygons!r:.60}, expected a list of polygons')
    height, width = marked.shape
    for polygon in polygons:
        try:
            points = np.array(polygon, np.float64)
        except (TypeError, ValueError):
            points = np.empty(0)
        if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise ConfigError(f'{name}: {polygon!r:.60} is no polygon, a list of [x, y]')
        if len(points) < 3:
            msg = f'{name}: {polygon!r:.60} has {len(points)} points, a polygon has three or more'
            raise ConfigError(msg)
        low, high = points.min(axis=0), points.max(axis=0)
        if (high < 0).any() or low[0] >= width or low[1] >= height:
            msg = f'{name}: {polygon!r:.60} lies outside of the images of {width}x{height} pixels'
            raise ConfigError(f'{msg}; points are [x, y] in pixels')
        near = np.clip(points.round(), -1e6, 1e6).astype(np.int32)
        cv2.fillPoly(marked, [near], [value])


def _cut(marked: Mask, name: str) -> Area:
    """The area of a mask; a rectangle needs none."""
    rows, columns = (np.flatnonzero(marked.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        msg = f'{name}: the region of interest is empty; mark what is to be inspected'
        raise ConfigError(msg)
    x, y = int(columns[0]), int(rows[0])
    box = Box(x=x, y=y, width=int(columns[-1]) + 1 - x, height=int(rows[-1]) + 1 - y)
    return Area(box, None if marked[box.slices].all() else marked)


def _box(values: Any, name: str) -> Box:
    numbers = isinstance(values, list) and len(values) == 4 and all(type(n) is int for n in values)
    if not numbers or min(values[:2]) < 0 or min(values[2:]) < 1:
        msg = f'{name}: expected x,y,width,height in pixels, width and height 1 or more'
        raise ConfigError(msg)
    x, y, width, height = values
    return Box(x=x, y=y, width=width, height=height)


def _inside(box: Box, source: tuple[int, int], name: str) -> Box:
    height, width = source
    if box.x + box.width > width or box.y + box.height > height:
        msg = f'{name}: {box} reaches outside of the images of {width}x{height} pixels'
        raise ConfigError(f'{msg}; give a rectangle inside')
    return box
