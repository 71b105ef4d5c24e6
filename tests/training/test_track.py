# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet train --track``: a run in MLflow."""

from __future__ import annotations

from contextlib import nullcontext
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_models import Train

from adet_core.errors import ConfigError
from adet_training import track as module
from adet_training.track import check_tracking, track

pytestmark = pytest.mark.training


def test_without_mlflow_it_is_said_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'find_spec', lambda _: None)
    with pytest.raises(ConfigError, match='not installed: pip install mlflow-skinny'):
        check_tracking()


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is told to a stand-in for MLflow, by the name of its function."""
    found: dict[str, Any] = {}
    started = nullcontext(SimpleNamespace(info=SimpleNamespace(run_id='abc')))

    def keeps(name: str) -> Any:
        return lambda *values: found.update({name: values if len(values) > 1 else values[0]})

    names = ('set_tracking_uri', 'set_experiment', 'log_params', 'log_metrics', 'set_tags')
    stand_in = SimpleNamespace(
        **{name: keeps(name) for name in (*names, 'log_artifacts')},
        start_run=lambda **_: started,
    )
    monkeypatch.setitem(sys.modules, 'mlflow', stand_in)
    return found


def test_a_run_is_logged_with_its_data_and_its_bundle(
    trained: Train, logged: dict[str, Any]
) -> None:
    run = trained('padim').run
    assert track(run, 'sqlite:///runs.db') == 'abc'
    manifest = run.bundle.manifest
    assert logged['set_tracking_uri'] == 'sqlite:///runs.db'
    assert logged['set_experiment'] == manifest.category
    assert logged['log_params']['n_features'] == '24'
    assert logged['log_metrics']['image_auroc'] == manifest.metrics['image_auroc']
    assert logged['set_tags']['data_fingerprint'] == manifest.dataset.fingerprint
    assert logged['log_artifacts'] == (str(run.bundle.folder), 'pytorch')


def test_a_server_that_fails_is_one_line_that_names_the_run(
    trained: Train, logged: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> None:
        raise OSError('no such server\nand more')

    monkeypatch.setattr(sys.modules['mlflow'], 'set_experiment', refuse)
    run = trained('padim').run
    with pytest.raises(ConfigError, match=r'MLflow failed \(no such server\); the run in'):
        track(run, 'http://nowhere:5000')
    assert logged['set_tracking_uri'] == 'http://nowhere:5000'


def test_mlflow_itself_keeps_a_run_in_a_database(trained: Train, tmp_path: Any) -> None:
    mlflow = pytest.importorskip('mlflow')
    run = trained('padim').run
    uri = f'sqlite:///{tmp_path}/runs.db'
    found = mlflow.MlflowClient(uri).get_run(track(run, uri))
    assert found.data.metrics['fit_seconds'] == pytest.approx(run.fit_seconds)
    assert found.data.tags['bundle_id'] == run.bundle.bundle_id
