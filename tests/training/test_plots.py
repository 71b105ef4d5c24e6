# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of the notebooks show what they were given, at its place."""

from __future__ import annotations

from dataclasses import replace
import io
from pathlib import Path
from typing import Any

import cv2
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
import numpy as np
import pytest

from adet_core.bundle import Manifest, open_bundle, Threshold
from adet_core.geometry import Geometry
from adet_core.inference.detector import Detector
from adet_core.io.labelled import LabelledImage
from adet_core.prediction import Prediction
from adet_training import plots
from adet_training.calibrate import Tested
from adet_training.dataset import Category, load_category

pytestmark = pytest.mark.training

SIZE = 64
# Good ones first; 0.5 is a false reject, 0.35 a false accept.
SCORES = [0.1, 0.2, 0.3, 0.5, 0.35, 0.6, 0.9]
LABELS = [False] * 4 + [True] * 3
THRESHOLD = Threshold(value=0.4, method='f1_optimal', normals=4, anomalies=3)


@pytest.fixture(scope='module')
def data(data_root: Path) -> Category:
    return load_category(data_root, 'plate', Geometry.whole((SIZE, SIZE)))


@pytest.fixture(scope='module')
def manifest(deployed: Any) -> Manifest:
    return replace(open_bundle(deployed.bundle).manifest, image_threshold=THRESHOLD)


def inspected(scores: list[float] = SCORES, labels: list[bool] = LABELS) -> Tested:
    maps = np.zeros((len(scores), SIZE, SIZE), np.float32)
    images = [
        LabelledImage(
            Path(f'{number}.png'),
            np.full((SIZE, SIZE, 3), 128, np.uint8),
            ('normal', 'anomaly')[label],
        )
        for number, label in enumerate(labels)
    ]
    return Tested(images, Prediction(np.array(scores, np.float32), maps))


def drawn(figure: Figure) -> bytes:
    """The figure as a notebook shows it; drawing is what finds most mistakes."""
    file = io.BytesIO()
    figure.savefig(file)
    return file.getvalue()


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def row_names(figure: Figure) -> list[str]:
    return [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]


def legend(figure: Figure) -> list[str]:
    found = figure.legends[0] if figure.legends else figure.axes[0].get_legend()
    return [text.get_text() for text in found.get_texts()]


# ---- images


def test_samples_of_both_kinds_are_shown_in_rows(data: Category) -> None:
    figure = plots.sample_images(data, each=3)
    assert row_names(figure) == ['good (12)', 'anomalous (10)']
    good, bad = data.train, [labelled for labelled in data.test if labelled.is_anomalous]
    # From the first to the last.
    expected = [good[0], good[6], good[11], bad[0], bad[4], bad[9]]
    assert titles(figure) == [labelled.path.stem for labelled in expected]
    for axes, labelled in zip(figure.axes, expected, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), labelled.pixels)
    assert [len(axes.collections) for axes in figure.axes] == [0, 0, 0, 1, 1, 1]
    drawn(figure)


def test_samples_without_labelled_images_are_one_row(data: Category) -> None:
    figure = plots.sample_images(replace(data, test=[]), each=100)
    assert row_names(figure) == ['good (12)']
    assert len(figure.axes) == 12


def test_more_than_fits_is_not_written(data: Category) -> None:
    image = data.train[0].pixels
    name = 'a_very_long_name_of_a_image_from_a_camera_0017'
    labelled = LabelledImage(Path(f'{name}.png'), image)
    figure = plots.sample_images(replace(data, train=[labelled, labelled], test=[]))
    assert titles(figure) == ['a_very_lo…amera_0017'] * 2


@pytest.mark.parametrize('place', [np.s_[:], np.s_[30, 30], np.s_[:5, :5]])
def test_a_mask_is_outlined_within_the_image(place: Any) -> None:
    mask = np.zeros((SIZE, SIZE), np.bool_)
    mask[place] = True
    tile = plots.Tile(np.zeros((SIZE, SIZE, 3), np.uint8), mask=mask)
    figure = plots.image_grid({'row': [tile]})
    (axes,) = figure.axes
    (outline,) = axes.collections
    assert axes.get_xlim() == (-0.5, SIZE - 0.5)
    assert axes.get_ylim() == (SIZE - 0.5, -0.5)
    # Around all of the mask, and not far from it.
    (path,) = outline.get_paths()
    rows, columns = np.nonzero(mask)
    x, y = path.vertices.min(axis=0)
    assert columns.min() - 4 < x < columns.min()
    assert rows.min() - 4 < y < rows.min()
    drawn(figure)


