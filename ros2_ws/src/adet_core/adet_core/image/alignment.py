# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Registration: shifted or turned parts are brought to lie like a reference.

The coarse step finds a shift by phase correlation, or any direction in polar coordinates. The fine
step maximises the enhanced correlation coefficient: Evangelidis, Psarakis: Parametric Image
Alignment Using Enhanced Correlation Coefficient Maximization, IEEE TPAMI 30(10), 2008. Both work
on a small grey copy of the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
import math
from typing import NamedTuple

import cv2
import numpy as np

from adet_core.errors import ImageError
from adet_core.image.affine import chain, invert, Matrix, rescale, warp
from adet_core.image.pixels import Image, ImageArray
from adet_core.image.polar import find_part, Plane, PolarView
from adet_core.image.preprocess import preprocess

# Longer side of the small copy of the first training image, in pixels.
_EDGE = 256
# Least share of the training images' median similarity. Parts with a large defect keep more; an
# empty image or another part does not.
_LEAST_SHARE = 0.6
# Similarity from which a training image counts as aligned.
_ALIKE = 0.4
# The fine step: iterations, the change that ends them, and its blur in pixels.
_ITERATIONS, _EPSILON, _BLUR = 40, 1e-4, 5
# Ratio of the axes from which a part has a direction.
_LONG = 1.1
# Margin around the part in the reference, as a share of its longer side.
_MARGIN = 0.03
# Training images that the reference is made of.
_MOST = 60


class AlignmentError(ImageError):
    """An image shows nothing that lies like the reference."""


class Alignment(NamedTuple):
    """How an image lies.

    Attributes:
        matrix: From pixels of the image to pixels of the reference.
        similarity: Correlation with the reference, 1 where they are alike.
    """

    matrix: Matrix
    similarity: float

    @property
    def inverse(self) -> Matrix:
        """From pixels of the reference to pixels of the image."""
        return invert(self.matrix)


