# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The detector: an image in, a verdict out, all of it as numpy computes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import re

import builders
from builders import flat_statistics, IMAGE_THRESHOLD, make_bundle, make_engine, SIZE, SPAN
import cv2
import numpy as np
import pytest
from test_retrained import report_of

from adet_core.bundle import open_bundle, ScoreRange, write_arrays, write_bundle, write_retrained
from adet_core.errors import BackendError, BundleError, ConfigError, ImageError
from adet_core.image import Image
from adet_core.inference.detector import Detector
from adet_core.scoring import Region


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    """It knows grey 100 as normal."""
    bundle = make_bundle(tmp_path, arrays=flat_statistics())
    make_engine(bundle)
    return Detector.load(tmp_path, model='padim', threads=1)


def _scratched(level: int, scale: int = 1) -> Image:
    """Grey 100 with a brighter patch, at rows 8 to 15 and columns 20 to 31 of the graph's map."""
    pixels = np.full((SIZE * scale, SIZE * scale, 3), 100, np.uint8)
    pixels[8 * scale : 16 * scale, 20 * scale : 32 * scale] = level
    return Image(pixels, 'bgr8')


def test_a_good_part_is_good(detector: Detector) -> None:
    inspection = detector.inspect(_scratched(100))
    assert inspection.score == 0
    assert inspection.normalised_score == pytest.approx(0.5 - IMAGE_THRESHOLD / SPAN)
    assert inspection.threshold == IMAGE_THRESHOLD
    assert inspection.is_anomalous is False
    assert inspection.regions == ()
    assert inspection.anomaly_map.shape == (SIZE, SIZE)
    assert not inspection.anomaly_map.any()
    assert inspection.bundle_id == detector.bundle.bundle_id
    assert inspection.inference_ms > 0


@pytest.mark.parametrize('scale', [1, 4])
def test_a_scratch_is_found_where_it_is(detector: Detector, scale: int) -> None:
    inspection = detector.inspect(_scratched(170, scale))
    assert inspection.score == 70
    assert inspection.normalised_score == pytest.approx((70 - IMAGE_THRESHOLD) / SPAN + 0.5)
    assert inspection.is_anomalous is True
    assert inspection.regions == (Region(20 * scale, 8 * scale, 12 * scale, 8 * scale, 70.0),)
    expected = np.zeros((SIZE, SIZE), np.float32)
    expected[8:16, 20:32] = 70
    np.testing.assert_array_equal(inspection.anomaly_map, expected)


def test_a_score_at_the_threshold_is_anomalous(detector: Detector) -> None:
    inspection = detector.inspect(_scratched(160))
    assert inspection.score == IMAGE_THRESHOLD
    assert inspection.is_anomalous is True
    assert inspection.normalised_score == 0.5


@pytest.mark.parametrize(
    ('above', 'uncertain', 'anomalous'),
    [(51, False, False), (52, True, False), (59, True, False), (60, False, True)],
)
def test_between_the_start_of_the_band_and_the_threshold_a_score_is_uncertain(
    detector: Detector, above: int, uncertain: bool, anomalous: bool
) -> None:
    inspection = detector.inspect(_scratched(100 + above))
    assert inspection.is_uncertain is uncertain
    assert inspection.is_anomalous is anomalous
    assert bool(inspection.regions) is anomalous


def test_the_band_ends_at_the_threshold_in_force(detector: Detector) -> None:
    detector.threshold = 80.0
    assert detector.inspect(_scratched(170)).is_uncertain
    detector.threshold = 40.0
    verdicts = [detector.inspect(_scratched(level)) for level in (130, 145, 155)]
    assert [verdict.is_uncertain for verdict in verdicts] == [False] * 3
    assert [verdict.is_anomalous for verdict in verdicts] == [False, True, True]


def test_a_bundle_without_band_is_never_uncertain(tmp_path: Path) -> None:
    line = replace(builders.manifest().image_threshold, uncertain_from=None)
    make_engine(make_bundle(tmp_path, arrays=flat_statistics(), image_threshold=line))
    detector = Detector.load(tmp_path)
    for level in (100, 155, 200):
        assert detector.inspect(_scratched(level)).is_uncertain is False


def test_a_good_part_has_no_regions_even_where_its_map_is_high(detector: Detector) -> None:
    inspection = detector.inspect(_scratched(150))
    assert inspection.anomaly_map.max() == 50 > builders.PIXEL_THRESHOLD
    assert inspection.is_anomalous is False
    assert inspection.regions == ()


def test_a_p_value_says_how_many_good_parts_score_so_high(detector: Detector) -> None:
    # The bundle knows two scores of normal images, 1 and 2.
    assert detector.inspect(_scratched(100)).p_value == 1
    assert detector.inspect(_scratched(170)).p_value == pytest.approx(1 / 3)


