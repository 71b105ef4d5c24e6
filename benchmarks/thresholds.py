# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What thresholds from normal images promise, beside what they do to images nobody has seen.

    python benchmarks/thresholds.py                                        # on images drawn for it
    python benchmarks/thresholds.py --data-root data --category MT_tile

Of all normal images of a category, each training gets a few, chosen at random; a part of these is
held out for the threshold. Other normal images and anomalies are inspected with it, at most
``--most`` of each. Over the trainings, the mean false-reject rate has to stay below the promised
one, and the stated bound has to hold at least as often as its confidence says. Writes
thresholds.json and prints a table.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from itertools import product
import json
from pathlib import Path
import tempfile

import numpy as np

from adet_core.io.folders import list_images
from adet_core.operating_point import made_up_caught, share_of
from adet_core.progress import progress_bars, ProgressCallback
from adet_synth import write_dataset
from adet_training.parameters import parse_settings
from adet_training.quiet import quiet_libraries
from adet_training.train import train, TrainConfig

_DRAWN = 'plate'


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One training.

    Attributes:
        normals: Normal images that it got.
        seed: Of the choice and of the training.
        promised: False-reject rate that the threshold promises on average.
        bound: Rate that it promises with its confidence.
        rejected: Share of the other normal images that it rejects.
        missed: Share of the anomalies that it misses; None without any.
        made_up_caught: Share of made-up defects that it catches.
    """

    normals: int
    seed: int
    promised: float
    bound: float
    rejected: float
    missed: float | None
    made_up_caught: float


def main() -> None:
    """Train, measure, print and write."""
    arguments = _parse()
    rows: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix='adet_benchmark_') as scratch, quiet_libraries():
        data_root, category = arguments.data_root, arguments.category
        if data_root is None:
            data_root = Path(scratch, 'data')
            write_dataset(
                data_root,
                category=category,
                train=max(arguments.normals) + 100,
                test_normal=50,
                test_anomaly=60,
                size=256,
                seed=0,
            )
        with progress_bars() as progress:
            # Seeds outermost: whoever ends it early has some of each.
            for seed, normals in product(range(arguments.seeds), arguments.normals):
                folder = Path(scratch, f'{normals}_{seed}')
                divide(data_root, category, folder, normals, seed, arguments.most)
                rows.append(_measure(arguments, category, folder, normals, seed, progress))
                _write(arguments, rows)
    print(table(rows))


def _write(arguments: argparse.Namespace, rows: list[Measured]) -> None:
    result = {
        'category': arguments.category,
        'model': arguments.model,
        'settings': arguments.set,
        'backbone_weights': arguments.backbone_weights,
        'rows': [asdict(row) for row in rows],
    }
    arguments.out.write_text(json.dumps(result, indent=2) + '\n')


def divide(
    data_root: Path, category: str, target: Path, normals: int, seed: int, most: int
) -> None:
    """Link some normal images of a category into ``train``, and others into ``test``."""
    test = data_root / 'test' / category
    rng = np.random.default_rng(seed)
    known = rng.permutation(np.array(list_images(data_root / 'train' / category))).tolist()
    others = [*known[normals:], *list_images(test / 'normal')]
    places = {
        target / 'train' / category: sorted(known[:normals]),
        target / 'test' / category / 'normal': _some(others, most, rng),
        target / 'test' / category / 'anomaly': _some(list_images(test / 'anomaly'), most, rng),
    }
    for folder, paths in places.items():
        folder.mkdir(parents=True)
        for number, path in enumerate(paths):
            # Numbered, as train and test may use the same names.
            (folder / f'{number:05}_{path.name}').symlink_to(path.resolve())


def _some(paths: list[Path], most: int, rng: np.random.Generator) -> list[Path]:
    return [paths[index] for index in sorted(rng.permutation(len(paths))[:most])]


def _measure(
    arguments: argparse.Namespace,
    category: str,
    folder: Path,
    normals: int,
    seed: int,
    progress: ProgressCallback,
) -> Measured:
    config = TrainConfig(
        model=arguments.model,
        category=category,
        data_root=folder,
        models_root=folder / 'models',
        backbone_weights=arguments.backbone_weights,
        settings={**parse_settings(arguments.set), 'threshold': 'normal'},
        seed=seed,
    )

    def tell(stage: str, done: int, total: int | None) -> None:
        progress(f'{normals} normal images, seed {seed}: {stage}', done, total)

    manifest = train(config, progress=tell).bundle.manifest
    threshold = manifest.image_threshold
    assert threshold.target_false_reject_rate is not None
    assert threshold.false_reject_bound is not None
    caught = made_up_caught(threshold.value, manifest.score_range)
    return Measured(
        normals=normals,
        seed=seed,
        promised=max(threshold.target_false_reject_rate, 1 / (threshold.normals + 1)),
        bound=threshold.false_reject_bound,
        rejected=manifest.metrics['false_reject_rate'],
        missed=manifest.metrics.get('false_accept_rate'),
        made_up_caught=caught.share if caught else 0.0,
    )


def table(rows: list[Measured]) -> str:
    """Means over the trainings, for people."""
    lines = [
        '| normal images | promised | rejected (range) | bound holds | made-up caught | missed |',
        '|---|---|---|---|---|---|',
    ]
    for normals in sorted({row.normals for row in rows}):
        some = [row for row in rows if row.normals == normals]
        rejected = [row.rejected for row in some]
        held = sum(row.rejected <= row.bound for row in some)
        missed = [row.missed for row in some if row.missed is not None]
        lines.append(
            f'| {normals} | {some[0].promised:.1%} | {np.mean(rejected):.1%} '
            f'({min(rejected):.1%} to {max(rejected):.1%}) | {held} of {len(some)} '
            f'({share_of(held, len(some))}) | '
            f'{np.mean([row.made_up_caught for row in some]):.0%} | '
            f'{f"{np.mean(missed):.0%}" if missed else "-"} |'
        )
    return '\n'.join(lines)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', default='padim')
    parser.add_argument('--data-root', type=Path)
    parser.add_argument('--category', default=_DRAWN)
    parser.add_argument('--normals', type=int, nargs='+', default=[20, 50, 200])
    parser.add_argument('--seeds', type=int, default=10, help='trainings for each number')
    parser.add_argument('--most', type=int, default=100, help='test images of each class')
    parser.add_argument('--backbone-weights', default='auto')
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE')
    parser.add_argument('--out', type=Path, default=Path('thresholds.json'))
    return parser.parse_args()


if __name__ == '__main__':
    main()
