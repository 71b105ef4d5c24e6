# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Made-up defects: pieces of a normal image pasted elsewhere in it, brighter or darker.

They stand in for anomalies where nobody has labelled any. They are not real defects: a model that
catches few of them is blind, a model that catches all of them may still miss what matters.

Li, Sohn, Yoon, Pfister: CutPaste, Self-Supervised Learning for Anomaly Detection and Localization,
CVPR 2021, https://arxiv.org/abs/2104.04015
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from adet_core.image import ImageArray

Images = Sequence[ImageArray] | ImageArray

# How much brighter or darker the pasted piece is; the paper changes it by up to 0.1.
STRENGTHS: Mapping[str, float] = {'faint': 0.1, 'clear': 0.25, 'strong': 0.5}
# With 20 normal images, 180 in all: a loss of 3 % of them is seen, and they cost seconds.
PER_STRENGTH = 3
DEFECTS_PER_IMAGE = len(STRENGTHS) * PER_STRENGTH
# The paper's: a patch of this share of the image, or a scar of these shares of its edge.
_PATCH_AREA = (0.02, 0.15)
_SCAR_WIDTH, _SCAR_LENGTH = (0.01, 0.06), (0.05, 0.12)
_ASPECT = (0.3, 3.3)
_JITTER = 0.1
# Of a place that is allowed.
_TRIES = 100


class MadeUpDefects(NamedTuple):
    """How to paste K defects on N normal images; a few kilobytes, whatever the image size.

    Attributes:
        normal: Index of the normal image, int32 ``(K,)``, 0 to N - 1.
        box: Top, left, height, width of the piece, and top, left of where it goes; int32
            ``(K, 6)``, pixels.
        gain: Factor on each channel (R, G, B) of the piece, float32 ``(K, 3)``.
        strength: Index into the names of `STRENGTHS`, int32 ``(K,)``.
    """

    normal: npt.NDArray[np.int32]
    box: npt.NDArray[np.int32]
    gain: npt.NDArray[np.float32]
    strength: npt.NDArray[np.int32]

    def pasted(self, normals: Images, index: int) -> ImageArray:
        """The image with defect ``index``, uint8 ``(H, W, 3)``."""
        return _paste(normals[self.normal[index]], self.box[index], self.gain[index])

    def by_strength(self, scores: npt.NDArray[np.float32]) -> dict[str, tuple[float, ...]]:
        """Scores ``(K,)`` of the defects by the name of their strength, each list ascending."""
        return {
            name: tuple(np.sort(scores[self.strength == number]).astype(float).tolist())
            for number, name in enumerate(STRENGTHS)
        }

    def check(self, normals: int, size: tuple[int, int]) -> None:
        """Refuse what cannot be pasted on ``normals`` images of ``size`` (height, width).

        Raises:
            ValueError: An array has another shape or type, or a value is out of its range.
        """
        count = len(self.normal)
        expected = {
            'normal': (count,),
            'box': (count, 6),
            'gain': (count, 3),
            'strength': (count,),
        }
        for name, shape in expected.items():
            array, kind = getattr(self, name), np.float32 if name == 'gain' else np.int32
            if array.shape != shape or array.dtype != kind:
                msg = f'array {name!r} is {array.dtype} {array.shape}'
                raise ValueError(msg)
        top, left, tall, wide, to_top, to_left = self.box.astype(np.int64).T
        inside = [
            (self.normal >= 0) & (self.normal < normals),
            (self.strength >= 0) & (self.strength < len(STRENGTHS)),
            (np.minimum(top, to_top) >= 0) & (np.maximum(top, to_top) + tall <= size[0]),
            (np.minimum(left, to_left) >= 0) & (np.maximum(left, to_left) + wide <= size[1]),
            (tall >= 1) & (wide >= 1),
            np.isfinite(self.gain).all(axis=1),
        ]
        if not all(holds.all() for holds in inside):
            msg = f'a made-up defect lies outside {normals} images of {size[0]} x {size[1]} pixels'
            raise ValueError(msg)