def test_the_threshold_may_be_moved_at_any_time(detector: Detector) -> None:
    detector.threshold = 80.0
    lenient = detector.inspect(_scratched(170))
    detector.threshold = 10.0
    strict = detector.inspect(_scratched(170))
    assert (lenient.is_anomalous, strict.is_anomalous) == (False, True)
    assert (lenient.threshold, strict.threshold) == (80, 10)
    assert lenient.normalised_score == pytest.approx(0.45)


def test_random_images_score_as_numpy_says(tmp_path: Path) -> None:
    arrays = builders.statistics(seed=6)
    make_engine(make_bundle(tmp_path, arrays=arrays))
    rgb = np.random.default_rng(6).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    scores, maps = builders.expected_prediction(rgb, arrays)
    detector = Detector.load(tmp_path)

    answer = detector.run(list(rgb))
    np.testing.assert_allclose(answer.scores, scores, rtol=1e-6)
    np.testing.assert_allclose(answer.maps, maps, rtol=1e-6)
    for image, score in zip(rgb, scores, strict=True):
        encoded = {
            'rgb8': image,
            'bgr8': image[..., ::-1],
            'bgra8': cv2.cvtColor(image, cv2.COLOR_RGB2BGRA),
        }
        for encoding, pixels in encoded.items():
            inspected = detector.inspect(Image(pixels, encoding))
            assert inspected.score == pytest.approx(score, rel=1e-6)


def test_float_images_use_the_given_range(tmp_path: Path) -> None:
    make_engine(make_bundle(tmp_path, arrays=flat_statistics(51)))
    pixels = np.full((SIZE, SIZE), 2.0, np.float32)
    detector = Detector.load(tmp_path, float_range=(0, 10))
    assert detector.inspect(Image(pixels, '32FC1')).score == 0
    assert Detector.load(tmp_path).inspect(Image(pixels, '32FC1')).score == 204


def test_the_overlay_has_the_size_of_the_image_and_marks_the_region(tmp_path: Path) -> None:
    scale = ScoreRange(minimum=0.0, maximum=80.0)
    make_engine(make_bundle(tmp_path, arrays=flat_statistics(), score_range=scale))
    detector = Detector.load(tmp_path)
    image = _scratched(250, scale=4)
    before = image.pixels.copy()
    drawn = detector.overlay(image, detector.inspect(image))
    assert drawn.shape == image.pixels.shape
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(image.pixels, before)
    np.testing.assert_array_equal(drawn[32, 80:128], [[0, 0, 255]] * 48)  # the box's upper edge
    np.testing.assert_array_equal(drawn[200:], before[200:])  # far from it


def test_a_preview_is_a_small_overlay_beside_the_plain_image(tmp_path: Path) -> None:
    scale = ScoreRange(minimum=0.0, maximum=80.0)
    make_engine(make_bundle(tmp_path, arrays=flat_statistics(), score_range=scale))
    detector = Detector.load(tmp_path)
    image = _scratched(250, scale=4)
    found = detector.inspect(image)
    plain, drawn = detector.preview(image, found, 128)
    assert plain.shape == drawn.shape == (128, 128, 3)
    red = (drawn == [0, 0, 255]).all(axis=2)
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    assert (rows[0], columns[0], columns[-1]) == (16, 40, 63)  # half of where the box lies
    np.testing.assert_array_equal(drawn[100:], plain[100:])  # far from it
    whole, _ = detector.preview(image, found, 1000)
    np.testing.assert_array_equal(whole, image.pixels)


def test_an_unknown_encoding_is_a_image_error(detector: Detector) -> None:
    with pytest.raises(ImageError, match="encoding 'yuv411' is not supported"):
        detector.inspect(Image(np.zeros((64, 64, 2), np.uint8), 'yuv411'))


def test_a_score_that_is_no_number_is_an_error_and_not_a_good_part(tmp_path: Path) -> None:
    arrays = flat_statistics()
    make_engine(make_bundle(tmp_path, arrays=arrays), builders.make_graph(divide=True))
    detector = Detector.load(tmp_path)
    # Only now, so that the golden images do not show it already.
    detector.backend.bind({**arrays, 'inv_covariance': np.zeros(3, np.float32)})
    with pytest.raises(BackendError, match='the graph gave the score nan; export or deploy'):
        detector.inspect(_scratched(100))  # 0 / 0
    with pytest.raises(BackendError, match='the graph gave the score'):
        detector.inspect(_scratched(200))  # 100 / 0