@pytest.mark.parametrize('mask', [None, np.zeros((SIZE, SIZE), np.bool_)])
def test_without_a_mask_there_is_no_outline(mask: Any) -> None:
    tile = plots.Tile(np.zeros((SIZE, SIZE, 3), np.uint8), mask=mask)
    figure = plots.image_grid({'row': [tile]})
    assert not figure.axes[0].collections


def test_places_left_over_in_short_rows_are_empty() -> None:
    tile = plots.Tile(np.zeros((SIZE, SIZE, 3), np.uint8))
    figure = plots.image_grid({'short': [tile], 'long': [tile, tile]})
    assert [axes.axison for axes in figure.axes] == [True, False, True, True]


def test_a_figure_is_opaque_white_for_dark_pages() -> None:
    pixels = cv2.imdecode(
        np.frombuffer(drawn(plots.roc_curve(inspected(), THRESHOLD)), np.uint8),
        cv2.IMREAD_UNCHANGED,
    )
    assert pixels[0, 0].tolist() == [255, 255, 255, 255]


# ---- scores


def test_the_histogram_has_the_threshold_at_its_place() -> None:
    figure = plots.score_histogram(inspected(), THRESHOLD)
    (axes,) = figure.axes
    (line,) = axes.lines
    assert set(line.get_xdata()) == {0.4}
    assert legend(figure) == ['good (4)', 'anomalous (3)', 'threshold 0.4']
    assert axes.get_xlabel().startswith('score (raw')
    assert axes.get_ylabel() == 'images'
    good, bad = (sum(bar.get_height() for bar in bars) for bars in axes.containers)
    assert (good, bad) == (4, 3)
    drawn(figure)


def test_the_histogram_shows_the_uncertain_band() -> None:
    figure = plots.score_histogram(inspected(), replace(THRESHOLD, uncertain_from=0.25))
    assert 'uncertain from 0.25' in legend(figure)
    band: Any = next(
        p for p in figure.axes[0].patches if str(p.get_label()).startswith('uncertain')
    )
    assert band.get_x() == 0.25
    assert band.get_x() + band.get_width() == pytest.approx(0.4)


@pytest.mark.parametrize(('label', 'name'), [(False, 'good (2)'), (True, 'anomalous (2)')])
def test_a_histogram_of_one_class(label: bool, name: str) -> None:
    # Beyond the scores the threshold is still to be seen, and equal scores have a bar.
    figure = plots.score_histogram(inspected([0.1, 0.1], [label] * 2), THRESHOLD)
    assert legend(figure) == [name, 'threshold 0.4']
    low, high = figure.axes[0].get_xlim()
    assert low < 0.4 < high
    drawn(figure)


def test_the_classes_have_colours_of_their_own() -> None:
    axes = plots.score_histogram(inspected(), THRESHOLD).axes[0]
    assert [to_hex(bars[0].get_facecolor()) for bars in axes.containers] == ['#0072b2', '#d55e00']


def test_the_roc_curve_goes_through_its_operating_point() -> None:
    figure = plots.roc_curve(inspected(), THRESHOLD)
    (axes,) = figure.axes
    curve, _, point = axes.lines
    rejected, found = curve.get_data()
    assert (rejected[0], found[0]) == (0, 0)
    assert (rejected[-1], found[-1]) == (1, 1)
    assert (np.diff(rejected) >= 0).all()
    assert (np.diff(found) >= 0).all()
    assert point.get_xydata().tolist() == [[0.25, pytest.approx(2 / 3)]]
    assert point.get_xydata()[0].tolist() in curve.get_xydata().tolist()
    # 11 of the 12 pairs of a good and an anomalous image are in order.
    assert legend(figure) == ['AUROC 0.917', 'guessing', 'threshold 0.4']
    drawn(figure)


