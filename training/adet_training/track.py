# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""A run in MLflow: its parameters, figures and bundle, in a database or on a server."""

from __future__ import annotations

from importlib.util import find_spec
import os
from typing import Any

from adet_core.errors import ConfigError
from adet_core.run_folders import BUNDLE_FOLDER
from adet_training.train import Run

# MLflow refuses longer values.
_LONGEST = 500


def check_tracking() -> None:
    """Refuse to track without MLflow, before anything is trained.

    Raises:
        ConfigError: It is not installed.
    """
    if find_spec('mlflow') is None:
        msg = '--track needs MLflow, which is not installed: pip install mlflow-skinny'
        raise ConfigError(msg)


def track(run: Run, uri: str) -> str:
    """Log a finished run; the experiment is the category.

    Args:
        run: The run.
        uri: MLflow's tracking URI, e.g. ``sqlite:///runs.db`` or ``http://server:5000``.

    Returns:
        MLflow's id of the run.

    Raises:
        ConfigError: MLflow cannot log there; the run itself is whole.
    """
    # MLflow would report to its makers.
    os.environ.setdefault('MLFLOW_DISABLE_TELEMETRY', 'true')
    import mlflow

    manifest = run.bundle.manifest
    parameters = {name: str(value)[:_LONGEST] for name, value in _parameters(run).items()}
    tags = {
        'bundle_id': run.bundle.bundle_id,
        'data_fingerprint': manifest.dataset.fingerprint,
        **{f'version.{name}': version for name, version in manifest.versions.items()},
    }
    try:
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(manifest.category)
        with mlflow.start_run(run_name=f'{manifest.model} {run.folder.name}') as started:
            mlflow.log_params(parameters)
            mlflow.log_metrics({**manifest.metrics, 'fit_seconds': run.fit_seconds})
            mlflow.set_tags(tags)
            mlflow.log_artifacts(str(run.folder / BUNDLE_FOLDER), BUNDLE_FOLDER)
            return str(started.info.run_id)
    except Exception as error:  # noqa: BLE001 - each of its stores fails in its own way
        reason = str(error).strip().splitlines()[0]
        msg = f'--track {uri}: MLflow failed ({reason:.200}); the run in {run.folder} is whole'
        raise ConfigError(msg) from None


def _parameters(run: Run) -> dict[str, Any]:
    manifest = run.bundle.manifest
    backbone = manifest.backbone
    origin = {'backbone_weights': f'{backbone.weights} ({backbone.source})'} if backbone else {}
    return {'model': manifest.model, **manifest.hyper_parameters, **origin}
