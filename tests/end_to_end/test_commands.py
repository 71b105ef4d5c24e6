# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The commands as people type them, each in a process of its own."""

from __future__ import annotations

from dataclasses import replace
import hashlib
import json
import os
from pathlib import Path
import shlex
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

from once import graphs_once, unmeasured
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from adet_core.image import read_image
from adet_core.inference.detector import Detector
from adet_core.io.folders import list_images
from adet_core.records import read_records, RecordWriter
from adet_evaluation.bags import BagSource

pytestmark = pytest.mark.ros

_DEADLINE_S = 240.0


def adet(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ['adet', *map(str, words)],
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def json_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return json.loads(done.stdout.splitlines()[-1])


def printed(result: dict[str, Any]) -> list[str]:
    """The words of the next command, after ``adet``."""
    return shlex.split(str(result['next']))[1:]


def test_from_drawn_images_to_figures(tmp_path):
    data, models, output = tmp_path / 'my data', tmp_path / 'my models', tmp_path / 'out put'
    counts = ('--train', 10, '--test-normal', 4, '--test-anomaly', 5)
    adet('synth', data, '--category', 'plate', *counts, '--size', 96, '--seed', 5)
    place = ('--data-root', data, '--models-root', models)
    settings = ('--set', 'image_size=64', '--set', 'n_features=16')
    trained = json_of(
        adet(
            'train', '--model', 'padim', '--category', 'plate', *place, *settings,
            '--seed', 2, '--json',
        )
    )  # fmt: skip
    # As each command prints the next one.
    deployed = json_of(adet(*printed(trained), '--json'))
    assert deployed['exported'] is True
    inspected = json_of(adet(*printed(deployed), '--output-dir', output, '--json'))
    results = Path(inspected['models']['padim']['results'])
    assert results == output / 'result_padim.csv'
    assert inspected['models']['padim']['rows'] == 9
    figures = json_of(adet(*printed(inspected), '--json'))
    assert figures['images'] == 9
    assert figures['missing'] == 0
    # The whole way over DDS gives what the trained model itself gave.
    assert figures['image_auroc'] == pytest.approx(trained['image_auroc'])
    assert figures['image_f1'] == pytest.approx(trained['image_f1'])
    assert figures.pop('report') == str(output / 'report' / 'report.html')
    assert json.loads((output / 'report' / 'report.json').read_text()) == figures


@pytest.fixture
def inspect(deployed, tmp_path):
    return [
        'inspect', '--models-root', deployed.models_root, '--output-dir', tmp_path / 'out',
        '--namespace', f'/commands{os.getpid()}',
    ]  # fmt: skip


def test_a_second_run_starts_anew_and_keeps_the_first(inspect, deployed, tmp_path):
    for _ in range(2):
        done = json_of(adet(*inspect, '--source', deployed.test_folder, '--json'))
    (earlier,) = done['earlier_results']
    for path in (earlier, tmp_path / 'out' / 'result_padim.csv'):
        rows = list(read_records(Path(path)))
        assert [row.source for row in rows] == list(map(str, list_images(deployed.test_folder)))


@pytest.fixture(scope='module')
def three_models(deployed, once):
    """PaDiM, a small PatchCore, and the PaDiM again under a word that does not come with adet."""
    from adet_core.bundle import copy_bundle, open_bundle, read_engine, write_bundle, write_engine
    from adet_core.bundle.engine import EngineRecord, Parity
    from adet_training.export import export
    from adet_training.train import train, TrainConfig

    def make(root):
        run = train(
            TrainConfig(
                model='patchcore',
                category='plate',
                data_root=deployed.data_root,
                models_root=root / 'pc',
                backbone_weights='auto',
                settings={'image_size': 64},
                seed=1,
            )
        )
        robot = shutil.copytree(deployed.models_root, root / 'robot')
        with graphs_once(once):
            export(copy_bundle(run.bundle, robot / 'PatchCore'))
        padim = open_bundle(deployed.bundle)
        contents = {
            name: lambda file, name=name: file.write((deployed.bundle / name).read_bytes())
            for name in padim.manifest.files
        }
        manifest = replace(padim.manifest, model='somebodys_own')
        bundle = write_bundle(robot / 'somebodys_own', manifest, contents)
        graph = read_engine(padim)
        record = EngineRecord(
            bundle_id=bundle.bundle_id,
            sha256=hashlib.sha256(graph.onnx).hexdigest(),
            precision='fp32',
            opset=18,
            parity=Parity(pictures=1, score_difference=0.0, map_difference=0.0, tolerance=1.0),
            versions={},
            statistics_transform=graph.transform,
        )
        write_engine(bundle, graph.onnx, record)

    with unmeasured():
        return once('three_models', make) / 'robot'


def test_models_of_adet_and_of_ones_own_inspect_side_by_side(
    inspect, three_models, deployed, tmp_path
):
    models = {'padim': 'PaDiM', 'patchcore': 'PatchCore', 'somebodys_own': 'somebodys_own'}
    words = ['--model', ','.join(models), '--models-root', three_models]
    done = json_of(adet(*inspect, *words, '--source', deployed.test_folder, '--json'))
    images = list_images(deployed.test_folder)
    scores = {}
    for model, folder in models.items():
        assert done['models'][model]['rows'] == len(images)
        assert done['models'][model]['missing'] == 0
        rows = list(read_records(tmp_path / 'out' / f'result_{model}.csv'))
        assert [row.source for row in rows] == [str(path) for path in images]
        assert {row.model for row in rows} == {model}
        detector = Detector.load(three_models / folder, model=model)
        expected = [detector.inspect(read_image(path)).score for path in images]
        scores[model] = [row.score for row in rows]
        assert scores[model] == pytest.approx(expected, rel=1e-5)
    assert scores['somebodys_own'] == scores['padim'] != scores['patchcore']


def test_an_unreadable_image_has_a_row_that_says_so_and_is_told_of(inspect, deployed, tmp_path):
    folder = shutil.copytree(deployed.test_folder, tmp_path / 'images')
    bad = sorted((folder / 'normal').iterdir())[1]
    bad.write_bytes(bad.read_bytes()[:20])
    ended = adet(*inspect, '--source', folder, '--json', code=1)
    assert ended.stderr.splitlines()[-1] == (
        f'error: padim: 1 of 16 images have no verdict: 1 cannot be decoded as an image ({bad})'
    )
    done = json_of(ended)
    assert (done['expected'], done['rows'], done['lost']) == (16, 16, 1)
    assert done['models']['padim']['missing'] == 1
    rows = list(read_records(tmp_path / 'out' / 'result_padim.csv'))
    # Its row does not wait for the images before it that are still being inspected.
    assert sorted(row.source for row in rows) == list(map(str, list_images(folder)))
    assert [row.source for row in rows if row.error] == [str(bad)]
    assert 'cannot be decoded' in next(row.error for row in rows if row.error)


def test_what_a_damaged_bag_lost_is_told_and_is_no_success(inspect, deployed, tmp_path):
    bag = tmp_path / 'bag'
    adet('record', '--images', deployed.test_folder, '--bag', bag)
    # Its metadata tells of four more images than are left in the file, whose end is cut off.
    metadata, storage = bag / 'metadata.yaml', bag / 'bag.mcap'
    metadata.write_text(metadata.read_text().replace('message_count: 16', 'message_count: 20'))
    storage.write_bytes(storage.read_bytes()[:-8])
    ended = adet(*inspect, '--source', bag, '--json', code=1)
    done = json_of(ended)
    assert (done['expected'], done['rows'], done['lost']) == (20, 16, 4)
    first, second = done['warnings']
    assert first in ended.stderr
    assert second in ended.stderr
    assert ended.stderr.splitlines()[-1] == (
        'error: padim: 4 of 20 images have no verdict: 4 cannot be read from the source'
    )


def test_images_of_mixed_sizes_and_depths_are_inspected(inspect, deployed, tmp_path):
    import cv2
    import numpy as np

    folder = tmp_path / 'images'
    folder.mkdir()
    source = cv2.imread(str(list_images(deployed.test_folder)[0]))
    cv2.imwrite(str(folder / 'a.png'), cv2.resize(source, (300, 200)))
    cv2.imwrite(str(folder / 'b.jpg'), cv2.cvtColor(source, cv2.COLOR_BGR2GRAY))
    cv2.imwrite(str(folder / 'c.png'), source[..., 0].astype(np.uint16) * 257)
    cv2.imwrite(str(folder / 'd.png'), cv2.cvtColor(source[:20, :30], cv2.COLOR_BGR2BGRA))
    done = json_of(adet(*inspect, '--source', folder, '--json'))
    assert done['models']['padim']['rows'] == 4
    assert done['models']['padim']['missing'] == 0


MISTAKES = [
    (['--source', '/nowhere'], 'error: /nowhere: no such folder, file or camera'),
    (
        ['--source', '.', '--model', 'magic'],
        "error: unknown model 'magic'; known models: efficientad, padim, patchcore, vae; ",
    ),
    (
        ['--source', '.', '--model', 'padim,Magic'],
        "error: unknown model 'Magic'; known models: efficientad, padim, patchcore, vae",
    ),
    (['--source', '.', '--namespace', 'a b'], "error: namespace is 'a b', expected letters"),
    (['--source', '.', '--namespace', 'line-1'], "error: namespace is 'line-1', expected"),
    (['--source', 'topic:/1cam'], "error: topic is '/1cam', expected letters, digits and _"),
    (
        ['--source', '.', '--threads', '99999999999'],
        'error: threads is 99999999999, expected 0 to 1024',
    ),
    (['--source', '.', '--models-root', '/none'], 'error: /none/PaDiM/meta.json: missing'),
    (['--source', '.', '--output-dir', '/proc/none'], 'error: /proc/none'),
]
# Commands one after the other, in a process that has begun with nothing yet.
ONE_BY_ONE = """
import json, sys
from adet_core.cli import main
for words in json.loads(sys.argv[1]):
    print('exit', main(words), file=sys.stderr)
"""


def test_a_mistake_is_answered_in_one_line(inspect):
    # Not in the tests' own process: another test may have begun with ROS there.
    commands = json.dumps([[*map(str, inspect), *words] for words, _ in MISTAKES])
    done = subprocess.run(
        [sys.executable, '-c', ONE_BY_ONE, commands],
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    assert 'Traceback' not in done.stderr
    *answers, rest = done.stderr.split('exit 1\n')
    assert (len(answers), rest) == (len(MISTAKES), ''), done.stderr
    for said, (words, message) in zip(answers, MISTAKES, strict=True):
        (line,) = [line for line in said.splitlines() if line.startswith('error: ')]
        assert line.startswith(message), words


def test_an_interrupted_run_keeps_its_rows(inspect, deployed, tmp_path):
    words = [*inspect, '--source', deployed.test_folder, '--publish-rate', 10]
    process = subprocess.Popen(['adet', *map(str, words)], stderr=subprocess.PIPE, text=True)
    results = tmp_path / 'out' / 'result_padim.csv'
    deadline = time.monotonic() + _DEADLINE_S
    while not results.exists() or results.read_bytes().count(b'\n') < 4:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=_DEADLINE_S)
    assert process.returncode == 130, errors
    assert 'Traceback' not in errors
    rows = list(read_records(results))
    assert 3 <= len(rows) < len(list_images(deployed.test_folder))
    assert all(row.score is not None for row in rows)


def test_a_bag_replayed_through_the_nodes_gives_the_scores_of_the_direct_run(
    inspect, deployed, tmp_path
):
    bag = tmp_path / 'bag'
    adet('record', '--images', deployed.test_folder, '--bag', bag)
    report = tmp_path / 'direct'
    direct = json_of(
        adet('evaluate', '--bag', bag, '--bundle', deployed.bundle, '--report', report, '--json')
    )
    replayed = json_of(adet(*inspect, '--source', bag, '--clock', '--replay-rate', 20, '--json'))
    assert replayed['models']['padim']['rows'] == direct['images'] == 16
    results = tmp_path / 'out' / 'result_padim.csv'
    rows = list(read_records(results))
    detector = Detector.load(deployed.bundle)
    frames = list(BagSource(bag))
    assert [row.stamp_ns for row in rows] == [frame.stamp_ns for frame in frames]
    for row, frame in zip(rows, frames, strict=True):
        assert row.score == pytest.approx(detector.inspect(frame.image).score, rel=1e-8)
        assert (row.source, row.label) == (frame.source, frame.label)
        # The time of the recording stands still between two images.
        assert row.latency_ms is None
    again = json_of(adet('evaluate', '--results', results, '--replayed', bag, '--json'))
    assert again['missing'] == again['duplicates'] == 0
    for figure in ('images', 'image_auroc', 'image_f1', 'false_reject_rate', 'false_accept_rate'):
        assert again[figure] == pytest.approx(direct[figure])


def test_two_runs_into_one_folder_are_refused(inspect, deployed, tmp_path):
    (tmp_path / 'out').mkdir()
    writer = RecordWriter(tmp_path / 'out' / 'result_padim.csv')
    done = adet(*inspect, '--source', deployed.test_folder, code=1)
    writer.close()
    assert 'another process is writing it' in done.stderr


def test_a_bundle_without_its_graph_says_how_to_make_it(inspect, deployed, tmp_path):
    models = tmp_path / 'models'
    shutil.copytree(deployed.bundle, models / 'PaDiM')
    shutil.rmtree(models / 'PaDiM' / 'engine')
    words = ['--source', deployed.test_folder, '--models-root', models]
    done = adet(*inspect, *words, code=1)
    assert f'make it with: adet export {models}/PaDiM' in done.stderr
