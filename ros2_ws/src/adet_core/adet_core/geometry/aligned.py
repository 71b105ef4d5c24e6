# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""From an image that lies anywhere to the canvas, in one step: aligned, cut out and scaled."""

from __future__ import annotations

import numpy as np

from adet_core.geometry.area import Mask, scale_mask
from adet_core.geometry.placement import Placement
from adet_core.image import Image, ImageArray
from adet_core.image.affine import chain, magnification, rescale, warp, warp_image
from adet_core.image.alignment import AlignmentReference


def place_aligned(
    image: Image, reference: AlignmentReference, flat: Placement, float_range: tuple[float, float]
) -> tuple[ImageArray, Placement]:
    """Align an image, and take of it what belongs on the canvas.

    Args:
        image: It is not changed.
        reference: What it is aligned to.
        flat: Where an aligned image lies on the canvas.
        float_range: See `adet_core.image.preprocess`.

    Returns:
        uint8 ``(h, w, 3)``, RGB, of the size of what is placed; and where the image lies.

    Raises:
        ImageError: Its encoding is not supported, or it cannot be aligned.
    """
    lies = reference.align(image, float_range=float_range)
    corner = np.array([[1.0, 0, -flat.taken.x], [0, 1, -flat.taken.y]])
    matrix = chain(lies.matrix, corner, rescale(flat.taken.size, flat.placed.size))
    pixels = warp_image(image, matrix, flat.placed.size, float_range=float_range)
    return pixels, flat._replace(source=image.size, matrix=matrix)


def place_mask_aligned(mask: Mask, placement: Placement) -> Mask:
    """Bring a mask of an aligned image to the canvas.

    Args:
        mask: bool of the whole image, at any scale.
        placement: Of the image.

    Returns:
        bool of the canvas' size.
    """
    assert placement.matrix is not None
    # As fine as the image, or twice as fine as the canvas: no hairline is stepped over.
    fineness = min(2 * magnification(placement.matrix), 1.0)
    height, width = (max(round(edge * fineness), 1) for edge in placement.source)
    small = scale_mask(mask, (height, width)).astype(np.float32)
    matrix = chain(rescale((height, width), placement.source), placement.matrix)
    share = warp(small, matrix, placement.placed.size, outside=0.0)
    mostly: Mask = share >= 0.5
    whole = np.zeros(placement.canvas, np.bool_)
    whole[placement.placed.slices] = mostly if mostly.any() else share > 0
    return whole
