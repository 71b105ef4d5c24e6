# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The good part: a brushed plate with a turned bore, screws, pin holes, a slot and a mark.

Lengths are in image widths, positions relative to the middle of the plate.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import NamedTuple

import numpy as np

from .glyphs import code_cells, text_strokes
from .surface import hexagon, length, Plane, Point, Pose, rounded_box, Surface, Window
from .texture import brushed, clouds, grooves

HALF_PLATE = (0.435, 0.365)
TOWARDS_LAMP = (-0.62, -0.78)

_BORE: Point = (-0.1, 0.0)
_BORE_RADIUS = 0.105
_FACE_RADIUS = 0.195
_SLOT: Point = (0.22, -0.17)
_CODE: Point = (0.345, 0.15)
_CODE_HALF = 0.038
_TEXT: Point = (0.135, 0.115)
_STEEL = (0.29, 0.297, 0.307)
_BRASS = (0.52, 0.37, 0.14)
_HOLE = (0.09, 0.092, 0.1)
EVERYWHERE = (slice(None), slice(None))


class Feature(NamedTuple):
    """Something that sits at one place of the plate and can be missing.

    Attributes:
        kind: ``screw``, ``pin_hole`` or ``bushing``.
        u: Its place.
        v: Its place.
    """

    kind: str
    u: float
    v: float


FEATURES = (
    *(Feature('screw', u, v) for u in (-0.365, 0.365) for v in (-0.295, 0.295)),
    *(Feature('pin_hole', u, 0.0) for u in (0.15, 0.225, 0.3)),
    *(Feature('bushing', -0.355, v) for v in (-0.1, 0.1)),
)


@dataclass(frozen=True)
class Specimen:
    """One part in front of the camera, before it is drawn.

    Attributes:
        key: Seeds the textures.
        pose: Where it lies.
        screw_angles: How far each screw was turned, in radians, one for each of ``FEATURES``.
        tint: Warm (positive) or cold steel.
        wear: Strength of the brushing, about 1.
    """

    key: tuple[int, ...]
    pose: Pose
    screw_angles: tuple[float, ...]
    tint: float
    wear: float


def draw_specimen(key: tuple[int, ...]) -> Specimen:
    """Choose what differs between good parts.

    Args:
        key: Whole numbers that name the image: the same key gives the same part.
    """
    rng = np.random.default_rng([*key, 0])
    x, y = rng.uniform(-0.0045, 0.0045, 2)
    return Specimen(
        key=key,
        pose=Pose(float(x), float(y), float(np.deg2rad(rng.uniform(-0.6, 0.6)))),
        screw_angles=tuple(rng.uniform(0, np.pi / 3, len(FEATURES)).tolist()),
        tint=float(rng.normal(0, 0.009)),
        wear=float(rng.uniform(0.85, 1.15)),
    )


def build(
    specimen: Specimen, edge: int, area: Window | None = None, *, without: Feature | None = None
) -> Surface:
    """Draw the part on the belt.

    Args:
        specimen: Which one.
        edge: Edge of the square that the part is drawn in, in pixels.
        area: The rows and columns of it that are drawn; None is all.
        without: A feature that was forgotten.
    """
    surface = Surface(edge, specimen.pose, area)
    rng = np.random.default_rng([*specimen.key, 1])
    _lay_belt(surface, rng)
    _lay_plate(surface, rng, specimen)
    _turn_bore(surface, rng)
    _mill_slot(surface)
    _mark(surface)
    for feature, angle in zip(FEATURES, specimen.screw_angles, strict=True):
        is_there = feature != without
        if feature.kind == 'screw':
            _sink_screw(surface, feature, angle, is_there=is_there)
        elif feature.kind == 'bushing':
            _press_bushing(surface, feature, is_there=is_there)
        elif is_there:
            _drill(surface, (feature.u, feature.v), 0.0165, 0.006)
    return surface


def is_face(u: float, v: float) -> bool:
    """Whether a point lies on metal, clear of the plate's edge, of the bore and of the slot."""
    on_plate = abs(u) < HALF_PLATE[0] - 0.03 and abs(v) < HALF_PLATE[1] - 0.03
    in_bore = math.hypot(u - _BORE[0], v - _BORE[1]) < _BORE_RADIUS + 0.025
    in_slot = abs(u - _SLOT[0]) < 0.12 and abs(v - _SLOT[1]) < 0.045
    return on_plate and not in_bore and not in_slot


