# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of the notebooks: images, scores, and what a model sees in images.

They are made without pyplot, so none is shown twice and none has to be closed. They are white
whatever the page around them is, and their colours differ for colour-blind people too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import csv
from pathlib import Path
from typing import NamedTuple

import cv2
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, PercentFormatter
import numpy as np
import numpy.typing as npt

from adet_core.bundle import Manifest, Threshold
from adet_core.image import ImageArray
from adet_core.inference.detector import Detector
from adet_core.io.labelled import LabelledImage
from adet_core.metrics import auroc, rates_at
from adet_core.overlay import draw_overlay
from adet_core.prediction import Prediction
from adet_core.run_folders import LOGS_FOLDER
from adet_core.scoring import find_regions
from adet_training.calibrate import Tested
from adet_training.dataset import Category

# Okabe, Ito: Color Universal Design, https://jfly.uni-koeln.de/color/
_GOOD, _BAD, _BAND = '#0072B2', '#D55E00', '#F0E442'
_TILE = 2.0
_PANEL = (4.5, 3.2)
_MOST_BINS = 30


class Tile(NamedTuple):
    """One image of a grid.

    Attributes:
        image: uint8 ``(H, W, 3)``, RGB.
        title: Above it.
        mask: bool ``(H, W)``; an outline around it, a little outside. None for no outline.
    """

    image: ImageArray
    title: str = ''
    mask: npt.NDArray[np.bool_] | None = None


def predict_all(detector: Detector, images: Sequence[LabelledImage]) -> Tested:
    """What an exported bundle says of preprocessed images, one at a time as on the robot.

    Args:
        detector: Of a bundle that was exported.
        images: On the canvas of the bundle's geometry, at least one.
    """
    predictions = (detector.run([labelled.pixels]) for labelled in images)
    return Tested(images, Prediction.concatenate(predictions))


def image_grid(rows: Mapping[str, Sequence[Tile]]) -> Figure:
    """Images in rows.

    Args:
        rows: The name of each row, and its images; rows may differ in length.
    """
    columns = max(map(len, rows.values()))
    figure = _figure(columns * _TILE, len(rows) * (_TILE + 0.35))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes_of_row, (name, tiles) in zip(grid, rows.items(), strict=True):
        axes_of_row[0].set_ylabel(name)
        for axes, tile in zip(axes_of_row, tiles, strict=False):
            _show(axes, tile)
        for axes in axes_of_row[len(tiles) :]:
            axes.set_axis_off()
    return figure


def sample_images(data: Category, *, each: int = 5) -> Figure:
    """Normal images to learn from, and anomalous ones to test with where there are any.

    Args:
        data: The images.
        each: How many of both, spread over all there are.
    """
    kinds = {
        'good': data.train,
        'anomalous': [labelled for labelled in data.test if labelled.is_anomalous],
    }
    return image_grid(
        {
            f'{name} ({len(images)})': [
                Tile(labelled.pixels, _short(labelled.path.stem), labelled.mask)
                for labelled in _spread(images, each)
            ]
            for name, images in kinds.items()
            if images
        }
    )


def score_histogram(inspected: Tested, threshold: Threshold) -> Figure:
    """How the scores of good and of anomalous images lie about the threshold.

    Args:
        inspected: Images and their raw scores.
        threshold: Of the score; its uncertain band is drawn where there is one.
    """
    scores, labels = inspected.prediction.scores, inspected.labels
    bins = min(2 * int(np.ceil(np.sqrt(scores.size))), _MOST_BINS)
    edges = np.histogram_bin_edges(scores, bins).tolist()
    figure = _figure(2 * _PANEL[0], _PANEL[1])
    axes = _axes(figure, 'score (raw, in the unit of the model)', 'images')
    for name, chosen, colour in (('good', ~labels, _GOOD), ('anomalous', labels, _BAD)):
        if chosen.any():
            label = f'{name} ({chosen.sum()})'
            axes.hist(scores[chosen], edges, color=colour, alpha=0.6, label=label)
    start = threshold.uncertain_from
    if start is not None:
        label = f'uncertain from {start:.4g}'
        axes.axvspan(start, threshold.value, color=_BAND, alpha=0.5, lw=0, zorder=0, label=label)
    axes.axvline(threshold.value, color='black', label=f'threshold {threshold.value:.4g}')
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(frameon=False, loc='outside right upper')
    return figure


def roc_curve(inspected: Tested, threshold: Threshold) -> Figure:
    """What every threshold would find and reject, and where the bundle's own one lies.

    Args:
        inspected: Images and their raw scores.
        threshold: Of the score.
    """
    scores, labels = inspected.prediction.scores, inspected.labels
    figure = _figure(*_PANEL)
    axes = _axes(figure, 'normal images rejected', 'anomalous images found')
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    area = auroc(scores, labels)
    if area is None:
        text = 'needs normal and anomalous images'
        axes.text(0.5, 0.5, text, ha='center', va='center', transform=axes.transAxes)
        return figure
    # Above the highest score nothing is rejected.
    cuts = [np.inf, *np.unique(scores)[::-1].tolist()]
    rejected, found = np.array([_point(cut, inspected) for cut in cuts]).T
    axes.plot(rejected, found, color=_GOOD, lw=2, label=f'AUROC {area:.3f}')
    axes.plot([0, 1], [0, 1], color='grey', lw=1, ls=':', label='guessing')
    at = f'threshold {threshold.value:.4g}'
    axes.plot(*_point(threshold.value, inspected), 'o', color=_BAD, ms=9, label=at, clip_on=False)
    axes.legend(frameon=False, loc='lower right')
    return figure


