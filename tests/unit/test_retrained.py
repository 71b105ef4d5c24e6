# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Retrained sets on disk: in service whole or not at all, kept, rejected and rolled back."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
import json
from pathlib import Path
import random
import shutil
from typing import Any

import builders
import numpy as np
import pytest
import victims

from adet_core.bundle import (
    Bundle,
    Figures,
    keep_rejected,
    kept_sets,
    only_retraining,
    open_bundle,
    read_engine,
    RETRAIN_FOLDER,
    RetrainReport,
    rollback,
    ScoreRange,
    Threshold,
    write_arrays,
    write_retrained,
)
from adet_core.cli.retrain import describe
from adet_core.errors import BundleError
from adet_core.retraining import Outcome

STATS = 'stats.npz'


def report_of(bundle: Bundle, value: float, **other: Any) -> RetrainReport:
    line = Threshold(value=value, method='normal_quantile', normals=3, anomalies=0)
    figures = Figures(threshold=value, normals=3, rejected=0)
    values: dict[str, Any] = {
        'base': bundle.base_id,
        'previous': bundle.bundle_id,
        'created': f'2026-11-23T08:00:{value:08.3f}+00:00',
        'mode': 'incremental',
        'pictures': 2,
        'total': 9,
        'image_threshold': line,
        'pixel_threshold': line,
        'score_range': ScoreRange(minimum=0, maximum=2 * value),
        'before': figures,
        'after': figures,
        'settings': {'seed': 0},
        'learned': {'a' * 64: 'new.png'},
        'held_out': {},
        'versions': {},
    }
    return RetrainReport(**{**values, **other})


def put(folder: Path, value: float, *, keep: int = 5, **other: Any) -> Bundle:
    """Put a set into service whose threshold and mean are ``value``."""
    bundle = open_bundle(folder, in_service=True)
    arrays = {**builders.statistics(), 'mean': np.full_like(builders.statistics()['mean'], value)}
    contents = {STATS: partial(write_arrays, arrays=arrays)}
    return write_retrained(bundle, report_of(bundle, value, **other), contents, keep=keep)


def state(folder: Path) -> tuple[float, float]:
    """Threshold and mean of what is in service."""
    bundle = open_bundle(folder, in_service=True)
    mean = bundle.statistics()['mean']
    assert np.ptp(mean) == 0 or bundle.report is None
    return bundle.manifest.image_threshold.value, float(mean.flat[0])


def test_a_set_takes_the_place_of_threshold_and_statistics_alone(bundle_folder: Path) -> None:
    deployed = open_bundle(bundle_folder)
    meta = (bundle_folder / 'meta.json').read_bytes()
    made = put(bundle_folder, 5)
    assert state(bundle_folder) == (5, 5)
    assert (bundle_folder / 'meta.json').read_bytes() == meta
    assert made.bundle_id != deployed.bundle_id == made.base_id
    assert made.graph_id == deployed.bundle_id
    assert read_engine(made) == read_engine(deployed)
    assert made.weights() == deployed.weights()
    assert made.manifest.score_range.maximum == 10
    assert made.known_images() == ({'a' * 64: 'new.png'}, {})
    # Who asks for the deployed bundle gets that.
    assert open_bundle(bundle_folder).bundle_id == deployed.bundle_id
    np.testing.assert_array_equal(
        open_bundle(bundle_folder).statistics()['mean'], builders.statistics()['mean']
    )


def test_a_report_of_version_2_counts_defects_of_all_strengths_together(
    bundle_folder: Path,
) -> None:
    report = report_of(open_bundle(bundle_folder), 5)
    values = {**json.loads(report.to_json()), 'report_version': 2}
    values['after'] = {**values['after'], 'made_up': 180, 'made_up_caught': 66}
    del values['before']['made_up'], values['before']['made_up_caught']
    found = RetrainReport.from_json(json.dumps(values).encode())
    assert (found.after.made_up, found.after.made_up_caught) == ({'all': 180}, {'all': 66})
    assert found.before.made_up == {}
    # As this version has them, an older report may not.
    values['report_version'] = 3
    with pytest.raises(ValueError, match='made_up'):
        RetrainReport.from_json(json.dumps(values).encode())


def test_the_message_counts_made_up_defects_by_strength(bundle_folder: Path) -> None:
    bundle = open_bundle(bundle_folder)
    figures = partial(
        Figures, threshold=5, normals=3, rejected=0, made_up={'faint': 9, 'clear': 9}
    )
    report = report_of(
        bundle,
        5,
        before=figures(made_up_caught={'faint': 4, 'clear': 9}),
        after=figures(made_up_caught={'faint': 2, 'clear': 9}),
    )
    outcome = Outcome(bundle=bundle, report=report, fault='', kept=None, unreadable=[])
    expected = 'caught 13 -> 11 of 18 made-up defects (faint 4 -> 2 of 9, clear 9 -> 9 of 9)'
    assert expected in describe(outcome)