def _lay_belt(surface: Surface, rng: np.random.Generator) -> None:
    """A dark woven conveyor belt, with the plate's shadow on it."""
    phase = rng.uniform(0, 6.28, 2).astype(np.float32)
    warp = np.sin(surface.u * np.float32(330) + phase[0])
    weft = np.sin(surface.v * np.float32(330) + phase[1])
    tone = 0.03 * (1 + 0.3 * warp * weft + 0.12 * clouds(rng, surface, 12))
    for plane, share in zip(surface.colour, (0.9, 1.0, 1.02), strict=True):
        np.multiply(tone, np.float32(share), out=plane)
    drop = 0.014
    distance = rounded_box(
        surface.u + np.float32(drop * TOWARDS_LAMP[0]),
        surface.v + np.float32(drop * TOWARDS_LAMP[1]),
        HALF_PLATE,
        0.045,
    )
    surface.lit -= np.float32(0.8) * surface.blurred(surface.coverage(distance), 0.008)
    surface.height[:] = -0.014


def _lay_plate(surface: Surface, rng: np.random.Generator, specimen: Specimen) -> None:
    distance = rounded_box(surface.u, surface.v, HALF_PLATE, 0.04)
    inside = surface.coverage(distance)
    streaks = brushed(rng, surface) * np.float32(0.085 * specimen.wear)
    blotches = clouds(rng, surface, 5)
    tone = 1 + streaks + np.float32(0.025) * blotches
    red, green, blue = _STEEL
    steel = (red * (1 + specimen.tint), green, blue * (1 - specimen.tint))
    surface.paint(EVERYWHERE, inside, steel, 0.9, tone)
    surface.lit += inside * (1 - surface.lit)
    chamfer = np.float32(0.011)
    slope = np.clip(-distance / chamfer, 0, 1)
    surface.height += inside * (np.float32(0.014) - chamfer * np.float32(0.7) * (1 - slope))


def _turn_bore(surface: Surface, rng: np.random.Generator) -> None:
    """A turned face, a little below the plate, around a bore right through it."""
    window = surface.window(*_BORE, _FACE_RADIUS + 0.01)
    u, v = surface.offset(window, *_BORE)
    radius = length(u, v)
    face = surface.coverage(radius - np.float32(_FACE_RADIUS))
    marks = grooves(rng, radius, _FACE_RADIUS)
    # grooves mirror the lamp in two fans, where they run across its direction
    squared = np.maximum(radius * radius, np.float32(1e-6))
    cos2 = (np.float32(0.22) * (u * u - v * v) + np.float32(0.97) * 2 * u * v) / squared
    fans = np.square(np.square(np.float32(0.5) + np.float32(0.5) * cos2))
    tone = np.float32(0.6) + np.float32(0.07) * marks + np.float32(0.85) * fans
    surface.paint(window, face, _STEEL, 1.0, tone)
    _sink(surface, window, radius - np.float32(_FACE_RADIUS), 0.006, 0.005)
    shadow = length(
        u - np.float32(0.006 * TOWARDS_LAMP[0]), v - np.float32(0.006 * TOWARDS_LAMP[1])
    )
    outside = np.clip((shadow - np.float32(_FACE_RADIUS)) * np.float32(120), 0, 0.75)
    surface.lit[window] *= 1 - face * outside
    _drill(surface, _BORE, _BORE_RADIUS, 0.011)


def _mill_slot(surface: Surface) -> None:
    """A pocket with round ends; its wall shades the side that is nearer to the lamp."""
    half, reach = (0.105, 0.03), 0.022
    window = surface.window(*_SLOT, 0.125)
    u, v = surface.offset(window, *_SLOT)
    distance = rounded_box(u, v, half, half[1])
    inside = surface.coverage(distance)
    # the mill leaves arcs on the floor
    arcs = np.sin(length(u + np.float32(0.3), v) * np.float32(900))
    tone = np.float32(0.62) + np.float32(0.06) * arcs
    surface.paint(window, inside, _STEEL, 0.5, tone)
    away = rounded_box(
        u + np.float32(reach * TOWARDS_LAMP[0]),
        v + np.float32(reach * TOWARDS_LAMP[1]),
        half,
        half[1],
    )
    shade = np.clip(away * np.float32(130) + np.float32(0.4), 0, 0.88)
    surface.lit[window] *= 1 - inside * shade
    _sink(surface, window, distance, 0.009, 0.006)


