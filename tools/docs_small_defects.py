#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Make the images of docs/small_defects.md: what a network gets of a small defect, and alignment.

tools/docs_small_defects.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from adet_core.image import Image, preprocess
from adet_core.image.affine import warp
from adet_core.image.alignment import learn_reference
from adet_synth import draw_anomalous, draw_normal, Size

IMAGES = Path(__file__).parents[1] / 'docs' / 'images'
WIDTH, HEIGHT, EXTENT = 2048, 1536, 8
_KEY = (1, 2, 7)
# Edges of what is shown around the defect, of the sheet's tiles, and of the strip below them.
_AROUND, _EDGE, _STRIP, _GAP = 64, 240, 26, 6

Pixels = npt.NDArray[np.uint8]


def captioned(pixels: Any, text: str) -> Pixels:
    """A tile of the sheet with a line of text below."""
    strip = np.full((_STRIP, pixels.shape[1], 3), 255, np.uint8)
    place, font = (4, _STRIP - 8), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(strip, text, place, font, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
    return np.vstack([pixels, strip])


def row(tiles: list[Any]) -> Pixels:
    """Tiles side by side."""
    gap = np.full((tiles[0].shape[0], _GAP, 3), 255, np.uint8)
    return np.hstack([part for tile in tiles for part in (tile, gap)][:-1])


def write(name: str, pixels: Pixels) -> None:
    """Write a sheet, RGB."""
    path = IMAGES / name
    cv2.imwrite(str(path), pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    print(f'wrote {path}')


def draw_scales() -> None:
    """A part with a small defect, and the same pixels as inputs of several sizes show them."""
    bad = draw_anomalous(_KEY, Size(WIDTH, HEIGHT), 'contamination', extent=(EXTENT, EXTENT))
    rows, columns = np.nonzero(bad.mask)
    y, x = (int(places.mean()) - _AROUND // 2 for places in (rows, columns))
    scale = _EDGE / HEIGHT
    whole = cv2.resize(bad.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    corners = [
        (round(at * scale) - 2, round(to * scale) + 2)
        for at, to in ((x, x + _AROUND), (y, y + _AROUND))
    ]
    cv2.rectangle(
        whole, (corners[0][0], corners[1][0]), (corners[0][1], corners[1][1]), (255, 0, 0), 1
    )
    tiles = [captioned(whole, f'{WIDTH} x {HEIGHT} pixels')]
    for text, size in (
        ('whole, 256 x 256', (256, 256)),
        ('tiles at half scale', (HEIGHT // 2, WIDTH // 2)),
        ('tiles at full scale', (HEIGHT, WIDTH)),
    ):
        seen = preprocess(Image(bad.image, 'rgb8'), size)
        down, across = size[0] / HEIGHT, size[1] / WIDTH
        part = seen[
            round(y * down) : round((y + _AROUND) * down),
            round(x * across) : round((x + _AROUND) * across),
        ]
        shown = cv2.resize(part, (_EDGE, _EDGE), interpolation=cv2.INTER_NEAREST)
        tiles.append(captioned(shown, text))
    write('small_defects.jpg', row(tiles))


def draw_alignment() -> None:
    """Parts that lie in any direction above the same ones aligned."""
    images = []
    for index, angle in enumerate((20, 160, 250, 305)):
        matrix = cv2.getRotationMatrix2D((100, 100), angle, 1)
        matrix[:, 2] += (50 + 9 * index - 12, 50 - 7 * index + 10)
        part = draw_normal((3, 0, index), 200)
        pixels = cv2.warpAffine(part, matrix, (300, 300), borderValue=(20, 20, 20))
        images.append(Image(np.asarray(pixels, np.uint8), 'rgb8'))
    reference = learn_reference(images, is_turned=True)
    aligned = [warp(one.pixels, reference.align(one).matrix, reference.size) for one in images]
    edge = (_EDGE, _EDGE)
    above = [cv2.resize(one.pixels, edge, interpolation=cv2.INTER_AREA) for one in images]
    height = round(_EDGE * reference.size[0] / reference.size[1])
    below = [cv2.resize(one, (_EDGE, height)) for one in aligned]
    gap = np.full((_GAP, 4 * _EDGE + 3 * _GAP, 3), 255, np.uint8)
    write('alignment.jpg', np.vstack([row(above), gap, row(below)]))


if __name__ == '__main__':
    draw_scales()
    draw_alignment()