def overlay_gallery(inspected: Tested, manifest: Manifest, *, each: int = 3) -> Figure:
    """The worst mistakes and some typical verdicts; each image beside its overlay.

    In the image the true mask is outlined. The overlay is the detector's: the map where it nears
    the pixel threshold, and boxes around regions of images found anomalous.

    Args:
        inspected: Images, their raw scores and maps.
        manifest: Thresholds and score range.
        each: Images of each kind at most.
    """
    rows = {}
    for name, indices in _kinds(inspected, manifest.image_threshold.value):
        tiles = [_pair(inspected, index, manifest) for index in indices[:each].tolist()]
        if tiles:
            rows[f'{name} ({indices.size})'] = [tile for pair in tiles for tile in pair]
    return image_grid(rows)


def loss_curve(folder: Path) -> Figure:
    """The losses of every step of a run.

    Args:
        folder: The run's folder.
    """
    with (folder / LOGS_FOLDER / 'metrics.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.startswith('train_')]
    figure = _figure(_PANEL[0] * max(len(names), 1), _PANEL[1])
    for number, name in enumerate(names, start=1):
        logged = [(int(row['step']), float(row[name])) for row in rows if row[name]]
        axes = _axes(figure, 'step', name.replace('_', ' '), (1, len(names), number))
        axes.plot(*zip(*logged, strict=True), color=_GOOD, lw=1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def trade_off(
    name: str, values: Sequence[float], measured: Mapping[str, Sequence[float | None]]
) -> Figure:
    """What a hyper-parameter costs and gains; one panel for each.

    Args:
        name: Of the hyper-parameter.
        values: That were tried.
        measured: Label with its unit, and what was measured at each value; None is a gap.
    """
    figure = _figure(_PANEL[0] * len(measured), _PANEL[1])
    for number, (label, found) in enumerate(measured.items(), start=1):
        axes = _axes(figure, name, label, (1, len(measured), number))
        axes.plot(values, np.array(found, np.float64), 'o-', color=_GOOD, clip_on=False)
        axes.set_xticks(list(values))
        # From 0 on, chance differences look as small as they are.
        axes.set_ylim(bottom=0)
    return figure


def _figure(width: float, height: float) -> Figure:
    """An empty figure; inches."""
    return Figure(figsize=(width, height), layout='constrained', facecolor='white')


def _axes(
    figure: Figure, x_label: str, y_label: str, place: tuple[int, int, int] = (1, 1, 1)
) -> Axes:
    axes = figure.add_subplot(*place)
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(color='0.9')
    axes.set_axisbelow(True)
    axes.set(xlabel=x_label, ylabel=y_label)
    return axes


def _show(axes: Axes, tile: Tile) -> None:
    axes.imshow(tile.image)
    axes.set_title(tile.title, fontsize='small')
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if tile.mask is None or not tile.mask.any():
        return
    # A little outside, so that it does not hide a small defect; an edge may cut it.
    rows, columns = tile.mask.shape
    margin = max(rows, columns) // 50 + 1
    padded = np.pad(tile.mask, margin + 1).astype(np.uint8)
    grown = cv2.dilate(padded, np.ones((2 * margin + 1,) * 2, np.uint8))
    x, y = (np.arange(-margin - 1, edge + margin + 1) for edge in (columns, rows))
    outline = axes.contour(x, y, grown, [0.5], colors='white', linewidths=1)
    outline.set_path_effects([withStroke(linewidth=2, foreground='black')])
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))


def _short(name: str) -> str:
    return name if len(name) <= 20 else f'{name[:9]}…{name[-10:]}'


def _spread(images: Sequence[LabelledImage], count: int) -> list[LabelledImage]:
    """Some of the images, from first to last: kinds of defects often follow each other."""
    places = np.linspace(0, len(images) - 1, min(count, len(images)))
    return [images[place] for place in np.rint(places).astype(int).tolist()]


def _point(cut: float, inspected: Tested) -> tuple[float, float]:
    """Shares of normal images rejected and of anomalous ones found at a threshold."""
    _, rejected, missed = rates_at(cut, inspected.prediction.scores, inspected.labels)
    assert rejected is not None
    assert missed is not None
    return rejected, 1 - missed


def _kinds(inspected: Tested, threshold: float) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    """The name of each kind of verdict, and its images: those to look at come first."""
    scores, labels = inspected.prediction.scores, inspected.labels
    flagged = scores >= threshold
    order = np.argsort(scores)
    yield 'false rejects', order[(flagged & ~labels)[order]][::-1]
    yield 'false accepts', order[(~flagged & labels)[order]]
    for name, chosen in (('good, passed', ~flagged & ~labels), ('bad, found', flagged & labels)):
        indices = np.flatnonzero(chosen)
        away = np.abs(scores[indices] - np.median(scores[indices])) if indices.size else indices
        yield name, indices[np.argsort(away)]


def _pair(inspected: Tested, index: int, manifest: Manifest) -> tuple[Tile, Tile]:
    labelled, score = inspected.images[index], float(inspected.prediction.scores[index])
    found, threshold = inspected.prediction.maps[index], manifest.pixel_threshold.value
    is_anomalous = score >= manifest.image_threshold.value
    size = labelled.pixels.shape[:2]
    overlay = draw_overlay(
        # To OpenCV's order of colours, and back below.
        labelled.pixels[..., ::-1],
        found,
        find_regions(found, threshold, size) if is_anomalous else (),
        threshold=threshold,
        span=manifest.score_range.span,
    )[..., ::-1]
    name = _short(labelled.path.stem)
    return Tile(labelled.pixels, name, labelled.mask), Tile(overlay, f'score {score:.4g}')
