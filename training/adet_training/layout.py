# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From settings and images to the geometry of a training: what the graph gets of an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from adet_core.bundle import AREA_FILE, Content, REFERENCE_FILE, write_arrays
from adet_core.errors import ConfigError, ImageError
from adet_core.geometry import AlignSpec, Area, Box, Geometry, ImageSpec, read_area, TileSpec
from adet_core.image import Image, ImageArray, read_image, usual_size
from adet_core.image.alignment import AlignmentError, AlignmentReference, learn_reference
from adet_core.image.light import learn_light
from adet_core.io.labelled import LabelledImage
from adet_training.parameters import Parameters

# Beside the folder of the training images, so that it is none of them.
_ROI_SUFFIXES = ('.roi.json', '.roi.png')
# Images whose brightness is looked at, and whose mean is what images are aligned to.
_LIT, _AVERAGED = 30, 40

Channels = tuple[float, float, float]
T = TypeVar('T')


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
    reference = _reference(parameters, images, roi)
    if reference is not None:
        how = AlignSpec(
            is_turned=reference.is_turned, scale=reference.scale, least=reference.least
        )
        rows, columns = reference.size
        spec = replace(spec, align=how, source=(columns, rows))
    elif roi or parameters.tiles:
        rows, columns = usual_size(images)
        spec = replace(spec, source=(columns, rows))
    geometry = _with_tiles(spec, reference, parameters, roi)
    if not parameters.light:
        return geometry
    level = learn_light(_canvases(geometry, images))
    spec = replace(geometry.spec, light=max(level, 1.0))
    return Geometry(spec, geometry.inspected, reference)


def _with_tiles(
    spec: ImageSpec, reference: AlignmentReference | None, parameters: Parameters, roi: str
) -> Geometry:
    """The geometry with its region of interest and its tiles, if any."""
    if not roi and not parameters.tiles:
        return Geometry(spec, None, reference)
    assert spec.source is not None
    columns, rows = spec.source
    every = Box(x=0, y=0, width=columns, height=rows)
    area = read_area(roi, (rows, columns)) if roi else Area(every)
    tiles = _tiles(parameters, area.box) if parameters.tiles else None
    try:
        spec = replace(spec, roi=None if area.box == every else area.box, tiles=tiles)
    except ValueError as error:
        raise ConfigError(f'tiles={parameters.tiles}: {error}; give larger tiles') from None
    geometry = Geometry(spec, None, reference)
    if area.mask is None:
        return geometry
    inspected = geometry.place_mask(area.mask, geometry.placement((rows, columns)))
    return Geometry(spec, None if inspected.all() else inspected, reference)


def _reference(
    parameters: Parameters, images: Sequence[Path], roi: str
) -> AlignmentReference | None:
    """What images are aligned to, if they are.

    Raises:
        ConfigError: They cannot be; says what to do.
    """
    if parameters.align == 'off':
        return None
    is_turned = parameters.align == 'turn'
    if roi and is_turned:
        msg = f'roi {roi}: with align=turn the part is what is inspected; leave the region out'
        raise ConfigError(msg)
    try:
        return learn_reference(_readable(some(images, _AVERAGED)), is_turned=is_turned)
    except (AlignmentError, ValueError) as error:
        raise ConfigError(f'align={parameters.align}: {error}; use --set align=off') from None


def _canvases(geometry: Geometry, images: Sequence[Path]) -> Iterator[ImageArray]:
    for image in _readable(some(images, _LIT)):
        with suppress(ImageError):
            yield geometry.place(image)[0]


def _readable(paths: Iterable[Path]) -> Iterator[Image]:
    for path in paths:
        # The training says which images it skips.
        with suppress(ImageError):
            yield read_image(path)


def some(items: Sequence[T], most: int) -> list[T]:
    """Evenly spaced ones, at most so many."""
    if len(items) <= most:
        return list(items)
    return [items[int(index)] for index in np.linspace(0, len(items) - 1, most)]


def find_roi(data_root: Path, category: str) -> str:
    """The file of a category's region of interest, ``train/<category>.roi.json`` or ``.roi.png``.

    Returns:
        Its path; empty if there is none.
    """
    paths = (data_root / 'train' / f'{category}{suffix}' for suffix in _ROI_SUFFIXES)
    return next((str(path) for path in paths if path.is_file()), '')


def geometry_contents(geometry: Geometry) -> dict[str, Content]:
    """Files of a bundle: where its canvas is inspected, what images are aligned to."""
    contents: dict[str, Content] = {}
    if geometry.inspected is not None:
        bits = np.packbits(geometry.inspected, axis=1)
        contents[AREA_FILE] = partial(write_arrays, arrays={'inspected': bits})
    if geometry.reference is not None:
        pixels = geometry.reference.pixels
        contents[REFERENCE_FILE] = partial(write_arrays, arrays={'pixels': pixels})
    return contents


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
    return TileSpec(
        width=parameters.tiles,
        overlap=parameters.overlap,
        whole=parameters.whole,
        own_statistics=parameters.own_statistics,
    )
