# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The marks on the part: single-stroke letters, as an engraving mill cuts them, and a code.

OpenCV's own letters differ between its versions 4 and 5.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from .surface import Point

# strokes on a grid 4 wide and 6 high, y downwards
_GLYPHS: dict[str, tuple[str, ...]] = {
    'A': ('06 20 46', '14 34'),
    'D': ('06 00 20 31 42 44 35 26 06',),
    'E': ('40 00 06 46', '03 33'),
    'T': ('00 40', '20 26'),
    '0': ('10 30 41 45 36 16 05 01 10',),
    '4': ('36 30 04 44',),
    '7': ('00 40 16',),
    '-': ('13 33',),
}


def text_strokes(text: str, corner: Point, height: float) -> list[list[Point]]:
    """The lines that write a text.

    Args:
        text: Made of the few characters that are known here.
        corner: Top left corner.
        height: Height of the letters, in the unit of ``corner``.

    Returns:
        Lines of (u, v) points.
    """
    step = height / 6
    return [
        [
            (corner[0] + (6 * place + int(point[0])) * step, corner[1] + int(point[1]) * step)
            for point in stroke.split()
        ]
        for place, character in enumerate(text)
        for stroke in _GLYPHS[character]
    ]


@cache
def code_cells() -> npt.NDArray[np.float32]:
    """The cells of a two-dimensional code, ``(12, 12)``, 1 where dark; it says nothing."""
    cells = np.random.default_rng(407).integers(0, 2, (12, 12)).astype(np.float32)
    cells[:, 0] = cells[-1, :] = 1
    cells[0, :] = np.arange(12) % 2 == 0
    cells[:, -1] = np.arange(12) % 2 == 1
    return cells
