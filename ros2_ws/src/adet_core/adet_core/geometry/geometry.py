# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The one class that brings images to the graph and its maps back.

An image of any size is placed on a canvas of one size (`Geometry.place`). The graph's inputs are
cut from the canvas (`Geometry.views`): the canvas itself, or a grid of tiles. What the graph says
of them is joined to one score and one map of the canvas (`Geometry.join`), which
`Placement.to_source` brings to the image's frame. Score and map depend on the canvas alone, so
canvases can be kept instead of images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import cv2
import numpy as np
import numpy.typing as npt

from adet_core.errors import ImageError
from adet_core.geometry.aligned import place_aligned, place_mask_aligned
from adet_core.geometry.area import Mask, scale_mask
from adet_core.geometry.grid import Blend, grid
from adet_core.geometry.placement import Box, Placement
from adet_core.geometry.spec import ImageSpec
from adet_core.image import Image, ImageArray, preprocess
from adet_core.image.alignment import AlignmentReference
from adet_core.image.light import normalise_light
from adet_core.prediction import Prediction
from adet_core.scoring import AnomalyMap

BATCH = 2
"""Tiles that the graph gets at once: memory stays bounded. On one core and on two, more of them
take up to a fifth more time, one alone a little more."""

# Proportions that differ by less are the same: sizes are rounded.
_ALIKE = 0.01

Run = Callable[[npt.NDArray[np.uint8]], Prediction]
"""What predicts uint8 ``(N, H, W, 3)``, RGB, of the graph's size."""

Runs = Run | Sequence[Run]
"""What predicts any input of an image; or one for each input, in the order of `Geometry.views`."""


