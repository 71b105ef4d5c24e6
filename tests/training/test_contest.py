# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet train --model auto``: several models on the same images, one recommended."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
import shutil
from typing import Any

import pytest

from adet_core.bundle import open_bundle
from adet_core.cli import main
from adet_core.errors import ConfigError
from adet_core.progress import silent
from adet_synth import write_dataset
from adet_training import contest
from adet_training.contest import (
    Candidate,
    CANDIDATES,
    candidates_for,
    hold_contest,
    recommend,
    Result,
)
from adet_training.quiet import quiet_libraries
from adet_training.train import TrainConfig

pytestmark = pytest.mark.training

# timm's smallest: most of the time would go into the graphs of a larger one.
SMALL = {'backbone': 'test_resnet', 'layers': 'layer2,layer3'}
PADIM = Candidate('padim', {'n_features': 8, **SMALL})
PATCHCORE = Candidate('patchcore', {'max_bank': 100, **SMALL})


@pytest.fixture
def config(few_images: Path, tmp_path: Path) -> TrainConfig:
    """A training of the smaller drawn data."""
    return TrainConfig(
        model='auto',
        category='plate',
        data_root=few_images,
        models_root=tmp_path / 'models',
        backbone_weights='random',
        settings={'image_size': 64},
    )


def test_the_command_prints_the_candidates_and_goes_on_with_the_recommended_one(
    few_images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    impossible = Candidate('patchcore', {'max_bank': 1})
    monkeypatch.setattr(contest, 'CANDIDATES', (PADIM, PATCHCORE, impossible))
    words = ['train', '--model', 'auto', '--category', 'plate', '--data-root', str(few_images)]
    words += ['--models-root', str(tmp_path / 'models'), '--set', 'image_size=64']
    assert main([*words, '--backbone-weights', 'random', '--json']) == 0
    result = json.loads(capsys.readouterr().out)
    rows = result['candidates']
    assert [row['model'] for row in rows] == [str(PADIM), str(PATCHCORE), str(impossible)]
    assert rows[2]['reason'].startswith('max_bank is 1, expected')
    # All runs are kept; what follows is about the recommended one.
    assert all((Path(row['run_dir']) / 'pytorch' / 'engine').is_dir() for row in rows[:2])
    assert result['run_dir'] in [row['run_dir'] for row in rows[:2]]
    assert all(row['ms'] > 0 for row in rows[:2])

    from adet_training.cli import train

    train.show(result)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith('(AUROC on test images)')
    assert sum(line.endswith('recommended') for line in lines) == 1
    assert f'adet deploy {result["run_dir"]}' in lines[-1]


def test_one_proposal_is_taken_for_all_candidates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {'train': 4, 'test_normal': 1, 'test_anomaly': 1}
    data = tmp_path / 'data'
    write_dataset(data, category='wide', size=(400, 200), seed=0, **counts)
    # Nothing is known of defects then, and no proportions are lost.
    shutil.rmtree(data / 'test')
    monkeypatch.setattr(contest, 'CANDIDATES', (PADIM, PATCHCORE))
    words = ['train', '--model', 'auto', '--category', 'wide', '--data-root', str(data)]
    words += ['--models-root', str(tmp_path / 'models'), '--set', 'tiles=auto']
    assert main([*words, '--backbone-weights', 'random', '--json']) == 0
    told = capsys.readouterr()
    assert told.err.count('proposed: ') == 1
    assert 'for all models; the costs are those of padim:' in told.err
    sizes = set()
    for row in json.loads(told.out)['candidates']:
        image = open_bundle(Path(row['run_dir'], 'pytorch')).manifest.image
        sizes.add((image.width, image.height))
    # Not the usual square: twice as wide as high.
    assert sizes == {(352, 192)}


def test_the_time_ends_what_is_not_done_but_never_the_first(config: TrainConfig) -> None:
    with quiet_libraries():
        done, late = hold_contest(
            config, max_s=1e-3, progress=silent, candidates=[PADIM, PATCHCORE]
        )
    assert done.run is not None
    assert (late.run, late.reason) == (None, 'not done in time')
    assert recommend([done, late]) is done


def test_without_labels_made_up_defects_compare(config: TrainConfig, tmp_path: Path) -> None:
    shutil.copytree(config.data_root / 'train', tmp_path / 'data' / 'train')
    unlabelled = replace(config, data_root=tmp_path / 'data')
    with quiet_libraries():
        (found,) = hold_contest(unlabelled, max_s=60, progress=silent, candidates=[PADIM])
    assert found.run is not None
    assert 'image_auroc' not in found.run.bundle.manifest.metrics
    assert found.auroc is not None
    assert 0 <= found.auroc <= 1


def test_single_features_are_tried_in_tiles() -> None:
    assert candidates_for({}) == candidates_for({'tiles': 0}) == CANDIDATES
    tried = candidates_for({'tiles': 256})
    added = [one for one in tried if one not in CANDIDATES]
    assert [(one.model, one.settings['patch_size']) for one in added] == [('patchcore', 1)]
    assert len(tried) == len(CANDIDATES) + 1
    assert tried[0] == CANDIDATES[0]


def result(auroc: float, ms: float, candidate: Candidate = PADIM) -> Result:
    run: Any = object()
    return Result(candidate=candidate, run=run, auroc=auroc, ms=ms)


def test_a_slower_model_has_to_be_better_by_more_than_chance() -> None:
    quick, slow = result(0.950, 5.0), result(0.958, 20.0)
    assert recommend([slow, quick]) is quick
    better = result(0.97, 20.0)
    assert recommend([better, quick]) is better


def test_single_features_have_to_be_better_than_the_mean_of_nine() -> None:
    single = next(one for one in candidates_for({'tiles': 256}) if 'patch_size' in one.settings)
    quick, usual = result(0.98, 5.0, single), result(0.975, 6.0)
    assert recommend([quick, usual]) is usual
    better = result(0.99, 5.0, single)
    assert recommend([better, usual]) is better
    # Nothing else could be trained.
    assert recommend([quick]) is quick


def test_a_setting_that_not_every_model_has_is_refused(config: TrainConfig) -> None:
    wrong = replace(config, settings={'n_features': 50})
    with pytest.raises(ConfigError, match='hyper-parameters of every model, not n_features'):
        hold_contest(wrong, max_s=60, progress=silent, candidates=[PADIM])


@pytest.mark.parametrize('text', ['0', '-1', 'soon', 'nan', 'inf'])
def test_the_time_is_a_number_of_minutes(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match='2'):
        main(['train', '--model', 'auto', '--category', 'plate', '--max-time', text])
    assert f"'{text}' is not a number of minutes above 0" in capsys.readouterr().err
