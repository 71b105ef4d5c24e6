# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From an image of any size to the graph's inputs, and from their maps back to the image.

Training, calibration, export checks, nodes, evaluation and retraining all use `Geometry`.
"""

from adet_core.geometry.area import Area, Mask, parse_box, read_area, scale_mask
from adet_core.geometry.geometry import BATCH, Geometry, Run, Runs
from adet_core.geometry.placement import Box, Placement
from adet_core.geometry.spec import AlignSpec, FITS, ImageSpec, TileSpec

__all__ = [
    'BATCH',
    'FITS',
    'AlignSpec',
    'Area',
    'Box',
    'Geometry',
    'ImageSpec',
    'Mask',
    'Placement',
    'Run',
    'Runs',
    'TileSpec',
    'parse_box',
    'read_area',
    'scale_mask',
]