@dataclass(frozen=True, eq=False)
class AlignmentReference:
    """What images are aligned to.

    Attributes:
        pixels: uint8 ``(h, w)``, grey: the mean of aligned training images, made small.
        scale: Pixels of it across one pixel of an image.
        is_turned: Whether parts lie in any direction; else they are shifted, and turned by a few
            degrees at most.
        least: Similarity below which an image counts as not alike.
    """

    pixels: ImageArray
    scale: float
    is_turned: bool
    least: float = 0.0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an aligned image, in pixels of the images."""
        height, width = (max(round(edge / self.scale), 1) for edge in self.pixels.shape)
        return height, width

    def align(self, image: Image, *, float_range: tuple[float, float] = (0.0, 1.0)) -> Alignment:
        """Find how an image lies.

        Raises:
            AlignmentError: It is not alike enough.
            ImageError: Its pixels do not fit its encoding.
        """
        small = shrink(image, self.scale, float_range)
        found = self.match(small.plane)
        if not found.similarity >= self.least:
            msg = (
                f'the image cannot be aligned: its similarity to the reference is '
                f'{found.similarity:.2f}, less than {self.least:.2f}'
            )
            raise AlignmentError(msg)
        enlarge = rescale(self.pixels.shape, self.size)
        return Alignment(chain(small.matrix, found.matrix, enlarge), found.similarity)

    def match(self, plane: Plane) -> Alignment:
        """How a small copy of an image lies, in its pixels; a similarity of 0 if nowhere."""
        guesses = self._guesses(plane)
        if not guesses:
            return Alignment(np.eye(2, 3), 0.0)
        seen = [warp(plane, guess, self._plane.shape) for guess in guesses]
        best = int(np.argmax([_correlation(self._plane, one) for one in seen]))
        stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, _ITERATIONS, _EPSILON)
        try:
            # Of what the guess leaves: OpenCV's search knows turns of less than 90 degrees alone.
            similarity, rest = cv2.findTransformECC(
                self._plane,
                seen[best],
                np.eye(2, 3, dtype=np.float32),
                cv2.MOTION_EUCLIDEAN,
                stop,
                None,
                _BLUR,
            )
        except cv2.error:
            # It found no way to improve: the two have too little in common.
            return Alignment(np.eye(2, 3), 0.0)
        return Alignment(chain(guesses[best], invert(rest)), float(similarity))

    def _guesses(self, plane: Plane) -> list[Matrix]:
        """How a small copy may lie."""
        if self.is_turned:
            return self._polar.towards(plane) if self._polar else []
        height, width = (max(pair) for pair in zip(plane.shape, self._plane.shape, strict=True))
        one, other = (_padded(each, height, width) for each in (self._plane, plane))
        (x, y), _ = cv2.phaseCorrelate(one, other)
        return [np.array([[1, 0, -x], [0, 1, -y]]), np.eye(2, 3)]

    @cached_property
    def _plane(self) -> Plane:
        return self.pixels.astype(np.float32)

    @cached_property
    def _polar(self) -> PolarView | None:
        return PolarView.of(self._plane)


class Small(NamedTuple):
    """A small grey copy of an image.

    Attributes:
        plane: Its pixels.
        matrix: From pixels of the image to those of the copy.
    """

    plane: Plane
    matrix: Matrix


def shrink(image: Image, scale: float, float_range: tuple[float, float] = (0.0, 1.0)) -> Small:
    """Make a small grey copy of an image.

    Raises:
        ImageError: Its pixels do not fit its encoding.
    """
    height, width = (max(round(edge * scale), 8) for edge in image.size)
    rgb = preprocess(image, (height, width), float_range=float_range)
    plane = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return Small(plane, rescale(image.size, (height, width)))


def learn_reference(
    images: Iterable[Image],
    *,
    is_turned: bool,
    float_range: tuple[float, float] = (0.0, 1.0),
) -> AlignmentReference:
    """Make a reference of normal images: their mean, once they are aligned.

    The reference of turned parts is the box around the part, with a margin; a long part lies
    level in it. That of shifted parts is the whole image.

    Args:
        images: Training images; the first decides what the others are first aligned to. Some tens
            are enough, and no more than 60 are read.
        is_turned: Whether parts lie in any direction.
        float_range: See `adet_core.image.preprocess`.

    Raises:
        AlignmentError: The first image shows no part on a plain ground, or most images do not
            lie like it.
        ImageError: An image's pixels do not fit its encoding.
        ValueError: There are no images.
    """
    planes: list[Plane] = []
    scale = 1.0
    for image in images:
        if not planes:
            scale = min(_EDGE / max(image.size), 1.0)
        planes.append(shrink(image, scale, float_range).plane)
        if len(planes) == _MOST:
            break
    if not planes:
        msg = 'a reference needs at least one image'
        raise ValueError(msg)
    reference = AlignmentReference(
        _level(planes[0]) if is_turned else _grey(planes[0]), scale, is_turned
    )
    # The first image's place is as good as any, but the mean of all is a better likeness.
    for _ in range(2):
        reference, found = _mean(reference, planes)
    alike = [one.similarity for one in found if one.similarity >= _ALIKE]
    if 2 * len(alike) <= len(planes):
        msg = (
            f'the images cannot be aligned: {len(planes) - len(alike)} of {len(planes)} do not '
            'lie like the first; train without alignment'
        )
        raise AlignmentError(msg)
    return replace(reference, least=_LEAST_SHARE * float(np.median(alike)))


def _mean(
    reference: AlignmentReference, planes: Sequence[Plane]
) -> tuple[AlignmentReference, list[Alignment]]:
    """The mean of the images as they lie like a reference, and how they lie."""
    found = [reference.match(plane) for plane in planes]
    lie = [
        warp(plane, one.matrix, reference.pixels.shape)
        for plane, one in zip(planes, found, strict=True)
        if one.similarity >= _ALIKE
    ]
    if not lie:
        return reference, found
    return replace(reference, pixels=_grey(np.mean(lie, axis=0, dtype=np.float32))), found


def _level(plane: Plane) -> ImageArray:
    """The box around the part that an image shows; a long part is turned to lie level.

    Raises:
        AlignmentError: It shows none.
    """
    rows, columns = np.nonzero(find_part(plane))
    if len(rows) < 2:
        msg = 'the first image shows no part on a plain ground; train without alignment'
        raise AlignmentError(msg)
    points = np.stack([columns, rows], axis=1).astype(np.float64)
    centre = points.mean(axis=0)
    spread, axes = np.linalg.eigh(np.cov((points - centre).T))
    long = axes[:, 1] if spread[1] > _LONG**2 * spread[0] else np.array([1.0, 0.0])
    # Turned by less than half a turn, so that what is up stays so where it can.
    long = long if long[0] >= 0 else -long
    turn = np.array([[long[0], long[1]], [-long[1], long[0]]])
    level = (points - centre) @ turn.T
    low, high = level.min(axis=0), level.max(axis=0)
    margin = _MARGIN * float((high - low).max())
    width, height = (math.ceil(edge + 2 * margin) for edge in high - low)
    corner = (low + high) / 2 - np.array([width - 1, height - 1]) / 2
    return _grey(warp(plane, np.column_stack([turn, -turn @ centre - corner]), (height, width)))


def _grey(plane: Plane) -> ImageArray:
    return np.clip(np.rint(plane), 0, 255).astype(np.uint8)


def _padded(plane: Plane, height: int, width: int) -> Plane:
    down, right = height - plane.shape[0], width - plane.shape[1]
    return np.asarray(
        cv2.copyMakeBorder(plane, 0, down, 0, right, cv2.BORDER_REPLICATE), np.float32
    )


def _correlation(one: Plane, other: Plane) -> float:
    return float(cv2.matchTemplate(one, other, cv2.TM_CCOEFF_NORMED)[0, 0])
