# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What was trained, on which images and from what: the runs under a models root."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
import json
from pathlib import Path
from typing import Any

from adet_core.bundle import Bundle, open_bundle
from adet_core.errors import BundleError, ConfigError, did_you_mean
from adet_core.run_folders import BUNDLE_FOLDER, deployed_folders, run_folders

FIGURES = ('image_auroc', 'pixel_auroc', 'aupro', 'image_f1')
"""Metrics of a run that are listed, where it has them."""


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """A bundle under a models root, and where it comes from.

    Attributes:
        folder: Of the run, or of the deployed model.
        state: ``run``, ``deployed``, or ``retrained`` since it was deployed.
        bundle_id: Names its content.
        parent: The bundle it was made from: of a deployed one that of its run, of a retrained one
            that which was deployed; None for a run.
        model: The model name.
        category: What it inspects.
        created: When it was trained, ISO 8601.
        data: Fingerprint of the images, which tells whether two runs had the same.
        images: Normal images that it was fitted to.
        parameters: The hyper-parameters and the seed.
        metrics: Of the test images.
        threshold: Of the image.
        mib: Size of the bundle in MiB.
        versions: Of adet and its libraries.
    """

    folder: str
    state: str
    bundle_id: str
    parent: str | None
    model: str
    category: str
    created: str
    data: str
    images: int
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    threshold: float
    mib: float
    versions: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` gives it."""
        return asdict(self)


def find_runs(
    models_root: Path, *, model: str | None = None, category: str | None = None
) -> tuple[list[RunInfo], list[str]]:
    """All bundles under a models root, the oldest first.

    Args:
        models_root: Holds the folders of the models.
        model: This model's alone.
        category: This category's alone.

    Returns:
        The bundles; and one line for each folder that holds a damaged one.

    Raises:
        ConfigError: There is no such folder.
    """
    if not models_root.is_dir():
        raise ConfigError(f'{models_root}: no such folder; name the models with --models-root')
    found, damaged = [], []
    for folder, is_deployed in _folders(models_root):
        if not folder.is_dir():
            damaged.append(f'{folder.parent}: no bundle, the training did not end')
            continue
        try:
            bundle = open_bundle(folder)
        except BundleError as error:
            damaged.append(str(error))
            continue
        manifest = bundle.manifest
        if model in (None, manifest.model) and category in (None, manifest.category):
            found.append(_describe(bundle, is_deployed))
    return sorted(found, key=lambda run: (run.created, run.state != 'run')), damaged


def _folders(models_root: Path) -> Iterator[tuple[Path, bool]]:
    for folder in deployed_folders(models_root):
        yield folder, True
    for folder in run_folders(models_root):
        yield folder / BUNDLE_FOLDER, False


def _describe(bundle: Bundle, is_deployed: bool) -> RunInfo:
    manifest = bundle.manifest
    is_retrained = bundle.report is not None
    return RunInfo(
        folder=str(bundle.folder if is_deployed else bundle.folder.parent),
        state='retrained' if is_retrained else 'deployed' if is_deployed else 'run',
        bundle_id=bundle.bundle_id,
        parent=bundle.base_id if is_deployed else None,
        model=manifest.model,
        category=manifest.category,
        created=manifest.created,
        data=manifest.dataset.fingerprint,
        images=manifest.dataset.train,
        parameters=manifest.hyper_parameters,
        metrics=manifest.metrics,
        threshold=manifest.image_threshold.value,
        mib=sum(entry.size for entry in manifest.files.values()) / (1 << 20),
        versions=manifest.versions,
    )


def trainings(runs: Sequence[RunInfo]) -> list[RunInfo]:
    """The runs alone, without what is deployed of them."""
    return [one for one in runs if one.state == 'run']


def service_of(run: RunInfo, runs: Sequence[RunInfo]) -> str | None:
    """Whether a run is ``deployed``, or ``retrained`` since; None where it is not.

    Args:
        run: One of the runs.
        runs: All, and what is deployed.
    """
    parents = {one.parent: one.state for one in runs if one.state != 'run'}
    return parents.get(run.bundle_id)


def pick(runs: Sequence[RunInfo], name: str) -> RunInfo:
    """The run of a bundle id, or of a folder.

    Raises:
        ConfigError: There is none.
    """
    path = Path(name)
    folders = {path.resolve(), path.resolve().parent}
    for run in runs:
        # A deployed bundle has the id of its run.
        if name == run.bundle_id or Path(run.folder).resolve() in folders:
            return run
    ids = [run.bundle_id for run in runs]
    raise ConfigError(f'{name}: no run of that bundle id or folder{did_you_mean(name, ids)}')


def differences(runs: Sequence[RunInfo]) -> dict[str, list[Any]]:
    """What runs do not have in common: a name, and the value of each run; None where it has none.

    Metrics come first, then data, hyper-parameters and versions.
    """
    described = [
        {
            **{name: run.metrics.get(name) for name in FIGURES},
            'threshold': run.threshold,
            'mib': round(run.mib, 1),
            'model': run.model,
            'category': run.category,
            'data': run.data,
            'images': run.images,
            **run.parameters,
            **{f'version of {name}': version for name, version in run.versions.items()},
        }
        for run in runs
    ]
    names = dict.fromkeys(name for one in described for name in one)
    values = {name: [one.get(name) for one in described] for name in names}
    return {name: row for name, row in values.items() if any(v != row[0] for v in row)}


def write_plot(runs: Sequence[RunInfo], path: Path) -> None:
    """Write a page with the image AUROC of the runs over time, which needs no network.

    Raises:
        ConfigError: No run has an image AUROC.
        OSError: The file cannot be written.
    """
    import plotly.graph_objects as graph

    shown = [run for run in runs if 'image_auroc' in run.metrics and run.state == 'run']
    if not shown:
        raise ConfigError('no run has an image AUROC to plot: it needs labelled test images')
    figure = graph.Figure(layout={'yaxis_title': 'image AUROC', 'template': 'plotly_white'})
    for name in sorted({f'{run.model}, {run.category}' for run in shown}):
        of_name = [run for run in shown if f'{run.model}, {run.category}' == name]
        figure.add_scatter(
            name=name,
            mode='markers+lines',
            x=[run.created for run in of_name],
            y=[run.metrics['image_auroc'] for run in of_name],
            text=[f'{run.bundle_id}, {run.images} images, data {run.data[:8]}' for run in of_name],
        )
    path.write_text(figure.to_html(include_plotlyjs=True, full_html=True), encoding='utf-8')


def text(value: Any) -> str:
    """A value in a table."""
    if value is None:
        return '-'
    return f'{value:.4g}' if isinstance(value, float) else json.dumps(value).strip('"')
