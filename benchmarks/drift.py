# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What changes of light and lens do to verdicts, and whether the drift test notices.

    python benchmarks/drift.py                                          # on images drawn for it
    python benchmarks/drift.py --data-root data --category MT_tile --model padim patchcore

Trains each model once, with thresholds from held-out normal images, and inspects test images as
they are and under each change: false rejects and misses at the plain threshold, and at that of
``robust=true``. The drift test gets the normal images in twenty random orders: how often it fires,
and after how many images (median). Writes drift.json and prints a table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
import json
from pathlib import Path
from statistics import median
import tempfile

import numpy as np
import numpy.typing as npt

from adet_core.bundle import Manifest
from adet_core.drift import DriftTest
from adet_core.image import ImageArray, read_image
from adet_core.inference.detector import Detector
from adet_core.io.folders import list_images
from adet_core.progress import progress_bars, ProgressCallback
from adet_core.thresholds import normal_threshold
from adet_synth import write_dataset
from adet_training.changes import CHANGES
from adet_training.export import export
from adet_training.parameters import parse_settings
from adet_training.quiet import quiet_libraries
from adet_training.train import train, TrainConfig

_DRAWN = 'plate'
_ORDERS = 20

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One change of the test images of one model.

    Attributes:
        model: The model name.
        category: Of the images.
        change: Name of the change; ``none`` is the images as they are.
        normals: Normal images inspected.
        rejected: Share of them that the plain threshold rejects.
        robust_rejected: Share of them that the robust one rejects.
        anomalies: Anomalous images inspected.
        missed: Share of them that the plain threshold misses.
        robust_missed: Share of them that the robust one misses.
        fired: Share of random orders in which the drift test fires.
        images: Median of the images until it does; None where it seldom does.
    """

    model: str
    category: str
    change: str
    normals: int
    rejected: float
    robust_rejected: float
    anomalies: int
    missed: float
    robust_missed: float
    fired: float
    images: float | None


def main() -> None:
    """Train, measure, print and write."""
    arguments = _parse()
    rows: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix='adet_benchmark_') as scratch, quiet_libraries():
        root = arguments.data_root or _draw(Path(scratch, 'data'), arguments.category)
        with progress_bars() as progress:
            for model in arguments.model:
                detector = _trained(arguments, model, root, Path(scratch), progress)
                rows += _measure(detector, root, arguments.most, progress)
                arguments.out.write_text(
                    json.dumps([asdict(row) for row in rows], indent=2) + '\n'
                )
    print(table(rows))


def _draw(root: Path, category: str) -> Path:
    write_dataset(
        root, category=category, train=200, test_normal=100, test_anomaly=60, size=256, seed=0
    )
    return root


def _trained(
    arguments: argparse.Namespace,
    model: str,
    root: Path,
    scratch: Path,
    progress: ProgressCallback,
) -> Detector:
    config = TrainConfig(
        model=model,
        category=arguments.category,
        data_root=root,
        models_root=scratch,
        backbone_weights=arguments.backbone_weights,
        settings={**parse_settings(arguments.set), 'threshold': 'normal', 'robust': True},
    )
    bundle = train(config, progress=progress).bundle
    export(bundle, progress=progress)
    return Detector.load(bundle.folder, threads=1, backend='onnxruntime')


def _measure(
    detector: Detector, root: Path, most: int, progress: ProgressCallback
) -> list[Measured]:
    manifest = detector.bundle.manifest
    test = root / 'test' / manifest.category
    images = [
        [detector.geometry.place(read_image(path))[0] for path in list_images(test / label)[:most]]
        for label in ('normal', 'anomaly')
    ]
    robust = manifest.image_threshold.value
    rate = manifest.image_threshold.target_false_reject_rate
    assert rate is not None
    plain = normal_threshold(np.array(manifest.score_range.normals, np.float32), rate).value
    changes: dict[str, Callable[[ImageArray], ImageArray]] = {'none': lambda one: one, **CHANGES}
    rows = []
    for number, (name, change) in enumerate(changes.items()):
        normals, anomalies = (
            np.array([detector.run([change(one)]).scores[0] for one in some], np.float64)
            for some in images
        )
        found = [_alarm_after(normals, manifest, plain, seed) for seed in range(_ORDERS)]
        fired = [images for images in found if images is not None]
        rows.append(
            Measured(
                model=manifest.model,
                category=manifest.category,
                change=name,
                normals=normals.size,
                rejected=float((normals >= plain).mean()),
                robust_rejected=float((normals >= robust).mean()),
                anomalies=anomalies.size,
                missed=float((anomalies < plain).mean()),
                robust_missed=float((anomalies < robust).mean()),
                fired=len(fired) / _ORDERS,
                images=median(fired) if len(fired) > _ORDERS / 2 else None,
            )
        )
        progress(f'{manifest.model}: inspecting changed images', number + 1, len(changes))
    return rows


def _alarm_after(scores: Scores, manifest: Manifest, threshold: float, seed: int) -> int | None:
    """How many images in a random order it takes to set off an alarm; None where none comes."""
    test = DriftTest(manifest.score_range.normals, threshold)
    for number, score in enumerate(np.random.default_rng(seed).permutation(scores), start=1):
        if test.add(float(score), is_rejected=bool(score >= threshold)):
            return number
    return None


def table(rows: Sequence[Measured]) -> str:
    """For people; robust figures in brackets."""
    lines = [
        '| model, set | change | false rejects (robust) | missed (robust) | drift noticed |',
        '|---|---|---|---|---|',
    ]
    for row in rows:
        after = '' if row.images is None else f', {row.images:.0f} images'
        lines.append(
            f'| {row.model}, {row.category} | {row.change} | {row.rejected:.1%} '
            f'({row.robust_rejected:.1%}) | {row.missed:.0%} ({row.robust_missed:.0%}) | '
            f'{row.fired:.0%}{after} |'
        )
    return '\n'.join(lines)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', nargs='+', default=['padim', 'patchcore'])
    parser.add_argument('--data-root', type=Path)
    parser.add_argument('--category', default=_DRAWN)
    parser.add_argument('--most', type=int, default=120, help='test images of each class')
    parser.add_argument('--backbone-weights', default='auto')
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE')
    parser.add_argument('--out', type=Path, default=Path('drift.json'))
    return parser.parse_args()


if __name__ == '__main__':
    main()
