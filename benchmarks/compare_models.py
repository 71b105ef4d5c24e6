# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""The models side by side on one category: how well they find anomalies, and what they cost.

    python benchmarks/compare_models.py                              # on images drawn for it
    python benchmarks/compare_models.py --data-root data --category VisA_pipe_fryum

Each is trained, exported and checked as `adet train` and `adet export` do; then all inspect the
same images in turns, so that whatever else the machine does slows all of them alike. Writes
compare_models.json and prints a table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import json
import os
from pathlib import Path
import platform
from statistics import median, quantiles
import tempfile
from typing import Any

from adet_core.image import read_image
from adet_core.inference.detector import Detector
from adet_core.io.folders import list_images
from adet_core.progress import progress_bars
from adet_synth import write_dataset
from adet_training.export import export
from adet_training.parameters import parse_settings
from adet_training.quiet import quiet_libraries
from adet_training.train import train, TrainConfig
from adet_training.versions import library_versions

_WARM_UP = 5
_DRAWN = 'plate'
_FIGURES = ('image_auroc', 'pixel_auroc', 'aupro')


def main() -> None:
    """Train, measure, print and write."""
    arguments = _parse()
    with tempfile.TemporaryDirectory(prefix='adet_benchmark_') as scratch, quiet_libraries():
        models_root = arguments.models_root or Path(scratch)
        data_root, category = arguments.data_root, arguments.category
        if data_root is None:
            data_root, category = Path(scratch, 'data'), _DRAWN
            # Seed 0 draws what `make demo` draws.
            write_dataset(
                data_root,
                category=category,
                train=60,
                test_normal=20,
                test_anomaly=30,
                size=256,
                seed=0,
            )
        rows = {}
        with progress_bars() as progress:
            for name in arguments.models:
                config = TrainConfig(
                    model=name,
                    category=category,
                    data_root=data_root,
                    models_root=models_root,
                    backbone_weights=arguments.backbone_weights,
                    settings=_settings_of(name, arguments.set),
                    seed=arguments.seed,
                )
                rows[name] = _train(config, progress)
        detectors = {
            name: Detector.load(Path(row['bundle']), threads=arguments.threads)
            for name, row in rows.items()
        }
        _measure(detectors, rows, data_root / 'test' / category, arguments.rounds)
    result = {
        'category': category,
        'backbone_weights': arguments.backbone_weights,
        'seed': arguments.seed,
        'threads': arguments.threads,
        'cores': os.cpu_count(),
        'processor': platform.processor() or platform.machine(),
        'versions': library_versions('anomalib', 'torch', 'onnxruntime', 'numpy'),
        'models': rows,
    }
    arguments.out.write_text(json.dumps(result, indent=2) + '\n')
    print(_table(rows))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--models', nargs='+', default=['patchcore', 'padim', 'efficientad', 'vae']
    )
    parser.add_argument('--data-root', type=Path)
    parser.add_argument('--category', default=_DRAWN)
    parser.add_argument('--models-root', type=Path, help='keep the runs here')
    parser.add_argument('--backbone-weights', default='auto')
    parser.add_argument('--set', action='append', default=[], metavar='MODEL.KEY=VALUE')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=50)
    parser.add_argument('--out', type=Path, default=Path('compare_models.json'))
    return parser.parse_args()


def _settings_of(model: str, words: Sequence[str]) -> dict[str, Any]:
    prefix = f'{model}.'
    return parse_settings([word.removeprefix(prefix) for word in words if word.startswith(prefix)])


def _train(config: TrainConfig, progress: Any) -> dict[str, Any]:
    def tell(stage: str, done: int, total: int | None) -> None:
        progress(f'{config.model}: {stage}', done, total)

    run = train(config, progress=tell)
    manifest = run.bundle.manifest
    size = sum(entry.size for name, entry in manifest.files.items() if name != 'golden.npz')
    exported = export(run.bundle, progress=tell)
    return {
        'bundle': str(run.bundle.folder),
        **{name: manifest.metrics.get(name) for name in _FIGURES},
        'fit_seconds': run.fit_seconds,
        'bundle_mb': size / 1e6,
        'onnx_mb': exported.path.stat().st_size / 1e6,
        'hyper_parameters': manifest.hyper_parameters,
    }


def _measure(
    detectors: dict[str, Detector], rows: dict[str, Any], folder: Path, rounds: int
) -> None:
    """Milliseconds from decoded image to verdict, batch 1, of all models in turns."""
    paths = list_images(folder)
    images = [read_image(path) for path in paths[:: max(len(paths) // 20, 1)]]
    times: dict[str, list[float]] = {name: [] for name in detectors}
    for number in range(_WARM_UP + rounds):
        image = images[number % len(images)]
        for name, detector in detectors.items():
            spent = detector.inspect(image).inference_ms
            if number >= _WARM_UP:
                times[name].append(spent)
    for name, values in times.items():
        low, _, high = quantiles(values, n=4)
        rows[name]['ms'] = {'median': median(values), 'quartiles': [low, high]}


def _table(rows: dict[str, Any]) -> str:
    lines = [
        '| model | image AUROC | pixel AUROC | AUPRO | fit s | bundle MB | ms per image |',
        '|---|---|---|---|---|---|---|',
    ]
    for name, row in rows.items():
        figures = ['-' if row[key] is None else f'{row[key]:.3f}' for key in _FIGURES]
        low, high = row['ms']['quartiles']
        costs = [f'{row["fit_seconds"]:.0f}', f'{row["bundle_mb"]:.0f}']
        costs.append(f'{row["ms"]["median"]:.1f} ({low:.1f} to {high:.1f})')
        lines.append('| ' + ' | '.join([name, *figures, *costs]) + ' |')
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
