# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with the part, from hardly visible to obvious.

Each defect changes a surface in place. Severity is 0 for the faintest and 1 for the strongest;
larger values are tried when a defect turned out to be invisible.
"""

from __future__ import annotations

from collections.abc import Callable
import math

import numpy as np

from .part import EVERYWHERE, HALF_PLATE, is_face, TOWARDS_LAMP
from .surface import Colour, length, Plane, Point, Surface
from .texture import clouds

MISSING = 'missing'

STAINS: tuple[Colour, ...] = (
    (0.12, 0.085, 0.045),  # oil
    (0.26, 0.1, 0.035),  # rust
    (0.15, 0.15, 0.3),  # heat
    (0.08, 0.08, 0.085),  # soot
)
FIBRES: tuple[Colour, ...] = (
    (0.02, 0.02, 0.025),
    (0.03, 0.06, 0.2),
    (0.3, 0.05, 0.04),
    (0.7, 0.7, 0.66),
)


def somewhere(rng: np.random.Generator) -> Point:
    """A point on the face of the part."""
    while True:
        u, v = (float(rng.uniform(-half, half)) for half in HALF_PLATE)
        if is_face(u, v):
            return u, v


def curve(
    rng: np.random.Generator, start: Point, reach: float, bend: float, wander: float
) -> list[Point]:
    """A curved line of 32 points.

    Args:
        rng: Source of chance.
        start: Its first point.
        reach: Its length.
        bend: By how much it turns altogether, in radians.
        wander: Standard deviation of the turn at each point, in radians.
    """
    steps = 31
    turns = rng.normal(bend / steps, wander, steps)
    heading = rng.uniform(0, 2 * math.pi) + np.cumsum(turns)
    u = start[0] + np.concatenate(([0], np.cumsum(np.cos(heading)))) * (reach / steps)
    v = start[1] + np.concatenate(([0], np.cumsum(np.sin(heading)))) * (reach / steps)
    return list(zip(u.tolist(), v.tolist(), strict=True))


def _moved(lines: list[list[Point]], u: float, v: float) -> list[list[Point]]:
    return [[(point[0] + u, point[1] + v) for point in line] for line in lines]


def on_metal(surface: Surface, shape: Plane) -> Plane:
    """Keep only what lies on metal: nothing of a hole, hardly anything of a mark."""
    return np.asarray(shape * np.clip(surface.gloss * np.float32(2), 0, 1), np.float32)


def _scratch(surface: Surface, rng: np.random.Generator, severity: float) -> None:
    """A groove, sometimes with a second one beside it, deeper in places."""
    reach = rng.uniform(0.08, 0.16) + 0.2 * severity * rng.uniform(0.4, 1)
    line = curve(rng, somewhere(rng), reach, rng.normal(0, 0.7), 0.035)
    lines = [line]
    if rng.random() < 0.35:
        apart = rng.uniform(0.006, 0.014, 2)
        lines += _moved([line[4:-5]], float(apart[0]), float(-apart[1]))
    is_bright = rng.random() < 0.6
    groove = on_metal(surface, surface.strokes(lines, 0.004 + 0.0035 * severity))
    pressure = clouds(rng, surface, 9) * np.float32(0.35) + np.float32(0.85)
    groove *= np.clip(pressure, 0.15, 1)
    surface.height -= np.float32(0.0008 + 0.0026 * severity) * surface.blurred(groove, 0.001)
    alpha = groove * np.float32(min(0.36 + 0.6 * severity, 0.95))
    if is_bright:
        surface.paint(EVERYWHERE, alpha, (0.5, 0.51, 0.52), 1.5)
    else:
        surface.paint(EVERYWHERE, alpha, (0.07, 0.07, 0.075), 0.2)


def _dent(surface: Surface, rng: np.random.Generator, severity: float) -> None:
    """A blow: an oval hollow with a low rim around it."""
    radius = rng.uniform(0.02, 0.032) + 0.022 * severity
    slope = 0.09 + 0.42 * severity
    stretch, turn = rng.uniform(1, 1.6), rng.uniform(0, math.pi)
    place = somewhere(rng)
    window = surface.window(*place, radius * 1.6 * stretch)
    u, v = surface.offset(window, *place)
    cos, sin = np.float32(math.cos(turn)), np.float32(math.sin(turn))
    along = (cos * u + sin * v) * np.float32(1 / (radius * stretch))
    across = (cos * v - sin * u) * np.float32(1 / radius)
    rho = length(along, across)
    uneven = clouds(rng, surface, 14)[window]
    rho *= 1 + np.float32(0.06) * uneven
    hollow = np.square(np.maximum(1 - rho * rho, 0))
    rim = np.exp(-np.square((rho - np.float32(1.1)) * np.float32(5)))
    shape = np.float32(0.12) * rim - hollow
    surface.height[window] += np.float32(radius * slope * 0.65) * shape


def _stain(surface: Surface, rng: np.random.Generator, severity: float) -> None:
    """A discoloured patch with a soft edge, sometimes darker along it as where a drop dried."""
    radius = rng.uniform(0.04, 0.07) + 0.045 * severity
    strength = min(0.26 + 0.6 * severity, 0.9)
    colour = STAINS[int(rng.integers(len(STAINS)))]
    has_ring = rng.random() < 0.5
    place = somewhere(rng)
    window = surface.window(*place, radius * 1.8)
    u, v = surface.offset(window, *place)
    uneven = clouds(rng, surface, 11)[window]
    depth = 1 - length(u, v) / np.float32(radius) + np.float32(0.28) * uneven
    patch = np.clip(depth * np.float32(1.8), 0, 1)
    alpha = patch * patch * (3 - 2 * patch)
    if has_ring:
        ring = np.exp(-np.square((depth - np.float32(0.25)) * np.float32(6)))
        alpha *= np.float32(0.65) + np.float32(0.35) * ring
    alpha *= np.float32(strength) * np.clip(surface.gloss[window] * np.float32(4), 0, 1)
    surface.paint(window, alpha, colour, 0.25)


def _contamination(surface: Surface, rng: np.random.Generator, severity: float) -> None:
    """A chip, a fibre or crumbs that lie on the part and shade it a little."""
    place = somewhere(rng)
    kind = int(rng.integers(3))
    if kind == 0:
        drop(surface, [_chip(rng, place, severity)], 0.006 + 0.004 * severity, (0.4, 0.37, 0.3))
    elif kind == 1:
        reach = rng.uniform(0.06, 0.12) + 0.16 * severity
        line = curve(rng, place, reach, rng.normal(0, 2.5), 0.22)
        colour = FIBRES[int(rng.integers(len(FIBRES)))]
        drop(surface, [line], 0.0032 + 0.0022 * severity, colour)
    else:
        crumbs = _crumbs(rng, place, severity)
        drop(surface, crumbs, 0.006 + 0.005 * severity, (0.045, 0.04, 0.025))


def _chip(rng: np.random.Generator, place: Point, severity: float) -> list[Point]:
    """Curled swarf: a spiral pulled out of shape."""
    turns = np.linspace(0, rng.uniform(1.2, 2.4) * 2 * math.pi, 60)
    radius = np.linspace(0.3, 1, 60) * (0.011 + 0.018 * severity)
    pull = rng.normal(0, 0.004, 2)
    start = rng.uniform(0, 2 * math.pi)
    u = place[0] + radius * np.cos(turns + start) + pull[0] * turns
    v = place[1] + 0.7 * radius * np.sin(turns + start) + pull[1] * turns
    return list(zip(u.tolist(), v.tolist(), strict=True))


def _crumbs(rng: np.random.Generator, place: Point, severity: float) -> list[list[Point]]:
    """Short strokes, scattered."""
    count = round(3 + 9 * severity)
    crumbs = []
    for _ in range(count):
        du, dv = rng.normal(0, 0.018 + 0.014 * severity, 2)
        lu, lv = rng.normal(0, 0.0025, 2)
        u, v = place[0] + float(du), place[1] + float(dv)
        crumbs.append([(u, v), (u + float(lu), v + float(lv))])
    return crumbs


def drop(surface: Surface, lines: list[list[Point]], width: float, colour: Colour) -> None:
    """Lay something that consists of strokes on the part, with its shadow."""
    away = 0.9 * width
    shadow = surface.strokes(
        _moved(lines, -away * TOWARDS_LAMP[0], -away * TOWARDS_LAMP[1]), width * 1.2
    )
    surface.lit *= 1 - np.float32(0.6) * on_metal(surface, surface.blurred(shadow, 0.0022))
    shape = surface.strokes(lines, width)
    surface.height += np.float32(0.45 * width) * surface.blurred(shape, 0.3 * width)
    surface.paint(EVERYWHERE, shape * np.float32(0.95), colour, 0.35)
    surface.lit += shape * (1 - surface.lit)


APPLY: dict[str, Callable[[Surface, np.random.Generator, float], None]] = {
    'scratch': _scratch,
    'dent': _dent,
    'stain': _stain,
    'contamination': _contamination,
}
"""Those that change a finished part."""

DEFECTS = ('scratch', 'dent', 'stain', MISSING, 'contamination')
"""All kinds, in the order in which images show them."""
