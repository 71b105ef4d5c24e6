# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Light and camera: from a surface to the image that a line camera takes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from .part import TOWARDS_LAMP
from .surface import Plane, Surface, Window

ImageArray = npt.NDArray[np.uint8]

# the lamp is about 50 degrees above the table; the camera looks straight down
_LAMP = np.array([0.66 * TOWARDS_LAMP[0], 0.66 * TOWARDS_LAMP[1], 0.75])
_UP = np.array([0.0, 0.0, 1.0])
_HALFWAY = (_LAMP + _UP) / np.linalg.norm(_LAMP + _UP)


@dataclass(frozen=True)
class Shot:
    """What differs between two images of the same thing.

    Attributes:
        key: Seeds the noise of the sensor.
        exposure: Factor on the light, about 1.
        warmth: Colour of the lamp, positive is warm.
        falloff: Loss of light towards the left (negative) or right edge.
        band: Where the lamp's reflection is brightest, in image widths from the middle.
        band_gain: How much brighter it is there.
        blur: Standard deviation of the lens's blur, in image widths.
    """

    key: tuple[int, ...]
    exposure: float
    warmth: float
    falloff: float
    band: float
    band_gain: float
    blur: float


def draw_shot(key: tuple[int, ...]) -> Shot:
    """Choose light and lens; the same key gives the same."""
    rng = np.random.default_rng([*key, 2])
    return Shot(
        key=key,
        exposure=float(rng.uniform(0.955, 1.045)),
        warmth=float(rng.normal(0, 0.01)),
        falloff=float(rng.uniform(-0.1, 0.1)),
        band=float(rng.uniform(-0.25, 0.25)),
        band_gain=float(rng.uniform(0.12, 0.2)),
        blur=float(rng.uniform(0.0014, 0.0022)),
    )


def oversampling(size: int) -> int:
    """How many surface pixels there are across one pixel of an image, by its longer edge."""
    if size < 128:
        return 4
    return 2 if size <= 1024 else 1


class Noise(NamedTuple):
    """What the sensor adds to an image.

    Attributes:
        columns: Factor on the light of each column, float32 ``(1, W, 1)``.
        pixels: Levels of 255, float32 ``(H, W, 3)``.
    """

    columns: Plane
    pixels: Plane

    def cut(self, window: Window) -> Noise:
        """The noise of a window of the image."""
        return Noise(self.columns[:, window[1]], self.pixels[window])


def draw_noise(shot: Shot, shape: tuple[int, int]) -> Noise:
    """Noise for an image of some rows and columns; the same shot gives the same."""
    rng = np.random.default_rng([*shot.key, 3])
    columns = 1 + np.float32(0.006) * rng.standard_normal((1, shape[1], 1), np.float32)
    return Noise(columns, np.float32(2.0) * rng.standard_normal((*shape, 3), np.float32))


def photograph(surface: Surface, shot: Shot, noise: Noise) -> ImageArray:
    """Take the image.

    Args:
        surface: What lies there; its planes are a whole number of times as large as the image.
        shot: Light and lens.
        noise: Of the image, which has its shape.

    Returns:
        uint8 ``(H, W, 3)``, RGB.
    """
    rows, columns = noise.pixels.shape[:2]
    light = _shaded(surface, shot, (columns, rows))
    blur = shot.blur * surface.edge * columns / surface.u.shape[1]
    if blur > 0.3:
        light = cv2.GaussianBlur(light, (0, 0), blur)
    light *= noise.columns * np.float32(shot.exposure)
    # a shoulder keeps highlights from being cut off
    light /= 1 + np.float32(0.22) * light * light
    # after the square root, the noise of a sensor is the same at every brightness
    np.sqrt(np.maximum(light, 0, out=light), out=light)
    light *= 255
    light += noise.pixels
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def _shaded(surface: Surface, shot: Shot, size: tuple[int, int]) -> Plane:
    """Light that each pixel gets from the surface, 1 is white; ``size`` is width and height."""
    diffuse, glint = _reflect(surface)
    lamp = surface.lit * _lamp_strength(surface, shot)
    glint *= surface.gloss
    glint *= lamp
    glint *= np.float32(0.5)
    diffuse *= lamp
    # light that comes from everywhere
    diffuse += np.float32(0.25)
    diffuse += np.float32(0.15) * surface.lit
    channels = []
    for colour, tint in zip(surface.colour, (1 + shot.warmth, 1, 1 - shot.warmth), strict=True):
        light = colour * diffuse
        light += glint
        light *= np.float32(tint)
        channels.append(cv2.resize(light, size, interpolation=cv2.INTER_AREA))
    return np.asarray(cv2.merge(channels), np.float32)


def _reflect(surface: Surface) -> tuple[Plane, Plane]:
    """How much a lamp of strength 1 is scattered and mirrored towards the camera."""
    scale = surface.edge / 8
    height = surface.height
    gx = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=scale)
    gy = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=scale)
    # steeper than about 60 degrees is a wall seen from above
    np.clip(gx, -1.8, 1.8, out=gx)
    np.clip(gy, -1.8, 1.8, out=gy)
    norm = 1 / np.sqrt(1 + gx * gx + gy * gy)
    lamp, half = _LAMP.astype(np.float32), _HALFWAY.astype(np.float32)
    diffuse = np.maximum((lamp[2] - gx * lamp[0] - gy * lamp[1]) * norm, 0)
    mirrored = np.maximum((half[2] - gx * half[0] - gy * half[1]) * norm, 0)
    for _ in range(4):
        mirrored *= mirrored
    return diffuse, mirrored


def _lamp_strength(surface: Surface, shot: Shot) -> Plane:
    """Strength of the lamp over the image: a bar along the rows, weaker to one side."""
    down, across = surface.axes()
    side = 1 + np.float32(shot.falloff) * across - np.float32(0.35) * across * across
    band = np.exp(-np.square((down - np.float32(shot.band)) / np.float32(0.16)))
    bar = 1 + np.float32(shot.band_gain) * band
    return np.asarray(bar[:, None] * side[None, :], np.float32)