def _mark(surface: Surface) -> None:
    """An engraved name and a lasered code."""
    lines = text_strokes('ADET', _TEXT, 0.042) + text_strokes('40-7', (_TEXT[0], 0.175), 0.042)
    window = surface.window(_TEXT[0] + 0.08, 0.165, 0.1)
    cut = surface.strokes(lines, 0.0055)[window]
    surface.height[window] -= np.float32(0.003) * surface.blurred(cut, 0.0012)
    surface.paint(window, cut * np.float32(0.6), (0.09, 0.09, 0.09), 0.15)
    window = surface.window(*_CODE, _CODE_HALF * 1.1)
    u, v = surface.offset(window, *_CODE)
    cells = code_cells()
    last = cells.shape[0] - 1
    per_width = np.float32((last + 1) / (2 * _CODE_HALF))
    column = np.floor((u + np.float32(_CODE_HALF)) * per_width).astype(np.intp)
    row = np.floor((v + np.float32(_CODE_HALF)) * per_width).astype(np.intp)
    on_code = (column == np.clip(column, 0, last)) & (row == np.clip(row, 0, last))
    dark = cells[np.clip(row, 0, last), np.clip(column, 0, last)] * on_code
    surface.paint(window, surface.blurred(dark, 0.0008) * np.float32(0.7), (0.09,) * 3, 0.1)


def _drill(surface: Surface, place: Point, radius: float, chamfer: float) -> None:
    """A hole with a chamfer; light from the lamp reaches the wall opposite."""
    window = surface.window(*place, radius + chamfer + 0.01)
    u, v = surface.offset(window, *place)
    rho = length(u, v)
    rim = np.clip((np.float32(radius + chamfer) - rho) / np.float32(chamfer), 0, 1)
    surface.height[window] -= np.float32(0.8 * chamfer) * rim
    inside = surface.coverage(rho - np.float32(radius))
    opposite = -(u * np.float32(TOWARDS_LAMP[0]) + v * np.float32(TOWARDS_LAMP[1]))
    lit_wall = np.clip(opposite / np.float32(radius), 0, 1) * np.clip(
        1 - (np.float32(radius) - rho) / np.float32(0.3 * radius), 0, 1
    )
    surface.paint(window, inside, _HOLE, 0.0, np.float32(0.1) + np.float32(0.9) * lit_wall)
    # the gradient at the rim belongs to the chamfer: nothing inside the hole is lit by its slope
    surface.height[window] *= 1 - inside


def _sink_screw(surface: Surface, feature: Feature, angle: float, *, is_there: bool) -> None:
    """A countersunk screw with a hexagon socket; without it, the threaded hole."""
    head = 0.037
    place = (feature.u, feature.v)
    window = surface.window(*place, head + 0.012)
    u, v = surface.offset(window, *place)
    rho = length(u, v)
    _sink(surface, window, rho - np.float32(head + 0.005), 0.008, 0.008)
    if not is_there:
        _drill(surface, place, 0.024, 0.012)
        return
    gap = surface.coverage(rho - np.float32(head + 0.001))
    surface.paint(window, gap, (0.05, 0.05, 0.052), 0.1)
    disc = surface.coverage(rho - np.float32(head - 0.0025))
    rings = 1 + np.float32(0.05) * np.sin(rho * np.float32(1500))
    surface.paint(window, disc, (0.36, 0.36, 0.34), 0.95, rings)
    edge = np.clip((rho - np.float32(head - 0.01)) / np.float32(0.0075), 0, 1)
    surface.height[window] += disc * (np.float32(0.006) - np.float32(0.005) * edge * edge)
    socket = hexagon(u, v, 0.0155, angle)
    _sink(surface, window, socket, 0.004, 0.003)
    opposite = -(u * np.float32(TOWARDS_LAMP[0]) + v * np.float32(TOWARDS_LAMP[1]))
    floor = np.clip(np.float32(0.05) + opposite * np.float32(5), 0.015, 0.2)
    surface.paint(window, surface.coverage(socket), (1.0, 1.0, 1.0), 0.3, floor)


def _press_bushing(surface: Surface, feature: Feature, *, is_there: bool) -> None:
    """A brass bushing pressed into the plate; without it, its empty seat."""
    place = (feature.u, feature.v)
    if not is_there:
        _drill(surface, place, 0.026, 0.005)
        return
    window = surface.window(*place, 0.04)
    u, v = surface.offset(window, *place)
    rho = length(u, v)
    surface.paint(window, surface.coverage(rho - np.float32(0.0285)), (0.08, 0.07, 0.05), 0.1)
    body = surface.coverage(rho - np.float32(0.0265))
    rings = 1 + np.float32(0.06) * np.sin(rho * np.float32(1700))
    surface.paint(window, body, _BRASS, 0.6, rings)
    round_edge = np.clip((rho - np.float32(0.02)) / np.float32(0.0065), 0, 1)
    surface.height[window] += body * np.float32(0.003) * (1 - round_edge * round_edge)
    _drill(surface, place, 0.0115, 0.004)


def _sink(
    surface: Surface, window: tuple[slice, slice], distance: Plane, depth: float, wall: float
) -> None:
    """Lower what is inside an outline; the wall has the given width as seen from above."""
    share = np.clip(-distance / np.float32(wall), 0, 1)
    surface.height[window] -= np.float32(depth) * share