def test_sets_are_taken_back_one_after_the_other_and_put_back(bundle_folder: Path) -> None:
    base = open_bundle(bundle_folder).bundle_id
    first, second = put(bundle_folder, 5), put(bundle_folder, 6)
    assert rollback(bundle_folder).bundle_id == first.bundle_id
    assert state(bundle_folder) == (5, 5)
    assert rollback(bundle_folder).bundle_id == base
    assert open_bundle(bundle_folder, in_service=True).report is None
    with pytest.raises(BundleError, match='as it was deployed; there is nothing to roll back'):
        rollback(bundle_folder)
    assert rollback(bundle_folder, second.bundle_id).bundle_id == second.bundle_id
    assert state(bundle_folder) == (6, 6)
    assert rollback(bundle_folder, base).bundle_id == base
    with pytest.raises(BundleError, match=f'no kept set nonsense; choose one of: .*{base}'):
        rollback(bundle_folder, 'nonsense')


def test_the_history_has_a_bound(bundle_folder: Path) -> None:
    made = [put(bundle_folder, value, keep=2) for value in range(1, 7)]
    assert [one.bundle_id for one in kept_sets(bundle_folder)] == [
        made[4].bundle_id,
        made[3].bundle_id,
    ]
    assert rollback(bundle_folder).bundle_id == made[4].bundle_id


def test_a_rejected_set_is_kept_aside_and_changes_nothing(bundle_folder: Path) -> None:
    bundle = open_bundle(bundle_folder, in_service=True)
    contents = {STATS: partial(write_arrays, arrays=builders.statistics())}
    report = report_of(bundle, 7, rejected='it is bad')
    folder = keep_rejected(bundle, report, contents, keep=1)
    assert folder.parent == bundle_folder / RETRAIN_FOLDER / 'rejected'
    assert json.loads((folder / 'report.json').read_text())['rejected'] == 'it is bad'
    assert (folder / STATS).is_file()
    assert open_bundle(bundle_folder, in_service=True).bundle_id == bundle.bundle_id
    keep_rejected(bundle, replace(report, created='2027'), contents, keep=1)
    assert len(list(folder.parent.iterdir())) == 1


def test_a_set_of_another_bundle_is_passed_over(bundle_folder: Path, tmp_path: Path) -> None:
    put(bundle_folder, 5)
    other = builders.make_bundle(tmp_path / 'other', seed=9, weights=b'other')
    shutil.copytree(bundle_folder / RETRAIN_FOLDER, other.folder / RETRAIN_FOLDER)
    found = open_bundle(other.folder, in_service=True)
    assert found.report is None
    assert found.bundle_id == other.bundle_id


@pytest.mark.parametrize('name', [STATS, 'report.json'])
def test_damage_is_told_with_the_way_back(bundle_folder: Path, name: str) -> None:
    base = put(bundle_folder, 5).base_id
    path = bundle_folder / RETRAIN_FOLDER / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(BundleError, match=f'{name}: .*adet retrain .* --rollback {base}'):
        open_bundle(bundle_folder, in_service=True).statistics()
    # What the message advises works.
    assert rollback(bundle_folder, base).report is None


def test_a_set_that_cannot_be_written_leaves_the_old_one(bundle_folder: Path) -> None:
    put(bundle_folder, 5)

    def full(_: Any) -> None:
        raise OSError(28, 'No space left on device')

    bundle = open_bundle(bundle_folder, in_service=True)
    with pytest.raises(OSError, match='No space left'):
        write_retrained(bundle, report_of(bundle, 6), {STATS: full}, keep=5)
    assert state(bundle_folder) == (5, 5)
    assert put(bundle_folder, 7).manifest.image_threshold.value == 7


def test_one_retraining_at_a_time(bundle_folder: Path) -> None:
    with (
        only_retraining(bundle_folder),
        pytest.raises(BundleError, match='is being retrained already'),
        only_retraining(bundle_folder),
    ):
        pass
    with only_retraining(bundle_folder):
        pass


def test_whoever_is_killed_leaves_a_whole_set(bundle_folder: Path) -> None:
    chance, seen = random.Random(0), set()
    with victims.nursery('sets', bundle_folder) as process:
        for number in range(1, 13):
            victims.kill_one(process, number, chance)
            threshold, mean = state(bundle_folder)
            if open_bundle(bundle_folder, in_service=True).report is not None:
                assert threshold == mean
                seen.add(threshold)
    assert len(seen) > 2