@pytest.mark.parametrize('label', [False, True])
def test_a_roc_curve_needs_both_classes(label: bool) -> None:
    figure = plots.roc_curve(inspected([0.1, 0.5], [label] * 2), THRESHOLD)
    (axes,) = figure.axes
    assert not axes.lines
    assert [text.get_text() for text in axes.texts] == ['needs normal and anomalous images']
    drawn(figure)


# ---- overlays


def test_the_gallery_shows_the_worst_first(manifest: Manifest) -> None:
    figure = plots.overlay_gallery(inspected(), manifest)
    assert row_names(figure) == [
        'false rejects (1)',
        'false accepts (1)',
        'good, passed (3)',
        'bad, found (2)',
    ]
    images = [title for title in titles(figure) if not title.startswith('score')]
    # Of those that were right the middle one comes first.
    assert images[:3] == ['3', '4', '1']
    assert 'score 0.35' in titles(figure)
    drawn(figure)


def test_the_gallery_of_many_shows_the_most_wrong(manifest: Manifest) -> None:
    scores = [0.5, 0.9, 0.7, 0.3, 0.1, 0.2]
    figure = plots.overlay_gallery(inspected(scores, [False] * 3 + [True] * 3), manifest, each=1)
    assert titles(figure) == ['1', 'score 0.9', '4', 'score 0.1']
    assert row_names(figure) == ['false rejects (3)', 'false accepts (3)']


def test_only_a_image_judged_anomalous_has_boxes(manifest: Manifest) -> None:
    low, high = inspected([0.1], [False]), inspected([0.9], [True])
    for found in (low, high):
        found.prediction.maps[0, 10:20, 10:20] = manifest.pixel_threshold.value * 2
    red = []
    for found in (low, high):
        figure = plots.overlay_gallery(found, manifest)
        overlay = np.asarray(figure.axes[1].images[0].get_array())
        red.append(overlay[10, 10].tolist() == [255, 0, 0])
    assert red == [False, True]


def test_judge_asks_the_exported_graph(deployed: Any, data: Category) -> None:
    found = plots.predict_all(Detector.load(deployed.bundle), data.test)
    golden = open_bundle(deployed.bundle).golden()
    assert found.prediction.maps.shape == (16, SIZE, SIZE)
    assert found.labels.sum() == 10
    normal = next(n for n, labelled in enumerate(data.test) if not labelled.is_anomalous)
    assert found.prediction.scores[normal] == pytest.approx(golden.prediction.scores[0], rel=1e-3)


# ---- curves


def test_each_loss_has_a_panel(tmp_path: Path) -> None:
    log = tmp_path / 'logs' / 'metrics.csv'
    log.parent.mkdir()
    # Lightning leaves a cell empty where a row is about something else.
    log.write_text('epoch,step,train_kl,train_loss\n0,0,1,3.5\n0,1,,2.5\n0,2,0.5,\n')
    figure = plots.loss_curve(tmp_path)
    assert [axes.get_ylabel() for axes in figure.axes] == ['train kl', 'train loss']
    assert [axes.get_xlabel() for axes in figure.axes] == ['step', 'step']
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[0, 1], [2, 0.5]]
    assert figure.axes[1].lines[0].get_xydata().tolist() == [[0, 3.5], [1, 2.5]]
    drawn(figure)


def test_a_trade_off_has_gaps_where_nothing_was_measured() -> None:
    figure = plots.trade_off('rows', [1, 2, 4], {'time (ms)': [5, 6, 9], 'AUROC': [None, 0.9, 1]})
    assert [axes.get_ylabel() for axes in figure.axes] == ['time (ms)', 'AUROC']
    assert [axes.get_xlabel() for axes in figure.axes] == ['rows', 'rows']
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[1, 5], [2, 6], [4, 9]]
    assert np.isnan(figure.axes[1].lines[0].get_ydata()).tolist() == [True, False, False]
    assert [axes.get_ylim()[0] for axes in figure.axes] == [0, 0]
    drawn(figure)
