# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation of images, bags and recorded rows with a real detector, and its report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import json
from pathlib import Path
import re
import shutil
import subprocess
import sys
import textwrap
from typing import Any

import cv2
import numpy as np
import pytest

from adet_core.bundle import Bundle, copy_bundle, open_bundle
from adet_core.cli import main
from adet_core.errors import ConfigError, DatasetError
from adet_core.inference.detector import Detector
from adet_core.io.folders import list_images
from adet_core.io.masks import Masks
from adet_core.io.open_source import open_source
from adet_core.io.sources import Frame
from adet_core.records import Record, RecordWriter
from adet_evaluation.bags import BagOptions, BagSource, record_images
from adet_evaluation.evaluation import (
    evaluate_results,
    evaluate_source,
    Evaluation,
    group_kinds,
    load_detectors,
)
from adet_evaluation.report import to_dict, write_report
from adet_evaluation.seen import count_seen

START_NS = 1_700_000_000_000_000_000


@pytest.fixture(scope='module')
def bag(deployed: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test images as a bag."""
    path = tmp_path_factory.mktemp('bags') / 'bag'
    record_images(open_source(str(deployed.test_folder)), path, BagOptions(start_ns=START_NS))
    return path


@pytest.fixture(scope='module')
def detectors(deployed: Any) -> dict[str, Detector]:
    return load_detectors([deployed.bundle])


@pytest.fixture(scope='module')
def evaluation(bag: Path, detectors: dict[str, Detector]) -> Evaluation:
    return evaluate_source(BagSource(bag), 'bag', detectors)


class Live:
    """A camera."""

    is_live = True
    duplicates = non_monotonic = lost = 0
    warnings: tuple[str, ...] = ()
    total = None

    def __iter__(self) -> Iterator[Frame]:
        yield from ()


def scores(evaluation: Evaluation, name: str = 'padim') -> list[float | None]:
    return [row.score for row in evaluation.models[name].rows]


def write_rows(path: Path, rows: list[Record]) -> Path:
    writer = RecordWriter(path)
    for row in rows:
        writer.write(row)
    writer.close()
    return path


def test_a_bag_and_its_folder_get_the_same_scores_each_time(
    deployed: Any, detectors: dict[str, Detector], evaluation: Evaluation, bag: Path
) -> None:
    folder = evaluate_source(open_source(str(deployed.test_folder)), 'images', detectors)
    again = evaluate_source(BagSource(bag), 'bag', detectors)
    assert scores(folder) == scores(evaluation) == scores(again)
    # The six normal test images chose the threshold, and the bag says which files it is of.
    for one in (folder, again):
        assert one.models['padim'].seen == (16, 6, 0)
        told = '6 of 16 images chose the threshold: new images will do worse'
        assert f'padim: {told}' in one.warnings
        assert to_dict(one)['models']['padim']['flattering'] == told
    assert count_seen([], detectors['padim'].bundle) == (0, 0, 0)
    found = evaluation.models['padim'].figures
    assert (found.images, found.normals, found.anomalies) == (16, 6, 10)
    assert replace(found, latency_ms={}, images_per_second=None) == replace(
        folder.models['padim'].figures, latency_ms={}, images_per_second=None
    )
    assert [row.stamp_ns for row in folder.models['padim'].rows] == list(range(1, 17))
    assert evaluation.models['padim'].rows[0].stamp_ns == START_NS


def test_masks_that_lie_beside_the_images_give_pixel_metrics(
    deployed: Any, detectors: dict[str, Detector], evaluation: Evaluation
) -> None:
    metrics = pytest.importorskip('sklearn.metrics')
    detector = detectors['padim']
    maps, masks = [], []
    for frame in open_source(str(deployed.test_folder)):
        assert frame.image is not None
        anomaly_map = detector.inspect(frame.image).anomaly_map
        mask = Masks().read(Path(frame.source), frame.image.size, anomaly_map.shape)
        maps.append(anomaly_map.ravel())
        masks.append(np.zeros(anomaly_map.size, np.bool_) if mask is None else mask.ravel())
    found = evaluation.models['padim'].figures
    expected = metrics.roc_auc_score(np.concatenate(masks), np.concatenate(maps))
    assert found.pixel_auroc == pytest.approx(expected, abs=1e-6)
    assert found.aupro is not None
    assert open_bundle(deployed.run_dir / 'pytorch').manifest.metrics['aupro'] == pytest.approx(
        found.aupro, abs=0.02
    )


def test_masks_of_no_use_are_named_and_counted(
    deployed: Any, detectors: dict[str, Detector], tmp_path: Path
) -> None:
    folder = tmp_path / 'test'
    shutil.copytree(deployed.test_folder, folder)
    first, second = sorted((folder / 'masks').iterdir())[:2]
    first.rename(folder / 'masks' / 'nobody.png')
    second.write_bytes(cv2.imencode('.png', np.full((10, 99), 255, np.uint8))[1].tobytes())
    found = evaluate_source(open_source(str(folder)), 'images', detectors)
    values = to_dict(found)
    assert (values['unmatched_masks'], values['unfit_masks']) == (1, 1)
    assert [line.partition(':')[0] for line in values['warnings']] == [
        str(second),
        str(folder / 'masks' / 'nobody.png'),
        # Some of the images chose its threshold.
        'padim',
    ]
    assert found.models['padim'].figures.pixel_auroc is not None


def test_a_image_that_cannot_be_inspected_is_missing_and_the_rest_goes_on(
    deployed: Any, detectors: dict[str, Detector], tmp_path: Path
) -> None:
    folder = tmp_path / 'mixed'
    shutil.copytree(deployed.test_folder / 'normal', folder / 'normal')
    (folder / 'normal' / 'broken.png').write_bytes(b'no image')
    cv2.imwrite(str(folder / 'tiny.png'), np.zeros((3, 5), np.uint8))
    evaluation = evaluate_source(open_source(str(folder)), 'images', detectors)
    found = evaluation.models['padim']
    assert (found.figures.images, found.figures.missing, found.figures.labelled) == (7, 1, 6)
    (missing,) = [row for row in found.rows if row.error]
    assert missing.source.endswith('broken.png')
    assert missing.score is None
    why = f'cannot be decoded as an image ({missing.source})'
    assert evaluation.warnings[0] == f'padim: 1 of 8 images have no verdict: {why}'


def test_bundles_of_one_model_are_told_apart_by_their_ids(deployed: Any, tmp_path: Path) -> None:
    copy = copy_bundle(open_bundle(deployed.bundle), tmp_path / 'PaDiM')
    with pytest.raises(ConfigError, match='the same bundle was named before'):
        load_detectors([deployed.bundle, deployed.bundle])
    assert copy.bundle_id == open_bundle(deployed.bundle).bundle_id


def test_a_camera_is_no_source_for_an_evaluation(detectors: dict[str, Detector]) -> None:
    camera = Live()
    with pytest.raises(DatasetError, match='camera:0: a camera never ends; record a bag'):
        evaluate_source(camera, 'camera:0', detectors)


def test_rows_are_completed_by_the_bag_that_was_replayed(
    evaluation: Evaluation, bag: Path, tmp_path: Path
) -> None:
    rows = [replace(row, label='', source='') for row in evaluation.models['padim'].rows]
    path = write_rows(tmp_path / 'result_padim.csv', rows[:-2])
    alone = evaluate_results([path], {}).models['padim'].figures
    assert (alone.images, alone.missing, alone.labelled) == (14, 0, 0)
    found = evaluate_results([path], {}, replayed=BagSource(bag)).models['padim']
    assert (found.figures.images, found.figures.missing, found.figures.labelled) == (14, 2, 14)
    assert [row.error for row in found.rows[-2:]] == ['has no row', 'has no row']


def test_drift_and_overlays_need_the_bundle_that_made_the_rows(
    detectors: dict[str, Detector], evaluation: Evaluation, tmp_path: Path
) -> None:
    own = detectors['padim']
    manifest = own.bundle.manifest
    # Six images were kept back: too few to compare with.
    assert len(manifest.score_range.normals) == 6
    low = manifest.score_range.minimum
    learned = replace(manifest.score_range, normals=tuple(low + n / 100 for n in range(30)))
    bundle = Bundle(own.bundle.folder, replace(manifest, score_range=learned), own.bundle.meta)
    detector = Detector(bundle, own.backend)
    row = evaluation.models['padim'].rows[0]
    row = replace(row, label='', threshold=1e9, is_anomalous=False, score=1e6)
    rows = [replace(row, stamp_ns=number) for number in range(1, 101)]
    path = write_rows(tmp_path / 'result_padim.csv', rows)
    found = evaluate_results([path], {'padim': detector})
    assert [alarm.stamp_ns for alarm in found.models['padim'].figures.drift or ()] == [50, 100]
    assert (found.models['padim'].detector, found.warnings) == (detector, [])
    path = write_rows(tmp_path / 'b.csv', [replace(row, bundle_id='another') for row in rows])
    found = evaluate_results([path], {'padim': detector})
    assert found.models['padim'].figures.drift is None
    assert found.models['padim'].detector is None
    assert 'padim: its rows are of bundle another, and' in found.warnings[0]


def test_the_report_is_whole_and_safe(evaluation: Evaluation, tmp_path: Path) -> None:
    hostile = '</script><script>alert(1)</script>'
    page = write_report(
        tmp_path / 'report', replace(evaluation, source=hostile, warnings=[hostile])
    )
    html = page.read_text(encoding='utf-8')
    # Ours are the data, plotly and the page's own; a name makes no further one.
    own = re.sub(r'<script>/\*\*.*?plotly.*?</script>', '', html, count=1, flags=re.DOTALL)
    assert hostile not in own
    assert '&lt;/script&gt;&lt;script&gt;alert(1)' in own
    assert 'src="http' not in own
    assert 'href=' not in own
    figures = json.loads((tmp_path / 'report' / 'report.json').read_text(encoding='utf-8'))
    assert figures['image_auroc'] == evaluation.models['padim'].figures.image_auroc
    assert figures['models']['padim']['images'] == 16
    assert figures['warnings'] == [hostile]
    shown = html.count('src="data:image/jpeg;base64,')
    assert shown == 16
    order = [float(one) for one in re.findall(r'data-score="([^"]+)"', html)]
    wrong = [
        row.score
        for row in evaluation.models['padim'].rows
        if row.is_anomalous != (row.label != 'normal')
    ]
    # Mistakes come first.
    assert set(order[: len(wrong)]) == set(wrong)
    assert '<dt>threshold</dt><dd>' in html


def test_kinds_can_be_grouped_by_an_expression(evaluation: Evaluation) -> None:
    found = group_kinds(evaluation, r'(scratch|spot)').models['padim'].figures.defect_types
    assert set(found) <= {'scratch', 'spot', 'other'}
    with pytest.raises(ConfigError, match=r"kinds is '\(', no regular expression"):
        group_kinds(evaluation, '(')


def test_a_report_of_rows_alone_says_which_images_are_gone(
    evaluation: Evaluation, deployed: Any, tmp_path: Path
) -> None:
    rows = list(evaluation.models['padim'].rows)
    images = list_images(deployed.test_folder)
    assert rows[0].source == str(images[0])
    here = write_rows(tmp_path / 'here.csv', rows)
    page = write_report(tmp_path / 'a', evaluate_results([here], {}))
    assert 'the image is not at hand' not in page.read_text(encoding='utf-8')
    gone = write_rows(tmp_path / 'gone.csv', [replace(row, source='/gone.png') for row in rows])
    page = write_report(tmp_path / 'b', evaluate_results([gone], {}))
    assert 'the image is not at hand' in page.read_text(encoding='utf-8')
    assert 'data:image/jpeg' not in page.read_text(encoding='utf-8')


def test_frames_of_a_video_are_shown(evaluation: Evaluation, tmp_path: Path) -> None:
    video = tmp_path / 'film.avi'
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*'MJPG'), 5, (64, 64))
    for level in (0, 90, 180):
        writer.write(np.full((64, 64, 3), level, np.uint8))
    writer.release()
    row = evaluation.models['padim'].rows[0]
    rows = [
        replace(row, stamp_ns=number, source=f'{video}#{number}', label='') for number in (0, 2)
    ]
    path = write_rows(tmp_path / 'result_padim.csv', rows)
    found = evaluate_results([path], {}).find_images([0, 2])
    assert {stamp: round(float(one.pixels.mean()), -1) for stamp, one in found.items()} == {
        0: 0,
        2: 180,
    }


def test_the_command_takes_images_bags_and_rows(
    deployed: Any,
    bag: Path,
    evaluation: Evaluation,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_rows(tmp_path / 'result_padim.csv', list(evaluation.models['padim'].rows))
    for words in (
        ['--images', str(deployed.test_folder), '--bundle', str(deployed.bundle)],
        ['--bag', str(bag), '--bundle', str(deployed.bundle), '--topic', 'image_raw'],
        ['--results', str(path), '--replayed', str(bag)],
    ):
        assert main(['evaluate', *words, '--report', str(tmp_path / 'r'), '--json']) == 0
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert result['image_auroc'] == pytest.approx(
            evaluation.models['padim'].figures.image_auroc
        )
        assert result['missing'] == result['duplicates'] == 0
        assert result['report'] == str(tmp_path / 'r' / 'report.html')
    assert main(['evaluate', '--results', str(path)]) == 0
    assert 'false-reject rate' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--images', '.'], '--images needs --bundle: name the bundle that is to inspect them'),
        (['--bag', 'none.mcap'], 'none.mcap: no such bag'),
        (['--bag', 'BAG', '--bundle', 'none'], 'none/meta.json: missing'),
        (
            ['--bag', 'BAG', '--bundle', 'BUNDLE', '--topic', 'x'],
            'no images on topic /x; it has',
        ),
        (['--bag', 'BAG'], 'no results of a detector; inspect its images with --bundle'),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str],
    message: str,
    bag: Path,
    deployed: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = {'BAG': str(bag), 'BUNDLE': str(deployed.bundle)}
    assert main(['evaluate', *(names.get(word, word) for word in words)]) == 1
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith('error')]
    assert message in line


def test_a_warning_of_a_torn_bag_is_shown_and_kept(
    deployed: Any, bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = shutil.copytree(bag, tmp_path / 'torn')
    (torn / 'metadata.yaml').unlink()
    words = ['--bag', str(torn), '--bundle', str(deployed.bundle), '--json']
    assert main(['evaluate', *words]) == 0
    out, err = capsys.readouterr()
    warning, flattering = json.loads(out.splitlines()[-1])['warnings']
    assert 'has no metadata.yaml' in warning
    assert 'chose the threshold' in flattering
    assert f'warning: {warning}' in err


def test_images_that_a_damaged_bag_lost_are_missing(
    deployed: Any,
    bag: Path,
    tmp_path: Path,
    evaluation: Evaluation,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torn = shutil.copytree(bag, tmp_path / 'torn')
    # Its metadata tells of four more images than are left in the file, whose end is cut off.
    metadata, storage = torn / 'metadata.yaml', torn / 'bag.mcap'
    metadata.write_text(metadata.read_text().replace('message_count: 16', 'message_count: 20'))
    storage.write_bytes(storage.read_bytes()[:-8])
    results = write_rows(tmp_path / 'r.csv', list(evaluation.models['padim'].rows[:15]))
    for words, counts in (
        (['--bag', str(torn), '--bundle', str(deployed.bundle)], (16, 4)),
        # One more has no row.
        (['--results', str(results), '--replayed', str(torn)], (15, 5)),
    ):
        assert main(['evaluate', *words, '--json']) == 0
        out, err = capsys.readouterr()
        found = json.loads(out.splitlines()[-1])
        assert (found['images'], found['missing']) == counts
        assert 'cut short or damaged' in err


def test_memory_does_not_grow_with_the_bag(tmp_path: Path) -> None:
    """Ten times the images, and as much memory."""
    script = textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        import numpy as np
        from adet_evaluation.bags import BagOptions, BagSource, record_images
        from adet_core.image import Image
        from adet_core.io.sources import Frame

        class Frames:
            is_live, total = False, None
            def __iter__(self):
                for level in range(int(sys.argv[2])):
                    pixels = np.full((512, 512, 3), level % 251, np.uint8)
                    yield Frame(Image(pixels, 'bgr8'), f'{level}.png')

        path = Path(sys.argv[1], sys.argv[2])
        record_images(Frames(), path, BagOptions(start_ns=1))
        assert sum(1 for _ in BagSource(path)) == int(sys.argv[2])
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """)
    peaks = []
    for count in (30, 300):
        command = [sys.executable, '-c', script, str(tmp_path), str(count)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(int(done.stdout) / 1024)
    # 200 MB more images.
    assert peaks[1] - peaks[0] < 40
