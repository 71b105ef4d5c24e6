# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Drawn images of nothing in particular, where no photographs can be had.

Dead leaves, shapes of all sizes that cover one another, each with a texture whose spectrum falls
as that of photographs does: Baradad et al.: Learning to See by Looking at Noise, NeurIPS 2021,
https://arxiv.org/abs/2106.05963
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

_LEAVES = (30, 200)
_SMALLEST = 3.0
_LARGEST = 0.4
# Amplitudes fall with this power of the frequency; those of photographs with about 1.
_SLOPES = (0.5, 2.0)
_CORNERS = (3, 8)
# So many textures are drawn for each image; leaves share them.
_TEXTURES = 3
_BLURRED = _GREY = 0.4

_Float32 = npt.NDArray[np.float32]


def draw_texture(rng: np.random.Generator, size: int) -> npt.NDArray[np.uint8]:
    """One image, uint8 ``(size, size, 3)``."""
    textures = [_noise(rng, size) for _ in range(_TEXTURES)]
    image = np.empty((size, size, 3), np.float32)
    _colour(rng, image, textures)
    for _ in range(int(rng.integers(*_LEAVES))):
        _draw_leaf(rng, image, textures)
    if rng.random() < _BLURRED:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.5))).astype(np.float32)
    if rng.random() < _GREY:
        image[:] = image.mean(axis=2, keepdims=True)
    pixels: npt.NDArray[np.uint8] = (255 * image.clip(0, 1)).round().astype(np.uint8)
    return pixels


def _noise(rng: np.random.Generator, size: int) -> _Float32:
    """Noise of mean 0 and deviation 1, ``(size, size)``."""
    rows, columns = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    # Stretched in one direction, as wood and brushed metal are.
    stretch = np.exp(rng.uniform(-1.5, 1.5))
    frequency = np.hypot(rows * stretch, columns / stretch)
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / frequency ** rng.uniform(*_SLOPES)
    spectrum[0, 0] = 0.0
    noise = np.fft.irfft2(spectrum, (size, size))
    found: _Float32 = (noise / noise.std()).astype(np.float32)
    return found


def _draw_leaf(rng: np.random.Generator, image: _Float32, textures: Sequence[_Float32]) -> None:
    """Cover a part of the image with an ellipse, a polygon or a bar."""
    size = len(image)
    # The density of radii falls with their square: leaves of all sizes are seen.
    radius = _SMALLEST / rng.uniform(_SMALLEST / (_LARGEST * size), 1.0)
    row, column = (int(at) for at in rng.integers(0, size, 2))
    reach = int(radius) + 1
    top, left = max(row - reach, 0), max(column - reach, 0)
    part = image[top : row + reach, left : column + reach]
    mask = np.zeros(part.shape[:2], np.uint8)
    centre = (column - left, row - top)
    kind, turn = int(rng.integers(3)), float(rng.uniform(0, 360))
    if kind == 0:
        axes = (int(radius), max(int(radius * rng.uniform(0.3, 1)), 1))
        cv2.ellipse(mask, centre, axes, turn, 0, 360, 1, -1)
    elif kind == 1:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(*_CORNERS))))
        corners = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(mask, [corners.round().astype(np.int32)], 1)
    else:
        box = cv2.boxPoints((centre, (2 * radius, radius * rng.uniform(0.1, 0.6)), turn))
        cv2.fillPoly(mask, [box.round().astype(np.int32)], 1)
    leaf = np.empty_like(part)
    _colour(rng, leaf, textures)
    np.copyto(part, leaf, where=mask[..., None] > 0)


def _colour(rng: np.random.Generator, part: _Float32, textures: Sequence[_Float32]) -> None:
    """Fill a part of an image with a piece of one of the textures, in two colours."""
    texture = textures[int(rng.integers(len(textures)))]
    height, width = part.shape[:2]
    top = int(rng.integers(len(texture) - height + 1))
    left = int(rng.integers(len(texture) - width + 1))
    # Mostly greyish, as the world is.
    colour = rng.uniform(0, 1) + rng.normal(0, 0.15, 3)
    towards = rng.normal(0, 0.08) + rng.normal(0, 0.03, 3)
    piece = texture[top : top + height, left : left + width, None]
    part[:] = colour.astype(np.float32) + piece * towards.astype(np.float32)
