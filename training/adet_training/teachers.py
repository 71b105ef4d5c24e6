# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Which teacher EfficientAD has: the official one, a backbone, a distilled one, or a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
import hashlib
from pathlib import Path

from anomalib.models.image.efficient_ad.lightning_model import WEIGHTS_DOWNLOAD_INFO

from adet_core.bundle import BackboneSpec
from adet_core.progress import ProgressCallback
from adet_training.backbone import (
    Backbone,
    hash_file,
    load_backbone,
    load_into,
    MEAN,
    read_weights,
    STD,
)
from adet_training.backbone_teacher import BackboneTeacher
from adet_training.cache_folder import cache_folder, make_once
from adet_training.distill import distill_file, IMAGE, make_teacher
from adet_training.download import download_and_unpack, DownloadError
from adet_training.natural import DrawnImages, NONE, open_natural

AUTO, OFFICIAL, BACKBONE, DISTILLED = 'auto', 'official', 'backbone', 'distilled'

_FILE = 'teacher.pth'


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a teacher is distilled.

    Attributes:
        model_size: Of the teacher, a key of `adet_training.distill.SIZES`.
        backbone: timm's name of the network it learns from, or that is the teacher.
        layers: Its layers, finest first.
        weights: Of the backbone, see `adet_training.backbone.load_backbone`.
        natural_images: What it learns on, see `adet_training.natural.find_natural`; drawn textures
            instead of none.
        pieces: Pieces of images that its last layer is solved with.
        steps: Steps after that.
    """

    model_size: str
    backbone: str
    layers: tuple[str, ...]
    weights: str
    natural_images: str
    pieces: int
    steps: int


def find_teacher(choice: str, *, progress: ProgressCallback, tell: Callable[[str], object]) -> str:
    """What can be had here of what a user asks for; downloads it where that is needed.

    Args:
        choice: ``auto`` takes the official teacher where it can be had, else the backbone;
            ``official``, ``backbone``, ``distilled`` or a file.
        progress: Told the progress.
        tell: Told what was taken and why, in one line.

    Returns:
        The choice; instead of ``auto`` what was taken.

    Raises:
        DownloadError: The official teacher was asked for and cannot be had.
        adet_core.errors.ConfigError: The cache cannot be written.
    """
    if choice not in {AUTO, OFFICIAL}:
        return choice
    try:
        make_once(
            _official(),
            lambda part: download_and_unpack(WEIGHTS_DOWNLOAD_INFO, part, progress),
            progress,
        )
    except DownloadError as error:
        if choice == OFFICIAL:
            raise DownloadError(f'teacher={OFFICIAL}: {error}; give a file') from None
        tell(f'teacher={BACKBONE}: the official teacher cannot be had; {error}')
        return BACKBONE
    if choice == AUTO:
        tell(f'teacher={OFFICIAL}: that of Anomalib, in {_official()}')
    return OFFICIAL


def open_teacher(
    choice: str, recipe: Recipe, *, progress: ProgressCallback, tell: Callable[[str], object]
) -> Backbone:
    """A teacher; one that is distilled is kept for the next time.

    Args:
        choice: What `find_teacher` returned; ``auto`` is the backbone.
        recipe: How one is distilled.
        progress: Told the progress.
        tell: Told that one is distilled now.

    Raises:
        adet_core.errors.ConfigError: The file is no teacher of that size, the backbone's weights
            cannot be used, or the cache cannot be written.
    """
    if choice in {AUTO, BACKBONE}:
        source = load_backbone(recipe.backbone, recipe.layers, recipe.weights, seed=0)
        return source._replace(network=BackboneTeacher.of(source))
    if choice == DISTILLED:
        return _distilled(recipe, progress, tell)
    if choice != OFFICIAL:
        return _read(Path(choice), recipe.model_size)
    weights = _official() / 'efficientad_pretrained_weights'
    found = _read(weights / f'pretrained_teacher_{recipe.model_size}.pth', recipe.model_size)
    return _from(found, f'{found.spec.source} of Anomalib')


def _distilled(
    recipe: Recipe, progress: ProgressCallback, tell: Callable[[str], object]
) -> Backbone:
    source = load_backbone(recipe.backbone, recipe.layers, recipe.weights, seed=0)
    images = open_natural(recipe.natural_images, IMAGE) or DrawnImages(IMAGE)
    kind = recipe.natural_images if recipe.natural_images != NONE else images.identity
    told = (
        recipe.model_size,
        source.spec,
        images.identity,
        recipe.pieces,
        recipe.steps,
    )
    key = hashlib.sha256(repr(told).encode()).hexdigest()
    folder = cache_folder() / 'teachers' / f'{recipe.model_size}_{key[:16]}'

    def make(part: Path) -> None:
        tell(
            f'distils a teacher from {recipe.backbone} on images of natural_images={kind}; '
            f'kept in {folder} for the next time'
        )
        distill_file(
            part / _FILE,
            model_size=recipe.model_size,
            backbone=source,
            images=images,
            solved=recipe.pieces,
            steps=recipe.steps,
            # Not that of the training: it is made once.
            seed=0,
            progress=progress,
        )

    make_once(folder, make, progress)
    found = _read(folder / _FILE, recipe.model_size)
    spec = source.spec
    text = f'distilled from {spec.name}, {spec.source}, with images of natural_images={kind}'
    return _from(found, text, weights=spec.weights)


def _from(found: Backbone, source: str, *, weights: str = 'file') -> Backbone:
    return found._replace(spec=replace(found.spec, source=source, weights=weights))


def _read(path: Path, model_size: str) -> Backbone:
    teacher = make_teacher(model_size)
    load_into(teacher, read_weights(path, remedy='teacher takes a file'), path)
    spec = BackboneSpec(
        name=f'pdn_{model_size}',
        layers=(),
        weights='file',
        source=path.name,
        sha256=hash_file(path),
    )
    return Backbone(spec, teacher, MEAN, STD)


def _official() -> Path:
    return cache_folder() / 'efficientad_teachers'
