# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The surface that is drawn on: what lies under each pixel, before light and camera see it.

Lengths and positions are in image widths, so that the same part appears at any resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
import copy
from dataclasses import dataclass
import math

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]
Window = tuple[slice, slice]
Colour = tuple[float, float, float]
Point = tuple[float, float]

# fractional bits of the positions given to OpenCV, so that lines move smoothly with the part
_SHIFT = 6


@dataclass(frozen=True)
class Pose:
    """Where the part lies in the image.

    Attributes:
        x: Shift to the right, in image widths.
        y: Shift downwards, in image widths.
        angle: Rotation in radians.
    """

    x: float
    y: float
    angle: float

    def to_image(self, u: float, v: float) -> Point:
        """Where a point of the part is in the image, both relative to their centres."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return cos * u - sin * v + self.x, sin * u + cos * v + self.y


class Surface:
    """Planes of float32 values, of the whole image or of a window of it.

    Attributes:
        edge: Width in pixels that lengths are measured in: the longer edge of the image.
        area: Rows and columns that the planes show of the square of that edge.
        pose: Where the part lies.
        u: Position in the part's frame, to the right, in image widths, 0 at its centre.
        v: The same downwards.
        height: Height in image widths, 0 on the part's face.
        colour: ``(3, rows, columns)``, reflected share of red, green and blue light.
        gloss: Share of light that is mirrored as by metal, 0 for a matt surface.
        lit: Share of the lamp's light that arrives, 0 in deep shadow.
    """

    def __init__(self, edge: int, pose: Pose, area: Window | None = None) -> None:
        self.edge = edge
        self.pose = pose
        self.area = area or (slice(0, edge), slice(0, edge))
        down, across = self.axes()
        x, y = across[None, :] - np.float32(pose.x), down[:, None] - np.float32(pose.y)
        cos, sin = np.float32(math.cos(pose.angle)), np.float32(math.sin(pose.angle))
        self.u: Plane = cos * x + sin * y
        self.v: Plane = cos * y - sin * x
        shape = self.u.shape
        self.height: Plane = np.zeros(shape, np.float32)
        self.colour: Plane = np.zeros((3, *shape), np.float32)
        self.gloss: Plane = np.zeros(shape, np.float32)
        self.lit: Plane = np.ones(shape, np.float32)

    def axes(self) -> tuple[Plane, Plane]:
        """Positions of the rows and of the columns in image widths, 0 in the middle."""
        axis = (np.arange(self.edge, dtype=np.float32) + 0.5) / self.edge - 0.5
        rows, columns = self.area
        return axis[rows].astype(np.float32), axis[columns].astype(np.float32)

    def cut(self, window: Window) -> Surface:
        """A copy of a window of the planes, a surface of its own."""
        part = copy.copy(self)
        part.area = _within(self.area[0], window[0]), _within(self.area[1], window[1])
        for name in ('u', 'v', 'height', 'gloss', 'lit'):
            setattr(part, name, getattr(self, name)[window].copy())
        rows, columns = window
        part.colour = self.colour[:, rows, columns].copy()
        return part

    def window(self, u: float, v: float, radius: float) -> Window:
        """The square of pixels around a point of the part; empty if outside the image."""
        x, y = self.pose.to_image(u, v)
        rows, columns = (
            slice(
                max(math.floor((centre + 0.5 - radius) * self.edge) - 1 - area.start, 0),
                max(math.ceil((centre + 0.5 + radius) * self.edge) + 1 - area.start, 0),
            )
            for centre, area in zip((y, x), self.area, strict=True)
        )
        return rows, columns

    def offset(self, window: Window, u: float, v: float) -> tuple[Plane, Plane]:
        """Positions in a window relative to a point of the part."""
        return self.u[window] - np.float32(u), self.v[window] - np.float32(v)

    def coverage(self, distance: Plane) -> Plane:
        """How much of each pixel lies inside an outline.

        Args:
            distance: Signed distance to the outline in image widths, negative inside.

        Returns:
            Values in [0, 1] of the same shape.
        """
        inside = np.clip(np.float32(0.5) - distance * np.float32(self.edge), 0, 1)
        return np.asarray(inside, np.float32)

    def paint(
        self,
        window: Window,
        alpha: Plane,
        colour: Colour,
        gloss: float,
        tone: Plane | float = 1.0,
    ) -> None:
        """Cover a window with a material.

        Args:
            window: Where.
            alpha: How much of each pixel is covered, in [0, 1].
            colour: Reflected share of red, green and blue light.
            gloss: Share of light that is mirrored as by metal.
            tone: Factor on both colour and gloss.
        """
        keep = 1 - alpha
        layer = alpha * np.asarray(tone, np.float32)
        for plane, value in zip((*self.colour, self.gloss), (*colour, gloss), strict=True):
            view = plane[window]
            view *= keep
            view += np.float32(value) * layer

    def strokes(self, lines: Sequence[Sequence[Point]], width: float) -> Plane:
        """Draw lines given in the part's frame.

        Args:
            lines: Each a row of (u, v) points.
            width: Thickness in image widths.

        Returns:
            Values in [0, 1]; a line thinner than a pixel covers it in part only.
        """
        thickness = max(round(width * self.edge), 1)
        plane = np.zeros(self.u.shape, np.uint8)
        corner = self.area[1].start, self.area[0].start
        for line in lines:
            points = np.array([self.pose.to_image(u, v) for u, v in line])
            # a pixel's centre has whole coordinates in OpenCV
            places = (points + 0.5) * self.edge - 0.5 - corner
            pixels = np.rint(places * (1 << _SHIFT)).astype(np.int32)
            cv2.polylines(plane, [pixels], False, 255, thickness, cv2.LINE_AA, _SHIFT)
        share = min(width * self.edge / thickness, 1)
        return np.asarray(plane * np.float32(share / 255), np.float32)

    def blurred(self, plane: Plane, sigma: float) -> Plane:
        """Blur a plane, or a window of one, by a Gaussian given in image widths."""
        pixels = sigma * self.edge
        if pixels < 0.3 or not plane.size:
            return plane
        # wide blurs are done small: nothing is lost, and large images stay quick
        step = int(pixels // 4)
        if step < 2:
            return np.asarray(cv2.GaussianBlur(plane, (0, 0), pixels), np.float32)
        rows, columns = plane.shape
        small = cv2.resize(
            plane, (-(-columns // step), -(-rows // step)), interpolation=cv2.INTER_AREA
        )
        small = cv2.GaussianBlur(small, (0, 0), pixels / step)
        return np.asarray(
            cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR), np.float32
        )


def _within(outer: slice, inner: slice) -> slice:
    """A slice of a slice; both have a start, and the inner one an end that may lie beyond."""
    return slice(outer.start + inner.start, min(outer.start + inner.stop, outer.stop))


def length(u: Plane, v: Plane) -> Plane:
    """Distance from the origin."""
    return np.asarray(cv2.magnitude(u, v), np.float32)


def rounded_box(u: Plane, v: Plane, half: tuple[float, float], radius: float) -> Plane:
    """Signed distance to a rectangle with round corners, negative inside.

    Args:
        u: Position relative to its centre.
        v: The same downwards.
        half: Half its width and half its height.
        radius: Radius of the corners.
    """
    du = np.abs(u) - np.float32(half[0] - radius)
    dv = np.abs(v) - np.float32(half[1] - radius)
    outside = length(np.maximum(du, 0), np.maximum(dv, 0))
    inside = np.minimum(np.maximum(du, dv), 0)
    return np.asarray(outside + inside - np.float32(radius), np.float32)


def hexagon(u: Plane, v: Plane, radius: float, angle: float) -> Plane:
    """Signed distance to a hexagon (good near its sides), ``radius`` from centre to side."""
    distance = np.full(u.shape, -radius, np.float32)
    for side in range(3):
        turn = angle + side * math.pi / 3
        across = np.abs(u * np.float32(math.cos(turn)) + v * np.float32(math.sin(turn)))
        np.maximum(distance, across - np.float32(radius), out=distance)
    return distance
