# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
r"""The models side by side on one category: how well they find anomalies, and what they cost.

    python benchmarks/compare_models.py                              # on images drawn for it
    python benchmarks/compare_models.py --data-root data --category VisA_pipe_fryum
    python benchmarks/compare_models.py --models padim 'patchcore max_bank=1000' \
        'padim backbone=resnet18 backbone_weights=resnet18.pth'

Each is trained, exported and checked as `adet train` and `adet export` do; then all inspect the
same images in turns, so that whatever else the machine does slows all of them alike. CPU time is
that of the process: with one thread it is what a machine that does nothing else takes. Writes
compare_models.json after each training, so that with --models-root the same command goes on after
an interruption, and prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import platform
from statistics import median, quantiles
import tempfile
import time
from typing import Any

from adet_core.bundle import GOLDEN_FILE, KNOWN_IMAGES_FILE, MADE_UP_FILE, NORMALS_FILE
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
# What a bundle keeps of images is not what is learned.
_IMAGES = {GOLDEN_FILE, NORMALS_FILE, MADE_UP_FILE, KNOWN_IMAGES_FILE}
# Not a hyper-parameter, but given like one.
_WEIGHTS = 'backbone_weights'
_FIGURES = ('image_auroc', 'pixel_auroc', 'aupro')


def main() -> None:
    """Train, measure, print and write."""
    arguments = _parse()
    result: dict[str, Any] = {'models': {}}
    if arguments.models_root and arguments.out.is_file():
        result = json.loads(arguments.out.read_text())
    found = result['models']
    result |= {
        'category': arguments.category,
        'backbone_weights': arguments.backbone_weights,
        'seed': arguments.seed,
        'threads': arguments.threads,
        'cores': os.cpu_count(),
        'processor': platform.processor() or platform.machine(),
        'versions': library_versions('anomalib', 'torch', 'onnxruntime', 'numpy'),
    }

    def write() -> None:
        arguments.out.write_text(json.dumps(result, indent=2) + '\n')

    with tempfile.TemporaryDirectory(prefix='adet_benchmark_') as scratch, quiet_libraries():
        models_root = arguments.models_root or Path(scratch)
        data_root = arguments.data_root
        if data_root is None:
            data_root = Path(scratch, 'data')
            # Seed 0 draws what `make demo` draws.
            write_dataset(
                data_root,
                category=arguments.category,
                train=60,
                test_normal=20,
                test_anomaly=30,
                size=256,
                seed=0,
            )
        with progress_bars() as progress:
            for words in arguments.models:
                config = _config(words, arguments, data_root, models_root)
                if (name := _name(config)) not in found:
                    found[name] = _train(config, progress)
                    write()
        rows = {name: found[name] for name in found if Path(found[name]['bundle']).is_dir()}
        detectors = {
            name: Detector.load(Path(row['bundle']), threads=arguments.threads)
            for name, row in rows.items()
        }
        _measure(detectors, rows, data_root / 'test' / arguments.category, arguments.rounds)
    write()
    print(_table(rows))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--models',
        nargs='+',
        default=['patchcore', 'padim', 'efficientad', 'vae'],
        metavar="'MODEL KEY=VALUE ...'",
    )
    parser.add_argument('--data-root', type=Path)
    parser.add_argument('--category', default=_DRAWN)
    parser.add_argument('--models-root', type=Path, help='keep the runs here')
    parser.add_argument('--backbone-weights', default='auto')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=50)
    parser.add_argument('--out', type=Path, default=Path('compare_models.json'))
    return parser.parse_args()


def _config(
    words: str, arguments: argparse.Namespace, data_root: Path, models_root: Path
) -> TrainConfig:
    model, *settings = words.split()
    values = parse_settings(settings)
    return TrainConfig(
        model=model,
        category=arguments.category,
        data_root=data_root,
        models_root=models_root,
        backbone_weights=str(values.pop(_WEIGHTS, arguments.backbone_weights)),
        settings=values,
        seed=arguments.seed,
    )


def _name(config: TrainConfig) -> str:
    return ' '.join([config.model, *(f'{key}={one}' for key, one in config.settings.items())])


def _train(config: TrainConfig, progress: Any) -> dict[str, Any]:
    def tell(stage: str, done: int, total: int | None) -> None:
        progress(f'{_name(config)}: {stage}', done, total)

    start = time.process_time()
    run = train(config, progress=tell)
    cpu_s = time.process_time() - start
    manifest = run.bundle.manifest
    size = sum(entry.size for name, entry in manifest.files.items() if name not in _IMAGES)
    exported = export(run.bundle, progress=tell)
    return {
        'bundle': str(run.bundle.folder),
        **{name: manifest.metrics.get(name) for name in _FIGURES},
        'fit_seconds': run.fit_seconds,
        'train_cpu_seconds': cpu_s,
        'bundle_mb': size / 1e6,
        'onnx_mb': exported.path.stat().st_size / 1e6,
        'images': [
            manifest.dataset.train,
            manifest.dataset.test_normal,
            manifest.dataset.test_anomaly,
        ],
        'hyper_parameters': manifest.hyper_parameters,
    }


def _measure(
    detectors: dict[str, Detector], rows: dict[str, Any], folder: Path, rounds: int
) -> None:
    """Milliseconds from decoded image to verdict, batch 1, of all models in turns."""
    paths = list_images(folder)
    images = [read_image(path) for path in paths[:: max(len(paths) // 20, 1)]]
    times: dict[str, list[float]] = {name: [] for name in detectors}
    cpu: dict[str, list[float]] = {name: [] for name in detectors}
    for number in range(_WARM_UP + rounds):
        image = images[number % len(images)]
        for name, detector in detectors.items():
            start = time.process_time()
            spent = detector.inspect(image).inference_ms
            if number >= _WARM_UP:
                times[name].append(spent)
                cpu[name].append(1e3 * (time.process_time() - start))
    for name, values in times.items():
        low, _, high = quantiles(values, n=4)
        rows[name]['ms'] = {'median': median(values), 'quartiles': [low, high]}
        rows[name]['cpu_ms'] = median(cpu[name])


def _table(rows: dict[str, Any]) -> str:
    lines = [
        '| model | image AUROC | pixel AUROC | AUPRO | fit s | training, CPU s | bundle MB '
        '| ms per image | CPU ms |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    for name, row in rows.items():
        figures = ['-' if row[key] is None else f'{row[key]:.3f}' for key in _FIGURES]
        low, high = row['ms']['quartiles']
        costs = [f'{row[key]:.0f}' for key in ('fit_seconds', 'train_cpu_seconds')]
        costs.append(f'{row["bundle_mb"]:.1f}')
        costs.append(f'{row["ms"]["median"]:.1f} ({low:.1f} to {high:.1f})')
        costs.append(f'{row["cpu_ms"]:.1f}')
        lines.append('| ' + ' | '.join([name, *figures, *costs]) + ' |')
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
