# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From settings and images to the geometry of a training: what the graph gets of an image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from adet_core.bundle import AREA_FILE, Content, write_arrays
from adet_core.errors import ConfigError, ImageError
from adet_core.geometry import Area, Box, Geometry, ImageSpec, read_area, TileSpec
from adet_core.image import read_image
from adet_core.io.labelled import LabelledImage
from adet_training.parameters import Parameters

# Beside the folder of the training images, so that it is none of them.
_ROI_SUFFIXES = ('.roi.json', '.roi.png')
# Images whose size is looked at; the most frequent one counts.
_LOOKED_AT = 15

Channels = tuple[float, float, float]


def make_geometry(
    parameters: Parameters,
    channels: tuple[Channels, Channels],
    images: Sequence[Path],
    *,
    roi: str = '',
) -> Geometry:
    """The geometry that settings and a region of interest ask for.

    Args:
        parameters: Size, fit and tiles.
        channels: Mean and standard deviation that the graph normalises images with.
        images: Those to learn from, at least one.
        roi: See `adet_core.geometry.read_area`; empty: what `find_roi` finds for the images.

    Raises:
        ConfigError: The region or the tiles do not fit the images; says what to do.
    """
    height, width = parameters.size
    mean, std = channels
    spec = ImageSpec(height=height, width=width, mean=mean, std=std, fit=parameters.fit)
    if not roi and not parameters.tiles:
        return Geometry(spec)
    source = _usual_size(images)
    rows, columns = source
    every = Box(x=0, y=0, width=columns, height=rows)
    area = read_area(roi, source) if roi else Area(every)
    tiles = _tiles(parameters, area.box) if parameters.tiles else None
    try:
        spec = replace(
            spec,
            source=(columns, rows),
            roi=None if area.box == every else area.box,
            tiles=tiles,
        )
    except ValueError as error:
        raise ConfigError(f'tiles={parameters.tiles}: {error}; give larger tiles') from None
    geometry = Geometry(spec)
    if area.mask is None:
        return geometry
    inspected = geometry.place_mask(area.mask, geometry.placement(source))
    return Geometry(spec, None if inspected.all() else inspected)


def find_roi(data_root: Path, category: str) -> str:
    """The file of a category's region of interest, ``train/<category>.roi.json`` or ``.roi.png``.

    Returns:
        Its path; empty if there is none.
    """
    paths = (data_root / 'train' / f'{category}{suffix}' for suffix in _ROI_SUFFIXES)
    return next((str(path) for path in paths if path.is_file()), '')


def area_contents(geometry: Geometry) -> dict[str, Content]:
    """The file of a bundle that says where its canvas is inspected, if it needs one."""
    if geometry.inspected is None:
        return {}
    bits = np.packbits(geometry.inspected, axis=1)

    def write(file: IO[bytes]) -> None:
        write_arrays(file, {'inspected': bits})

    return {AREA_FILE: write}


def inputs_of(geometry: Geometry, images: Sequence[LabelledImage]) -> list[LabelledImage]:
    """What the graph gets of images, to learn from: the inputs of the first one first.

    Tiles share the memory of their images.
    """
    if geometry.is_plain:
        return list(images)
    return [
        replace(image, pixels=view, mask=None, placement=None)
        for image in images
        for view in geometry.views(image.pixels)
    ]


def _tiles(parameters: Parameters, region: Box) -> TileSpec:
    height, width = parameters.size
    tile = parameters.tiles, max(round(parameters.tiles * height / width), 1)
    if tile[0] > region.width or tile[1] > region.height:
        largest = min(region.width, int(region.height * width / height))
        msg = (
            f'tiles={parameters.tiles} are {tile[0]}x{tile[1]} pixels, more than the '
            f'{region.width}x{region.height} that are inspected; give tiles={largest} or less, or '
            'tiles=0 for the whole image'
        )
        raise ConfigError(msg)
    return TileSpec(width=parameters.tiles, overlap=parameters.overlap, whole=parameters.whole)


def _usual_size(images: Sequence[Path]) -> tuple[int, int]:
    """Height and width that most of the images have.

    Raises:
        ConfigError: None of those looked at can be read.
    """
    found: Counter[tuple[int, int]] = Counter()
    reason = ''
    for path in images[:: -(-len(images) // _LOOKED_AT)]:
        try:
            found[read_image(path).size] += 1
        except ImageError as error:
            reason = str(error)
    if not found:
        raise ConfigError(reason)
    return found.most_common(1)[0][0]