class Geometry:
    """How images of any size become inputs of one graph, and maps of these the image's map.

    Attributes:
        spec: What it was made from.
        size: Height and width of the canvas, in pixels.
        tiles: The inputs that are cut from the canvas, in their order; without ``tiles`` the
            canvas itself. Only those are here that touch the inspected area.
        inspected: bool ``(H, W)`` of the canvas, where it is inspected; None: everywhere.
        reference: What images are aligned to; None: they are not.
    """

    def __init__(
        self,
        spec: ImageSpec,
        inspected: Mask | None = None,
        reference: AlignmentReference | None = None,
    ) -> None:
        """Lay out the tiles.

        Args:
            spec: As the bundle has it.
            inspected: bool of the canvas' size, what ``area.npz`` holds; None: everywhere.
            reference: What images are aligned to; None where ``spec`` has no ``align``.

        Raises:
            ValueError: The area has another size, nothing is inspected, or the reference is not
                that of the ``spec``.
        """
        if (spec.align is None) != (reference is None):
            msg = 'an image to align to belongs to image align, and to nothing else'
            raise ValueError(msg)
        if reference is not None and reference.size[::-1] != spec.source:
            msg = f'the reference is made for {reference.size}, image source is {spec.source}'
            raise ValueError(msg)
        self.spec, self.size = spec, spec.canvas
        if inspected is not None and (inspected.shape != self.size or not inspected.any()):
            msg = f'the inspected area of {inspected.shape} does not fit a canvas of {self.size}'
            raise ValueError(msg)
        overlap = spec.tiles.overlap if spec.tiles else 0.0
        every = grid(self.size, spec.size, overlap)
        self.tiles = tuple(
            tile for tile in every if inspected is None or inspected[tile.slices].any()
        )
        self._whole = bool(spec.tiles and spec.tiles.whole and len(every) > 1)
        self._is_plain = len(every) == 1 and inspected is None
        self._blend = None if len(every) == 1 else Blend(self.size, self.tiles, overlap)
        self.inspected, self.reference = inspected, reference
        # What a letterbox is filled with: after normalisation it is 0.
        self._filling = np.rint(np.array(spec.mean) * 255).astype(np.uint8)

    @classmethod
    def whole(cls, size: tuple[int, int]) -> Geometry:
        """Images of any size, each axis scaled by itself: an image is one input of the graph.

        Args:
            size: Height and width of the graph's input, in pixels.
        """
        height, width = size
        return cls(ImageSpec(height=height, width=width, mean=(0.0,) * 3, std=(1.0,) * 3))

    @property
    def is_plain(self) -> bool:
        """Whether the canvas is the graph's one input, all of it inspected."""
        return self._is_plain

    @property
    def inputs(self) -> int:
        """How many inputs of the graph an image becomes."""
        return len(self.tiles) + self._whole

    @property
    def has_own_statistics(self) -> bool:
        """Whether each input of an image has statistics of its own."""
        return self.inputs > 1 and self.spec.tiles is not None and self.spec.tiles.own_statistics

    def placement(self, size: tuple[int, int]) -> Placement:
        """Where an image lies on the canvas, or what `place` has aligned.

        Args:
            size: Its height and width, in pixels.

        Raises:
            ImageError: Images of that size cannot be inspected; says why.
        """
        window = self._window(size)
        rows, columns = self.size
        placed = Box(x=0, y=0, width=columns, height=rows)
        if self.spec.fit == 'letterbox':
            scale = min(rows / window.height, columns / window.width)
            height = min(max(round(window.height * scale), 1), rows)
            width = min(max(round(window.width * scale), 1), columns)
            x, y = (columns - width) // 2, (rows - height) // 2
            placed = Box(x=x, y=y, width=width, height=height)
        elif self.spec.fit == 'crop':
            scale = max(rows / window.height, columns / window.width)
            height = min(max(round(rows / scale), 1), window.height)
            width = min(max(round(columns / scale), 1), window.width)
            x, y = (window.width - width) // 2, (window.height - height) // 2
            window = Box(x=window.x + x, y=window.y + y, width=width, height=height)
        found = Placement(size, window, placed, self.size)
        self._check_detail(found)
        return found

    def place(
        self, image: Image, *, float_range: tuple[float, float] = (0.0, 1.0)
    ) -> tuple[ImageArray, Placement]:
        """Bring an image to the canvas.

        Args:
            image: Of any size and supported encoding; it is not changed.
            float_range: For 32FC1 images, see `adet_core.image.preprocess`.

        Returns:
            uint8 ``(H, W, 3)``, RGB, of the canvas' size; and where the image lies on it.

        Raises:
            ImageError: The encoding is not supported, images of its size cannot be inspected, or
                it cannot be aligned.
        """
        if self.reference is None:
            found = self.placement(image.size)
            part = None if found.takes_all else found.taken.slices
            pixels = preprocess(image, found.placed.size, part=part, float_range=float_range)
        else:
            flat = self.placement(self.reference.size)
            pixels, found = place_aligned(image, self.reference, flat, float_range)
        if self.spec.light is not None:
            pixels = normalise_light(pixels, self.spec.light)
        if found.fills:
            return pixels, found
        canvas = np.empty((*self.size, 3), np.uint8)
        canvas[:] = self._filling
        canvas[found.placed.slices] = pixels
        return canvas, found

    def place_mask(self, mask: Mask, placement: Placement) -> Mask:
        """Bring a mask of an image to the canvas.

        Args:
            mask: bool ``(H, W)`` of the whole image, at any scale.
            placement: Of the image.

        Returns:
            bool of the canvas' size; False outside of the image.
        """
        if placement.matrix is not None:
            return place_mask_aligned(mask, placement)
        factors = (found / size for found, size in zip(mask.shape, placement.source, strict=True))
        taken = mask if placement.takes_all else mask[placement.taken.scaled(*factors).slices]
        scaled = scale_mask(taken, placement.placed.size)
        if placement.fills:
            return scaled
        whole = np.zeros(self.size, np.bool_)
        whole[placement.placed.slices] = scaled
        return whole

    def views(self, canvas: ImageArray) -> list[ImageArray]:
        """The graph's inputs, in the order of ``tiles``, the whole image last.

        Args:
            canvas: uint8 ``(H, W, 3)``, as `place` made it; tiles share its memory.

        Returns:
            uint8 ``(h, w, 3)`` each.
        """
        found = [canvas[tile.slices] for tile in self.tiles]
        if self._whole:
            size = self.spec.size[::-1]
            found.append(np.asarray(cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)))
        return found

    def batches(self, canvas: ImageArray) -> Iterator[npt.NDArray[np.uint8]]:
        """The graph's inputs as it gets them: at most `BATCH` at once, so memory stays bounded.

        One at once where each has statistics of its own.

        Args:
            canvas: As of `views`.

        Returns:
            uint8 ``(N, h, w, 3)``; copies, unless the canvas is the one input.
        """
        views, step = self.views(canvas), 1 if self.has_own_statistics else BATCH
        for first in range(0, len(views), step):
            part = views[first : first + step]
            yield np.stack(part) if len(part) > 1 else np.ascontiguousarray(part[0])[None]

    def input_at(self, canvas: ImageArray, place: tuple[int, int]) -> ImageArray:
        """The tile whose middle is nearest to a place (row, column), uint8 ``(h, w, 3)``.

        Where each tile has statistics of its own it is the first: what is said of one tile alone,
        such as of golden images, is said with the statistics of that one.
        """
        if self.has_own_statistics:
            return canvas[self.tiles[0].slices]
        y, x = place
        rows, columns = self.spec.size
        tile = min(
            self.tiles,
            key=lambda one: max(abs(one.y + rows // 2 - y), abs(one.x + columns // 2 - x)),
        )
        return canvas[tile.slices]

    def join(self, predictions: Iterable[Prediction]) -> Prediction:
        """From what the graph says of one image's inputs to what it says of the image.

        Where the whole image is one input, all of it inspected, that is the graph's own score and
        map. Else the score is the highest value of the joined map where it is inspected.

        Args:
            predictions: Of the inputs of one image in their order, batch by batch; none is
                kept.

        Returns:
            Of one image: the map has the canvas' size, and is -inf where nothing is inspected.
        """
        if self._is_plain:
            return next(iter(predictions))
        joined = self._joined(one for part in predictions for one in part.maps)
        if self.inspected is not None:
            joined = np.where(self.inspected, joined, np.float32(-np.inf))
        return Prediction(np.array([joined.max()], np.float32), joined[None])

    def predict(self, run: Runs, canvas: ImageArray) -> Prediction:
        """Score and map of one image, its inputs in `batches`.

        Args:
            run: Predicts the graph's inputs.
            canvas: uint8 ``(H, W, 3)``, as `place` made it.
        """
        batches = self.batches(canvas)
        if callable(run):
            return self.join(map(run, batches))
        return self.join(own(one) for own, one in zip(run, batches, strict=True))

    def _joined(self, maps: Iterator[AnomalyMap]) -> AnomalyMap:
        if self._blend is None:
            return next(maps)
        joined = self._blend(islice(maps, len(self.tiles)))
        if self._whole:
            size = self.size[::-1]
            coarse = cv2.resize(next(maps), size, interpolation=cv2.INTER_LINEAR)
            np.maximum(joined, coarse, out=joined)
        return joined

    def _window(self, size: tuple[int, int]) -> Box:
        """The part of an image of this size that is inspected, in its pixels."""
        height, width = size
        spec = self.spec
        whole = Box(x=0, y=0, width=width, height=height)
        if spec.source is None or (spec.roi is None and spec.fit != 'stretch'):
            return whole
        columns, rows = spec.source
        if abs(width * rows - height * columns) > _ALIKE * max(width * rows, height * columns):
            what = 'region of interest' if spec.roi else 'grid of tiles'
            msg = (
                f'the image has {width}x{height} pixels, the {what} is set for images of '
                f'{columns}x{rows}; set the camera as it was for the training, or train again'
            )
            raise ImageError(msg)
        if spec.roi is None:
            return whole
        # What is rounded must not reach over the edge.
        found = spec.roi.scaled(height / rows, width / columns)
        x, y = min(found.x, width - 1), min(found.y, height - 1)
        return Box(
            x=x, y=y, width=min(found.width, width - x), height=min(found.height, height - y)
        )

    def _check_detail(self, found: Placement) -> None:
        """Refuse to enlarge an image more than the training did, where tiles look for detail."""
        if self.spec.tiles is None:
            return
        enlarged = min(
            found.placed.width / found.taken.width, found.placed.height / found.taken.height
        )
        if enlarged > max(self.spec.scale, 1.0) * (1 + _ALIKE):
            height, width = found.source
            source = 'x'.join(map(str, self.spec.source or ()))
            msg = (
                f'the image has {width}x{height} pixels, too few for tiles that were set for '
                f'images of {source}; set the camera as it was for the training, or train again'
            )
            raise ImageError(msg)
