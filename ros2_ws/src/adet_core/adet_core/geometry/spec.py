# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a bundle says of how an image becomes the graph's inputs."""

from __future__ import annotations

from dataclasses import dataclass

from adet_core.geometry.placement import Box

FITS = ('stretch', 'letterbox', 'crop')
"""How an image gets the size of the canvas: each axis is scaled by itself; both are scaled alike
and the rest is filled; both are scaled alike and what is too much is cut off on both sides."""

# A hostile bundle must not take all memory.
_LARGEST_CANVAS = 200_000_000
_MOST_TILES = 4096


@dataclass(frozen=True, kw_only=True)
class TileSpec:
    """A grid of overlapping tiles, each of which is one input of the graph.

    Attributes:
        width: Of a tile, in pixels of the image; its height has the proportions of the graph's
            input.
        overlap: Share of a tile's edge that neighbours have in common at least, 0 to 0.75.
        whole: Whether the whole image is one more input, on a coarser scale.
        own_statistics: Whether each tile has statistics of its own; else all share them.
    """

    width: int
    overlap: float
    whole: bool = False
    own_statistics: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no grid."""
        require(8 <= self.width <= 65536, 'width of a tile', self.width)
        require(0 <= self.overlap <= 0.75, 'overlap of tiles', self.overlap)


@dataclass(frozen=True, kw_only=True)
class AlignSpec:
    """How images are aligned; ``reference.npz`` holds what to. See `adet_core.image.alignment`.

    Attributes:
        is_turned: Whether parts lie in any direction; else they are shifted, and turned by a few
            degrees at most.
        scale: Pixels of the reference across one pixel of an image.
        least: Similarity to the reference below which an image cannot be inspected, -1 to 1.
    """

    is_turned: bool
    scale: float
    least: float

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        require(1e-4 <= self.scale <= 1, 'scale of alignment', self.scale)
        require(-1 <= self.least <= 1, 'similarity of alignment', self.least)


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """How an image becomes the graph's input; the graph itself subtracts mean and divides by std.

    Attributes:
        height: Rows of the graph's input, 32 to 8192.
        width: Columns of the graph's input, 32 to 8192.
        mean: Of R, G, B on the 0..1 scale; the graph subtracts it.
        std: Of R, G, B on the 0..1 scale, positive; the graph divides by it.
        fit: How images get the size of the canvas: ``stretch`` scales each axis by itself,
            ``letterbox`` scales both alike and fills the rest, ``crop`` scales both alike and
            cuts off what is too much. Called ``resize`` before schema 5.
        source: Width and height of the training's images, or of aligned ones, to whose pixels
            ``roi`` and ``tiles`` refer; null without any of the three.
        roi: The part of the image that is inspected; null: all of it. ``area.npz`` says more of
            its form.
        tiles: The grid of tiles; null: the whole image is one input.
        align: How images are aligned before anything else; null: they are not.
        light: Brightness, 0 to 255, that images are brought to by a gain, see
            `adet_core.image.light`; null: they stay as they are.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fit: str = 'stretch'
    source: tuple[int, int] | None = None
    roi: Box | None = None
    tiles: TileSpec | None = None
    align: AlignSpec | None = None
    light: float | None = None

    def __post_init__(self) -> None:
        """Refuse sizes and factors no graph can have."""
        require(32 <= self.height <= 8192 and 32 <= self.width <= 8192, 'image size', self)
        require(all(value > 0 for value in self.std), 'image std', self.std)
        require(self.fit in FITS, 'image fit', self.fit)
        require(self.light is None or 0 < self.light <= 255, 'image light', self.light)
        if self.roi is None and self.tiles is None and self.align is None:
            return
        require(self.source is not None, 'image source beside roi, tiles or align', self.source)
        assert self.source is not None
        width, height = self.source
        require(0 < width <= 65536 and 0 < height <= 65536, 'image source', self.source)
        roi = self.region
        inside = roi.x + roi.width <= width and roi.y + roi.height <= height
        require(inside, f'roi in images of {width}x{height}', self.roi)
        rows, columns = self.canvas
        require(rows * columns <= _LARGEST_CANVAS, 'canvas', self.canvas)
        large_enough = rows >= self.height and columns >= self.width
        require(large_enough, 'tiles larger than the image', self.tiles)
        if self.tiles is not None:
            step = 1 - self.tiles.overlap
            count = (rows / (self.height * step) + 1) * (columns / (self.width * step) + 1)
            require(count <= _MOST_TILES, 'number of tiles', round(count))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the graph's input, in pixels."""
        return self.height, self.width

    @property
    def region(self) -> Box:
        """The inspected rectangle, in pixels of ``source``, which must be known."""
        assert self.source is not None
        return self.roi or Box(x=0, y=0, width=self.source[0], height=self.source[1])

    @property
    def scale(self) -> float:
        """Pixels of the canvas per pixel of ``source``, with tiles."""
        assert self.tiles is not None
        return self.width / self.tiles.width

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of what images are brought to, and tiles are cut from; in pixels."""
        if self.tiles is None:
            return self.size
        region, scale = self.region, self.scale
        return round(region.height * scale), round(region.width * scale)


def require(holds: bool, what: str, value: object) -> None:
    """Refuse an impossible value.

    Raises:
        ValueError: ``holds`` is false.
    """
    if not holds:
        msg = f'impossible {what}: {value!r}'
        raise ValueError(msg)
