# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet runs``: what was trained, from what, and how two runs differ."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import builders
import pytest

from adet_core.bundle import Bundle, copy_bundle
from adet_core.errors import ConfigError
from adet_evaluation.cli import runs as command


def ask(root: Path, *words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(['--models-root', str(root), *words]))


def run_of(root: Path, stamp: str, **overrides: Any) -> Bundle:
    return builders.make_bundle(root / 'PaDiM' / 'plate' / stamp / 'pytorch', **overrides)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Bundle, Bundle]:
    """Two runs that differ in one hyper-parameter and one metric, the newer one deployed."""
    old = run_of(
        tmp_path,
        '20260101_000000',
        created='2026-01-01T00:00:00+00:00',
        hyper_parameters={'image_size': 256, 'seed': 0},
        metrics={'image_auroc': 0.9},
    )
    new = run_of(
        tmp_path,
        '20260102_000000',
        created='2026-01-02T00:00:00+00:00',
        hyper_parameters={'image_size': 320, 'seed': 0},
        metrics={'image_auroc': 0.95},
    )
    copy_bundle(new, tmp_path / 'PaDiM')
    return old, new


def test_runs_are_listed_with_where_they_come_from(
    two: tuple[Bundle, Bundle], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = two
    found = ask(tmp_path)
    listed = [(one['bundle_id'], one['service'], one['state']) for one in found['runs']]
    assert listed == [(old.bundle_id, None, 'run'), (new.bundle_id, 'deployed', 'run')]
    assert found['runs'][0]['data'] == old.manifest.dataset.fingerprint
    command.show(found)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ['bundle_id', 'service', 'created', 'model']
    assert lines.pop() == f'what is deployed: adet list --models-root {tmp_path}'
    assert [line.split()[0] for line in lines[1:]] == [one['bundle_id'] for one in found['runs']]
    assert '0.95' in lines[2]


def test_two_runs_are_compared_in_what_they_do_not_share(
    two: tuple[Bundle, Bundle], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = two
    found = ask(tmp_path, old.bundle_id, str(new.folder.parent))
    assert found['differences'] == {'image_auroc': [0.9, 0.95], 'image_size': [256, 320]}
    command.show(found)
    assert capsys.readouterr().out.splitlines()[2].split() == ['image_size', '256', '320']
    same = ask(tmp_path, old.bundle_id, old.bundle_id)
    command.show(same)
    assert 'everything in common' in capsys.readouterr().out


def test_a_plot_holds_the_runs_and_needs_no_network(
    two: tuple[Bundle, Bundle], tmp_path: Path
) -> None:
    page = tmp_path / 'runs.html'
    ask(tmp_path, '--plot', str(page))
    written = page.read_text()
    assert all(bundle.bundle_id in written for bundle in two)
    assert 'src="http' not in written


def test_a_damaged_run_is_named_and_passed_over(
    two: tuple[Bundle, Bundle], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (two[0].folder / 'meta.json').write_text('{')
    (tmp_path / 'PaDiM' / 'plate' / '20260103_000000' / 'logs').mkdir(parents=True)
    assert [one['bundle_id'] for one in ask(tmp_path)['runs']] == [two[1].bundle_id]
    told = capsys.readouterr().err
    assert f'skipped: {two[0].folder}' in told
    assert '20260103_000000: no bundle, the training did not end\n' in told


def test_a_run_and_what_it_became_are_compared(two: tuple[Bundle, Bundle], tmp_path: Path) -> None:
    found = ask(tmp_path, two[0].bundle_id, str(tmp_path / 'PaDiM'))
    assert [one['bundle_id'] for one in found['runs']] == [one.bundle_id for one in two]
    assert found['differences']['image_size'] == [256, 320]


def test_what_is_not_there_is_refused(two: tuple[Bundle, Bundle], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='no such folder; name the models with --models-root'):
        ask(tmp_path / 'nowhere')
    with pytest.raises(ConfigError, match='no run there; train one: adet train'):
        ask(tmp_path, '--model', 'vae')
    with pytest.raises(ConfigError, match='name two runs to compare'):
        ask(tmp_path, two[0].bundle_id)
    with pytest.raises(ConfigError, match='abc: no run of that bundle id or folder'):
        ask(tmp_path, 'abc', two[0].bundle_id)
    run_of(tmp_path / 'plain', '20260101_000000', metrics={})
    with pytest.raises(ConfigError, match='no run has an image AUROC to plot'):
        ask(tmp_path / 'plain', '--plot', str(tmp_path / 'page.html'))
