# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``padim_detector`` over DDS."""

from __future__ import annotations

from dataclasses import replace
import hashlib
import re
import shutil
import threading
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from adet_interfaces.msg import AnomalyResult
from adet_interfaces.srv import LoadBundle
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header

from adet import qos
from adet.conversions import to_image_message, to_nanoseconds, to_stamp
from adet.nodes.detector import DetectorNode
from adet.preview import Pace
from adet_core.bundle import open_bundle, read_engine, write_bundle, write_engine
from adet_core.bundle.engine import EngineRecord, Parity
from adet_core.drift import DriftTest
from adet_core.errors import AdetError, BundleError, ConfigError
from adet_core.image import ENCODINGS, Image, read_image
from adet_core.inference.detector import Detector
from adet_core.inference.products import Product

pytestmark = pytest.mark.ros


@pytest.fixture
def image(deployed):
    return read_image(sorted((deployed.test_folder / 'anomaly').glob('*.png'))[0])


@pytest.fixture
def reference(deployed):
    return Detector.load(deployed.bundle)


def message_of(image, stamp_ns=1_000_000_001, frame_id='lens'):
    header = Header(stamp=to_stamp(stamp_ns), frame_id=frame_id)
    return to_image_message(image.pixels, image.encoding, header)


def in_encoding(pixels_bgr, encoding):
    """The same image in another layout (any mosaic and any colours will do)."""
    dtype, channels = ENCODINGS[encoding]
    grey = cv2.cvtColor(pixels_bgr, cv2.COLOR_BGR2GRAY)
    made = {
        1: grey,
        2: pixels_bgr[..., :2],
        3: pixels_bgr,
        4: cv2.cvtColor(pixels_bgr, cv2.COLOR_BGR2BGRA),
    }[channels]
    if encoding in ('nv12', 'nv21'):
        # Two thirds of the rows are brightness.
        made = grey[: len(grey) // 6 * 6]
    if dtype == np.uint16:
        made = made.astype(np.uint16) * 257
    if dtype == np.float32:
        made = made.astype(np.float32) / 255
    assert made.dtype == dtype
    assert (made.ndim == 3) == (channels > 1)
    return Image(np.ascontiguousarray(made), encoding)


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_every_encoding_gets_the_score_of_the_direct_call(
    ros, deployed, image, reference, encoding
):
    converted = in_encoding(image.pixels, encoding)
    ros.detector(deployed)
    results = ros.hear(AnomalyResult, 'padim/result')
    ros.publisher(ImageMessage, 'image_raw').publish(message_of(converted))
    result = ros.until(lambda: results, 'result')[0]
    expected = reference.inspect(converted)
    assert result.error == ''
    assert result.score == pytest.approx(expected.score, rel=1e-6)
    assert result.is_anomalous == expected.is_anomalous
    assert len(result.regions) == len(expected.regions)


def test_colour_order_matters_and_is_respected(ros, deployed, image):
    ros.detector(deployed)
    results = ros.hear(AnomalyResult, 'padim/result')
    publisher = ros.publisher(ImageMessage, 'image_raw')
    tinted = image.pixels.copy()
    tinted[..., 0] //= 3
    for stamp, (pixels, encoding) in enumerate(
        [(tinted, 'bgr8'), (tinted[..., ::-1], 'rgb8'), (tinted, 'rgb8')], start=1
    ):
        publisher.publish(message_of(Image(pixels, encoding), stamp))
    scores = [r.score for r in ros.until(lambda: len(results) == 3 and results, '3 results')]
    assert scores[0] == scores[1]
    assert scores[0] != scores[2]


def test_stamp_and_frame_are_copied_to_result_map_and_overlay(ros, deployed, image):
    node = ros.detector(deployed)
    people = qos.newest_only()
    heard = [
        ros.hear(AnomalyResult, 'padim/result'),
        ros.hear(ImageMessage, 'padim/anomaly_map', people),
        ros.hear(ImageMessage, 'padim/overlay', people),
    ]
    topics = ('padim/anomaly_map', 'padim/overlay')
    ros.until(lambda: all(node.count_subscribers(topic) for topic in topics), 'subscriptions')
    ros.publisher(ImageMessage, 'image_raw').publish(message_of(image, 123_456_789_012, 'lens'))
    ros.until(lambda: all(heard), 'result, map and overlay')
    for messages in heard:
        assert to_nanoseconds(messages[0].header.stamp) == 123_456_789_012
        assert messages[0].header.frame_id == 'lens'
    anomaly_map, overlay = heard[1][0], heard[2][0]
    assert (anomaly_map.encoding, anomaly_map.height, anomaly_map.width) == ('32FC1', 64, 64)
    assert (overlay.encoding, overlay.height, overlay.width) == ('bgr8', 128, 128)
    values = np.frombuffer(anomaly_map.data, np.float32)
    assert values.max() == pytest.approx(heard[0][0].score)


def test_a_preview_is_a_small_jpeg_of_image_and_overlay(ros, deployed, image, reference):
    node = ros.detector(deployed, preview_width=64)
    people = qos.newest_only()
    topics = ('padim/preview/image/compressed', 'padim/preview/overlay/compressed')
    heard = [ros.hear(CompressedImage, topic, people) for topic in topics]
    ros.until(lambda: all(node.count_subscribers(topic) for topic in topics), 'subscriptions')
    ros.publisher(ImageMessage, 'image_raw').publish(message_of(image, 123_456_789_012, 'lens'))
    ros.until(lambda: all(heard), 'both previews')
    plain, overlay = (cv2.imdecode(np.frombuffer(one[0].data, np.uint8), 1) for one in heard)
    assert to_nanoseconds(heard[0][0].header.stamp) == 123_456_789_012
    assert heard[1][0].header == heard[0][0].header
    expected = reference.preview(image, reference.inspect(image), 64)
    assert plain.shape == overlay.shape == (64, 64, 3)
    for found, wanted in zip((plain, overlay), expected, strict=True):
        assert np.abs(found.astype(int) - wanted).mean() < 6


def test_previews_are_as_many_as_an_eye_sees(ros, deployed, image):
    node = ros.detector(deployed, frames='every', preview_rate=0.1)
    topic = 'padim/preview/overlay/compressed'
    shown = ros.hear(CompressedImage, topic, qos.newest_only())
    results = ros.hear(AnomalyResult, 'padim/result')
    ros.until(lambda: node.count_subscribers(topic), 'a subscription')
    publisher = ros.publisher(ImageMessage, 'image_raw')
    for stamp in range(1, 6):
        publisher.publish(message_of(image, stamp))
    ros.until(lambda: len(results) == 5 and shown, 'all results and a preview')
    assert [to_nanoseconds(one.header.stamp) for one in shown] == [1]


@pytest.mark.parametrize(
    ('idle', 'cost_s', 'shown'),
    # Of ten seconds: 15 a second; 4 a second; 4 in the first, then 18 ms of each 600: 3 %.
    [(0.5, 0.018, 150), (0.02, 0.005, 40), (0.02, 0.018, 19)],
)
def test_previews_leave_a_busy_machine_alone(idle, cost_s, shown):
    cores: Any = SimpleNamespace(share=lambda: idle)
    pace = Pace(15.0, lambda: cores)
    count = 0
    for hundredth in range(1000):
        if pace.is_due(hundredth / 100):
            pace.begin(hundredth / 100)
            pace.end(cost_s)
            count += 1
    assert count == pytest.approx(shown, rel=0.1)


def test_what_people_see_is_not_even_made_while_nobody_listens(ros, deployed, image, monkeypatch):
    def refuse(*_):
        raise AssertionError('drawn for nobody')

    monkeypatch.setattr(Detector, 'overlay', refuse)
    monkeypatch.setattr(Detector, 'preview', refuse)
    ros.detector(deployed)
    results = ros.hear(AnomalyResult, 'padim/result')
    ros.publisher(ImageMessage, 'image_raw').publish(message_of(image))
    assert ros.until(lambda: results, 'result')[0].error == ''


@pytest.mark.parametrize(
    ('damage', 'reason'),
    [
        ({'encoding': 'yuv411'}, "encoding 'yuv411' is not supported; supported: mono8"),
        ({'height': 4000}, 'which do not fill it'),
        ({'step': 3}, 'which do not fill it'),
        ({'width': 0}, 'which do not fill it'),
        (
            {'height': 10**5, 'width': 10**4},
            '10000x100000 pixels are more than 300 megapixels; raise max_megapixels',
        ),
    ],
)
def test_a_image_that_cannot_be_read_is_refused_and_the_node_lives_on(
    ros, deployed, image, damage, reason, monkeypatch
):
    # Restored in the end.
    monkeypatch.setenv('ADET_MAX_MEGAPIXELS', '')
    ros.detector(deployed, max_megapixels=300.0)
    results = ros.hear(AnomalyResult, 'padim/result')
    publisher = ros.publisher(ImageMessage, 'image_raw')
    bad = message_of(image, 1)
    for name, value in damage.items():
        setattr(bad, name, value)
    publisher.publish(bad)
    publisher.publish(message_of(image, 2))
    first, second = ros.until(lambda: len(results) == 2 and results, '2 results')
    assert reason in first.error
    assert to_nanoseconds(first.header.stamp) == 1
    assert second.error == ''
    assert second.score > 0


def test_rows_with_padding_and_big_endian_pixels_are_understood(ros, deployed, image, reference):
    deep = in_encoding(image.pixels, 'mono16')
    padded = np.zeros((128, 160), '>u2')
    padded[:, :128] = deep.pixels
    message = message_of(Image(padded.view(np.uint16), 'mono16'))
    message.width, message.is_bigendian = 128, 1
    ros.detector(deployed)
    results = ros.hear(AnomalyResult, 'padim/result')
    ros.publisher(ImageMessage, 'image_raw').publish(message)
    result = ros.until(lambda: results, 'result')[0]
    assert result.score == pytest.approx(reference.inspect(deep).score, rel=1e-6)


def test_the_threshold_is_a_live_parameter(ros, deployed, image):
    node = ros.detector(deployed)
    name = node.get_fully_qualified_name()
    results = ros.hear(AnomalyResult, 'padim/result')
    publisher = ros.publisher(ImageMessage, 'image_raw')
    stored = open_bundle(deployed.bundle).manifest.image_threshold.value
    read = ros.call(
        GetParameters, f'{name}/get_parameters', GetParameters.Request(names=['threshold'])
    )
    assert read.values[0].double_value == stored
    for stamp, threshold in enumerate((1e9, 0.0), start=1):
        request = SetParameters.Request(
            parameters=[Parameter('threshold', value=threshold).to_parameter_msg()]
        )
        answer = ros.call(SetParameters, f'{name}/set_parameters', request)
        assert answer.results[0].successful
        publisher.publish(message_of(image, stamp))
        ros.until(lambda: len(results) == stamp, 'result')  # noqa: B023 - called at once
        assert results[-1].threshold == threshold
        assert results[-1].is_anomalous == (threshold == 0.0)
    nonsense = Parameter('threshold', value=float('nan')).to_parameter_msg()
    answer = ros.call(
        SetParameters, f'{name}/set_parameters', SetParameters.Request(parameters=[nonsense])
    )
    assert not answer.results[0].successful
    # By the range of the parameter.
    assert {'threshold', 'nan'} <= set(re.findall(r'\w+', answer.results[0].reason))


def test_diagnostics_tell_rate_latency_drops_bundle_and_backend(ros, deployed, image):
    node = ros.detector(deployed)
    heard = ros.hear(DiagnosticArray, '/diagnostics', 10)
    results = ros.hear(AnomalyResult, 'padim/result')
    publisher = ros.publisher(ImageMessage, 'image_raw')
    publisher.publish(message_of(image, 1))
    bad = message_of(image, 2)
    bad.width = 0
    publisher.publish(bad)
    ros.until(lambda: len(results) == 2, 'results')
    name = f'{node.get_fully_qualified_name()}: inspection'

    def status():
        found = [s for array in heard for s in array.status if s.name == name]
        values = [{entry.key: entry.value for entry in s.values} for s in found]
        return next((v for v in values if v['frames'] == '2'), None)

    values = ros.until(status, 'diagnostics')
    assert values['bundle'] == open_bundle(deployed.bundle).bundle_id
    assert values['backend'].startswith('onnxruntime')
    assert (values['dropped'], values['refused']) == ('0', '1')
    assert float(values['latency_p50_ms']) > 0
    assert float(values['latency_p95_ms']) > 0
    assert float(values['rate_hz']) > 0


def test_a_live_detector_keeps_the_newest_image_and_counts_what_it_drops(
    ros, deployed, image, monkeypatch
):
    begun, go_on, begin = threading.Event(), threading.Event(), Detector.begin

    def slow(self, given):
        begun.set()
        assert go_on.wait(60)
        return begin(self, given)

    node = ros.detector(deployed, frames='latest')
    monkeypatch.setattr(Detector, 'begin', slow)
    results = ros.hear(AnomalyResult, 'padim/result')
    publisher = ros.publisher(ImageMessage, 'image_raw', qos.newest_only())
    ros.until(publisher.get_subscription_count, 'subscription')
    publisher.publish(message_of(image, 1))
    ros.until(begun.is_set, 'the first inspection')
    for stamp in (2, 3, 4):
        publisher.publish(message_of(image, stamp))
        ros.until(
            lambda s=stamp: any(
                turn.arrived.stamp_ns == s for turn in node._service._queue._waiting
            ),
            'its arrival',
        )
    go_on.set()
    ros.until(lambda: len(results) == 2, 'two results')
    assert [to_nanoseconds(result.header.stamp) for result in results] == [1, 4]
    assert node._service.dropped == 2
    health = node._health()
    assert health.values['dropped'] == 2
    assert 'images dropped: they come too fast' in health.problem
    # Only what is new is worth saying again.
    assert 'images dropped' not in node._health().problem


def record_of(bundle, graph):
    parity = Parity(pictures=1, score_difference=0.0, map_difference=0.0, tolerance=1.0)
    return EngineRecord(
        bundle_id=bundle.bundle_id,
        sha256=hashlib.sha256(graph.onnx).hexdigest(),
        precision='fp32',
        opset=18,
        parity=parity,
        versions={},
        statistics_transform=graph.transform,
    )


# ---- which model


def renamed(deployed, root, model):
    """The deployed bundle as that of a model that does not come with adet."""
    bundle = open_bundle(deployed.bundle)

    def copy(name):
        with bundle.open(name) as file:
            data = file.read()
        return lambda target: target.write(data)

    manifest = replace(bundle.manifest, model=model, files={})
    contents = {name: copy(name) for name in bundle.manifest.files}
    written = write_bundle(root / model, manifest, contents)
    graph = read_engine(bundle)
    write_engine(written, graph.onnx, record_of(written, graph))
    return written


@pytest.mark.parametrize('own', [False, True], ids=['of adet', "somebody's own"])
@pytest.mark.parametrize('named', ['by the parameter', 'by the executable'])
def test_a_detector_runs_the_model_it_is_named(
    ros, deployed, image, reference, tmp_path, own, named
):
    word = 'reverse_distillation' if own else 'padim'
    if own:
        renamed(deployed, tmp_path, word)
    values = {'models_root': str(tmp_path if own else deployed.models_root), 'frames': 'every'}
    if named == 'by the parameter':
        node = ros.start(DetectorNode, model=word, **values)
        assert node.get_name() == 'detector'
    else:
        node = ros.start(lambda **o: DetectorNode(word, **o), **values)
        assert node.get_name() == f'{word}_detector'
    results = ros.hear(AnomalyResult, f'{word}/result')
    ros.publisher(ImageMessage, 'image_raw').publish(message_of(image))
    result = ros.until(lambda: results, 'result')[0]
    assert (result.model, result.error) == (word, '')
    assert result.score == pytest.approx(reference.inspect(image).score, rel=1e-6)
    request = LoadBundle.Request()
    assert ros.call(LoadBundle, f'{word}/load_bundle', request).success


def test_the_parameter_has_more_weight_than_the_executable(ros, deployed, tmp_path):
    renamed(deployed, tmp_path, 'reverse_distillation')
    node = ros.start(
        lambda **o: DetectorNode('padim', **o),
        model='reverse_distillation',
        models_root=str(tmp_path),
    )
    assert node._service.detector.bundle.manifest.model == 'reverse_distillation'


@pytest.mark.parametrize(
    ('parameters', 'error', 'message'),
    [
        ({}, ConfigError, '^detector: parameter model is empty; name one of: efficientad, padim'),
        ({'bundle': '/nowhere'}, ConfigError, '^detector: parameter model is empty'),
        (
            {'model': 'magic'},
            ConfigError,
            "^unknown model 'magic'; known models: .*padim.*; there is no .*/robot/magic$",
        ),
        ({'model': '../PaDiM'}, ConfigError, "^unknown model '../PaDiM'; known models: .*padim"),
        ({'model': 'patchcore'}, BundleError, 'robot/PatchCore/meta.json: missing; is this'),
    ],
)
def test_a_model_that_is_not_there_is_one_clear_line(ros, deployed, parameters, error, message):
    with pytest.raises(error, match=message):
        ros.start(DetectorNode, models_root=str(deployed.models_root), **parameters)


def test_a_bundle_of_another_model_is_refused(ros, deployed):
    with pytest.raises(BundleError, match='holds a padim bundle, expected vae; name the right'):
        ros.start(DetectorNode, model='vae', bundle=str(deployed.bundle))


# ---- bundles that come and go


def retrained(deployed, folder, shift):
    """A second bundle: the same graph with other statistics and another threshold."""
    bundle = open_bundle(deployed.bundle)
    shutil.rmtree(folder, ignore_errors=True)
    statistics = bundle.statistics()
    # So little that the golden images still have their scores.
    statistics['mean'] = statistics['mean'] + np.float32(shift * 1e-4)
    threshold = replace(bundle.manifest.image_threshold, value=77.0)
    manifest = replace(bundle.manifest, image_threshold=threshold)

    def write(file):
        np.savez(file, **statistics)

    def copy(name):
        with bundle.open(name) as file:
            data = file.read()
        return lambda target: target.write(data)

    contents = {name: copy(name) for name in ('model.pth', 'golden.npz')}
    written = write_bundle(folder, manifest, {**contents, 'stats.npz': write})
    graph = read_engine(bundle)
    write_engine(written, graph.onnx, record_of(written, graph))
    return written


def test_a_bundle_is_swapped_in_between_two_images(ros, deployed, image, tmp_path):
    node = ros.detector(deployed)
    other = retrained(deployed, tmp_path / 'other', 3.0)
    results = ros.hear(AnomalyResult, 'padim/result')
    publisher = ros.publisher(ImageMessage, 'image_raw')
    publisher.publish(message_of(image, 1))
    ros.until(lambda: results, 'result')
    answer = ros.call(
        LoadBundle, 'padim/load_bundle', LoadBundle.Request(folder=str(other.folder))
    )
    assert answer.success, answer.message
    assert answer.bundle_id == other.bundle_id
    publisher.publish(message_of(image, 2))
    before, after = ros.until(lambda: len(results) == 2 and results, '2 results')
    assert before.bundle_id != after.bundle_id == other.bundle_id
    assert before.score != after.score
    assert after.threshold == 77.0
    assert node.get_parameter('threshold').value == 77.0


def test_a_bundle_that_cannot_be_used_leaves_the_old_one_in_service(
    ros, deployed, image, tmp_path
):
    ros.detector(deployed)
    shutil.copytree(deployed.bundle, tmp_path / 'broken')
    (tmp_path / 'broken' / 'stats.npz').write_bytes(b'nothing')
    results = ros.hear(AnomalyResult, 'padim/result')
    request = LoadBundle.Request(folder=str(tmp_path / 'broken'))
    answer = ros.call(LoadBundle, 'padim/load_bundle', request)
    assert not answer.success
    assert 'stats.npz' in answer.message
    assert answer.bundle_id == open_bundle(deployed.bundle).bundle_id
    ros.publisher(ImageMessage, 'image_raw').publish(message_of(image))
    assert ros.until(lambda: results, 'result')[0].bundle_id == answer.bundle_id


def test_an_operators_threshold_survives_a_swap(ros, deployed, tmp_path):
    node = ros.detector(deployed, threshold=5.5)
    other = retrained(deployed, tmp_path / 'other', 1.0)
    answer = ros.call(
        LoadBundle, 'padim/load_bundle', LoadBundle.Request(folder=str(other.folder))
    )
    assert answer.success
    assert node.get_parameter('threshold').value == 5.5


@pytest.mark.parametrize(
    ('parameters', 'error', 'message'),
    [
        ({'models_root': '/nowhere'}, BundleError, r'/nowhere/PaDiM/meta.json: missing; is this'),
        ({'backend': 'abacus'}, AdetError, "unknown backend 'abacus'; known: auto, .*onnxruntime"),
        ({'frames': 'some'}, AdetError, "frames is 'some', expected one of: latest, every"),
        ({'threads': -1}, AdetError, 'parameter threads'),
        ({'threshold': float('nan')}, AdetError, 'parameter threshold: .*nan'),
        ({'threshold': 12}, AdetError, 'parameter threshold'),
        ({'float_range': [1.0, 1.0]}, AdetError, 'float_range is .* the smaller first'),
    ],
)
def test_a_wrong_parameter_is_one_clear_line(ros, deployed, parameters, error, message):
    with pytest.raises(error, match=message):
        ros.detector(deployed, **parameters)


def test_scores_that_drift_are_a_warning_until_a_window_is_as_learned(ros, deployed, monkeypatch):
    path = sorted((deployed.test_folder / 'normal').glob('*.png'))[0]
    image = read_image(path)
    score = Detector.load(deployed.bundle).inspect(image).score
    # As if normal images had scored less than this one.
    learned = np.linspace(0.2, 0.9, 40) * score
    test = DriftTest(learned.tolist(), threshold=2 * score, window=30)
    monkeypatch.setattr(Product, '_new_drift', lambda *_: test)
    node = ros.detector(deployed, threshold=2 * score)
    heard = ros.hear(DiagnosticArray, '/diagnostics', 10)
    results = ros.hear(AnomalyResult, 'padim/result')
    publisher = ros.publisher(ImageMessage, 'image_raw')
    name = f'{node.get_fully_qualified_name()}: inspection'

    def told():
        found = [s for array in heard for s in array.status if s.name == name]
        return found[-1] if found else None

    for number in range(1, 31):
        publisher.publish(message_of(image, number))
        ros.until(lambda n=number: len(results) == n, 'the result')
    status = ros.until(lambda: (s := told()) and 'drift' in s.message and s, 'the warning')
    assert status.level == DiagnosticStatus.WARN
    assert 'drift: images score higher than the normal ones' in status.message
    assert 'relearn from at least 50 new images of good parts' in status.message
    values = {entry.key: entry.value for entry in status.values}
    assert values['drift_test'] == 'on'
    assert float(values['drift_p_value']) < 1e-3


def test_a_bundle_that_knows_too_few_scores_says_that_drift_is_not_tested(ros, deployed):
    node = ros.detector(deployed)
    assert node._health().values['drift_test'] == 'off: too few scores of normal images'
