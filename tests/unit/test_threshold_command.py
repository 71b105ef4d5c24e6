# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet threshold``: what is shown, put into service and rolled back, without a network."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import builders
import pytest
from test_retrained import put

from adet_core.bundle import Bundle, open_bundle, ScoreRange
from adet_core.cli import threshold
from adet_core.errors import BundleError, ConfigError

KEPT = ScoreRange(
    minimum=0,
    maximum=200,
    normals=tuple(map(float, range(1, 100))),
    anomalies=tuple(map(float, range(90, 190))),
    made_up={'faint': (50.0, 95.0), 'strong': (120.0, 150.0)},
)
Out = pytest.CaptureFixture[str]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return builders.make_bundle(tmp_path / 'PaDiM', score_range=KEPT)


def run(*words: object) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    threshold.add_arguments(parser)
    result = threshold.run(parser.parse_args([str(word) for word in words]))
    return dict(json.loads(json.dumps(result, allow_nan=False)))


def test_a_threshold_is_shown_set_and_taken_back(bundle: Bundle, capsys: Out) -> None:
    shown = run(bundle.folder)
    assert shown['present']['threshold'] == builders.IMAGE_THRESHOLD
    assert (shown['present']['rejected'], shown['present']['missed']) == (40, 0)
    assert shown['present']['made_up_caught'] == {'faint': 1, 'strong': 2}
    rejected = [row['rejected'] for row in shown['trade_offs']]
    assert rejected == [0, 0, 1, 4, 9, 19]
    threshold.show(shown)
    assert '40 of 99 normal images rejected' in capsys.readouterr().out
    # Nothing is in service before somebody says so.
    run(bundle.folder, '--target-recall', 0.9)
    assert open_bundle(bundle.folder, in_service=True).report is None

    applied = run(bundle.folder, '--target-recall', 0.9, '--apply')
    assert applied['chosen']['threshold'] == 99
    assert applied['chosen']['missed'] == 9
    assert 'cross-fitted: ' in applied['chosen']['detail']
    now = open_bundle(bundle.folder, in_service=True)
    assert applied['bundle_id'] == now.bundle_id != bundle.bundle_id
    assert now.manifest.image_threshold.value == 99
    assert now.manifest.image_threshold.uncertain_from == builders.UNCERTAIN_FROM
    assert now.manifest.pixel_threshold == bundle.manifest.pixel_threshold
    assert now.report is not None
    assert (now.report.mode, now.report.before.rejected, now.report.after.rejected) == (
        'threshold',
        40,
        1,
    )
    assert (now.report.before.caught, now.report.after.caught) == (100, 91)
    threshold.show(applied)
    assert f'in service now, bundle {now.bundle_id}' in capsys.readouterr().out


def test_what_was_learned_stays(bundle: Bundle) -> None:
    learned = put(bundle.folder, 70.0)
    assert learned.report is not None
    with pytest.raises(BundleError, match='keeps no scores of normal images; train or retrain'):
        run(bundle.folder, '--false-reject-rate', 0.05)
    kept = put(bundle.folder, 70.0, score_range=KEPT)
    run(bundle.folder, '--false-reject-rate', 0.05, '--apply')
    now = open_bundle(bundle.folder, in_service=True)
    assert now.manifest.image_threshold.value != 70
    assert now.statistics()['mean'][0, 0, 0] == 70
    assert now.known_images() == kept.known_images()


@pytest.mark.parametrize(
    ('words', 'chosen'),
    [(['--cost-miss', 1000], 90), (['--cost-miss', 0.1, '--cost-reject', 10], 99)],
)
def test_costs_choose(bundle: Bundle, words: list[Any], chosen: float) -> None:
    found = run(bundle.folder, *words)['chosen']['threshold']
    assert found == pytest.approx(chosen, abs=1)


def test_what_cannot_be_chosen_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='--apply needs --false-reject-rate, --target-recall'):
        run(bundle.folder, '--apply')
    bare = ScoreRange(minimum=0, maximum=200, normals=(1.0, 2.0))
    other = builders.make_bundle(tmp_path / 'bare', score_range=bare)
    with pytest.raises(BundleError, match='keeps no scores of labelled anomalous images'):
        run(other.folder, '--target-recall', 0.9)
    for words in (['--target-recall', 1], ['--cost-miss', 0], ['--cost-miss', 'x']):
        with pytest.raises(SystemExit):
            run(bundle.folder, *words)