class PastedDefects(Sequence[ImageArray]):
    """Normal images with defects on them, each made when it is asked for."""

    def __init__(self, defects: MadeUpDefects, normals: Images) -> None:
        """Take the images that the defects' indices refer to."""
        self._defects, self._normals = defects, normals

    def __len__(self) -> int:
        """How many defects there are."""
        return len(self._defects.normal)

    def __getitem__(self, index: Any) -> Any:
        """The image with this defect, uint8 ``(H, W, 3)``."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._defects.pasted(self._normals, index)


def draw_defects(
    normals: int,
    size: tuple[int, int],
    *,
    piece: tuple[int, int] | None = None,
    allowed: npt.NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> MadeUpDefects:
    """Draw `PER_STRENGTH` defects of each strength for each normal image.

    Args:
        normals: How many images there are.
        size: Height and width of the images, in pixels.
        piece: Height and width of the part that a defect is a share of; None: the image.
        allowed: bool of the images' size, where the middle of a defect may lie; None: anywhere.
        seed: The same seed draws the same defects.
    """
    rng = np.random.default_rng(seed)
    strengths = np.tile(np.repeat(np.arange(len(STRENGTHS)), PER_STRENGTH), normals)
    levels = np.array(list(STRENGTHS.values()))[strengths]
    signs = rng.choice([-1.0, 1.0], strengths.size)
    boxes = [_draw_allowed(size, piece or size, allowed, rng) for _ in strengths]
    return MadeUpDefects(
        normal=np.repeat(np.arange(normals), len(STRENGTHS) * PER_STRENGTH).astype(np.int32),
        box=np.array(boxes, np.int32).reshape(-1, 6),
        gain=np.repeat((1 + signs * levels)[:, None], 3, axis=1).astype(np.float32),
        strength=strengths.astype(np.int32),
    )


def cut_paste(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Copy a piece of an image to another place in it, a little brighter or darker.

    Args:
        image: uint8 ``(H, W, 3)``; left as it is.
        rng: Where, and how large: a patch or a thin scar, one as likely as the other.

    Returns:
        uint8 ``(H, W, 3)``.
    """
    size = image.shape[:2]
    box = _draw_box(size, size, rng)
    return _paste(image, np.array(box), rng.uniform(1 - _JITTER, 1 + _JITTER, 3))


def _draw_allowed(
    size: tuple[int, int],
    piece: tuple[int, int],
    allowed: npt.NDArray[np.bool_] | None,
    rng: np.random.Generator,
) -> list[int]:
    """As `_draw_box`; the last of some tries where none goes where it may."""
    for _ in range(_TRIES):
        box = _draw_box(size, piece, rng)
        _, _, tall, wide, top, left = box
        if allowed is None or allowed[top + tall // 2, left + wide // 2]:
            break
    return box


def _draw_box(
    size: tuple[int, ...], piece: tuple[int, ...], rng: np.random.Generator
) -> list[int]:
    """Top, left, height, width of a piece, and top, left of where it goes.

    Its height and width are shares of ``piece``, which is no larger than the image.
    """
    height, width = piece
    if rng.random() < 0.5:
        area, aspect = rng.uniform(*_PATCH_AREA), np.exp(rng.uniform(*np.log(_ASPECT)))
        rows, columns = np.sqrt(area / aspect), np.sqrt(area * aspect)
    else:
        rows, columns = rng.permutation([rng.uniform(*_SCAR_WIDTH), rng.uniform(*_SCAR_LENGTH)])
    tall = int(np.clip(rows * height, 1, height))
    wide = int(np.clip(columns * width, 1, width))
    (top, to_top), (left, to_left) = (
        rng.integers(0, edge - length + 1, 2)
        for edge, length in zip(size, (tall, wide), strict=True)
    )
    return [int(top), int(left), tall, wide, int(to_top), int(to_left)]


def _paste(image: ImageArray, box: npt.NDArray[np.integer], gain: npt.ArrayLike) -> ImageArray:
    top, left, tall, wide, to_top, to_left = box
    piece = image[top : top + tall, left : left + wide] * np.asarray(gain, np.float32)
    pasted: ImageArray = image.copy()
    pasted[to_top : to_top + tall, to_left : to_left + wide] = np.clip(piece, 0, 255)
    return pasted
