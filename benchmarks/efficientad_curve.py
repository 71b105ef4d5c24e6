# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Image AUROC of EfficientAD after trainings of more and more steps.

    python benchmarks/efficientad_curve.py --data-root data --categories ELPV_mono MT_tile

Each row is a training of its own, with its own schedule. It may be killed at any time: the same
command goes on with the training that was interrupted, and leaves out those that are done. Writes
efficientad_curve.json and prints a table; the times are of this machine as it was.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from adet_core.progress import progress_bars
from adet_training.parameters import parse_settings
from adet_training.quiet import quiet_libraries
from adet_training.train import train, TrainConfig
from adet_training.versions import library_versions


def main() -> None:
    """Train, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data-root', type=Path, required=True)
    parser.add_argument('--categories', nargs='+', required=True)
    parser.add_argument('--steps', type=int, nargs='+', default=[2, 250, 500, 1000])
    parser.add_argument('--set', nargs='*', default=[])
    parser.add_argument('--models-root', type=Path, default=Path('models'))
    parser.add_argument('--out', type=Path, default=Path('efficientad_curve.json'))
    arguments = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    if arguments.out.is_file():
        found = json.loads(arguments.out.read_text())['trainings']
    for steps in arguments.steps:
        for category in arguments.categories:
            name = ' '.join([category, str(steps), *arguments.set])
            if name in found:
                continue
            found[name] = _train(arguments, category, steps)
            versions = library_versions('anomalib', 'torch')
            text = json.dumps({'versions': versions, 'trainings': found}, indent=2)
            arguments.out.write_text(text + '\n')
    print('| training | image AUROC | AUPRO | fit, s |\n|---|---|---|---|')
    for name, one in found.items():
        cells = (f'{one[key]:.3f}' if one[key] else '' for key in ('image_auroc', 'aupro'))
        print(f'| {name} | {" | ".join(cells)} | {one["fit_s"]:.0f} |')


def _train(arguments: argparse.Namespace, category: str, steps: int) -> dict[str, Any]:
    config = TrainConfig(
        model='efficientad',
        category=category,
        data_root=arguments.data_root,
        models_root=arguments.models_root,
        backbone_weights='auto',
        settings={**parse_settings(arguments.set), 'steps': steps},
        resume='auto',
    )
    with progress_bars() as progress, quiet_libraries():
        run = train(config, progress=progress, tell=print)
    manifest = run.bundle.manifest
    return {
        'image_auroc': manifest.metrics['image_auroc'],
        'aupro': manifest.metrics.get('aupro'),
        'fit_s': run.fit_seconds,
        'train': manifest.dataset.train,
        'test': [manifest.dataset.test_normal, manifest.dataset.test_anomaly],
        'teacher': manifest.hyper_parameters['teacher'],
        'natural_images': manifest.hyper_parameters['natural_images'],
    }


if __name__ == '__main__':
    main()