def test_loading_names_the_backend(detector: Detector) -> None:
    assert detector.backend.name.startswith('onnxruntime (')


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'model': 'vae'}, BundleError, 'holds a padim bundle, expected vae'),
        ({'backend': 'abacus'}, ConfigError, "unknown backend 'abacus'"),
    ],
)
def test_loading_what_was_not_meant_is_refused(
    bundle_folder: Path, options: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Detector.load(bundle_folder, **options)


def test_loading_without_engine_says_how_to_make_one(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    with pytest.raises(BundleError, match='make it with: adet export'):
        Detector.load(tmp_path)


def test_loading_after_a_new_deployment_needs_a_new_engine(bundle_folder: Path) -> None:
    make_bundle(bundle_folder, seed=1)
    with pytest.raises(BundleError, match=r'model\.json: made from bundle'):
        Detector.load(bundle_folder)


def test_loading_statistics_of_another_size_is_refused(tmp_path: Path) -> None:
    arrays = {**flat_statistics(), 'mean': np.zeros((1, 1, 3), np.float32)}
    make_engine(make_bundle(tmp_path, arrays=arrays))
    with pytest.raises(BackendError, match=r"'mean' have shape \(1, 1, 3\), the graph takes"):
        Detector.load(tmp_path)


def _without_statistics(folder: Path) -> None:
    contents = builders.contents(flat_statistics())
    del contents[builders.STATISTICS_FILE]
    write_bundle(folder, builders.manifest(), contents)


def _with_statistics(folder: Path, **arrays: np.ndarray) -> None:
    make_bundle(folder, arrays=flat_statistics())
    builders.replace_file(folder, builders.STATISTICS_FILE, builders.npz(arrays))


ones = np.ones((SIZE, SIZE, 3), np.float32)
OTHER_STATISTICS = {
    'none': _without_statistics,
    'too few': lambda folder: _with_statistics(folder, mean=ones),
    'too many': lambda folder: _with_statistics(folder, mean=ones, inv_covariance=ones, x=ones),
    'other names': lambda folder: _with_statistics(folder, a=ones, b=ones),
}


@pytest.mark.parametrize('case', OTHER_STATISTICS)
def test_loading_other_statistics_than_the_graph_takes_is_refused(
    tmp_path: Path, case: str
) -> None:
    OTHER_STATISTICS[case](tmp_path)
    bundle = open_bundle(tmp_path)
    make_engine(bundle)
    wanted, given = ['inv_covariance', 'mean'], sorted(bundle.statistics())
    message = f'the graph takes the statistics {wanted}, the bundle has {given}'
    with pytest.raises(BackendError, match=f'^{re.escape(message)}$'):
        Detector.load(tmp_path, backend='onnxruntime')


def test_loading_verifies_the_statistics(bundle_folder: Path) -> None:
    path = bundle_folder / builders.STATISTICS_FILE
    path.write_bytes(path.read_bytes()[:-1] + b'?')
    assert open_bundle(bundle_folder)
    with pytest.raises(BundleError, match=r'stats\.npz: checksum mismatch'):
        Detector.load(bundle_folder)


def test_a_graph_that_gives_no_numbers_does_not_go_into_service(tmp_path: Path) -> None:
    arrays = {**flat_statistics(), 'inv_covariance': np.zeros(3, np.float32)}
    make_engine(make_bundle(tmp_path, arrays=arrays), builders.make_graph(divide=True))
    message = f'{tmp_path}: the graph gives what is no number for a golden image; export or deploy'
    with pytest.raises(BackendError, match=message):
        Detector.load(tmp_path)


def test_a_graph_of_another_model_does_not_go_into_service(tmp_path: Path) -> None:
    # A tenth of the weights: every golden image would pass for a good part.
    arrays = {**flat_statistics(), 'inv_covariance': np.full(3, 10, np.float32)}
    make_engine(make_bundle(tmp_path, arrays=arrays), builders.make_graph(divide=True))
    message = (
        r'the graph gives the score \S+ for a golden image, the trained model \S+ \(threshold'
    )
    with pytest.raises(BackendError, match=message):
        Detector.load(tmp_path)


def test_retrained_statistics_are_not_held_to_scores_of_the_old_ones(tmp_path: Path) -> None:
    make_engine(make_bundle(tmp_path, arrays=flat_statistics()))
    bundle = open_bundle(tmp_path)
    weak = {**flat_statistics(), 'inv_covariance': np.full(3, 0.01, np.float32)}
    contents = {builders.STATISTICS_FILE: lambda file: write_arrays(file, weak)}
    write_retrained(bundle, report_of(bundle, 5), contents, keep=1)
    assert Detector.load(tmp_path).inspect(_scratched(100)).score == 0
