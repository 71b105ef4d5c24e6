# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Small defects on large images: what size, proportions and tiles find, and what they cost.

    python benchmarks/resolution.py                                # on large parts drawn for it
    python benchmarks/resolution.py --data-root data --category MT_tile --layouts 256 512

Trains one model once for each layout, exports it, and inspects the test images in a process of
its own with ONNX Runtime. Writes resolution.json after each layout and prints a table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
import json
from pathlib import Path
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
from resolution_inspect import Inspected

from adet_core.image import read_image
from adet_core.io.folders import LABELS, list_images
from adet_core.io.masks import Masks
from adet_core.progress import progress_bars, ProgressCallback
from adet_synth import write_dataset
from adet_training.choose import choose
from adet_training.export import export
from adet_training.parameters import parse_settings
from adet_training.quiet import quiet_libraries
from adet_training.survey import extent
from adet_training.train import train, TrainConfig

LAYOUTS: dict[str, dict[str, Any]] = {
    '256': {'image_size': 256},
    '512': {'image_size': 512},
    'letterbox': {'image_size': 256, 'fit': 'letterbox'},
    'tiles, half scale': {'image_size': 256, 'tiles': 512},
    'tiles': {'image_size': 256, 'tiles': 256},
    'tiles and whole': {'image_size': 256, 'tiles': 256, 'whole': True},
    'auto': {'tiles': 'auto'},
}
"""Settings by name."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One layout.

    Attributes:
        layout: Its name.
        settings: Hyper-parameters that make it.
        inputs: Inputs of the graph for one image.
        image_auroc: Of all test images; None without both classes.
        aupro: Of all test images; None without masks.
        segmentation_f1: Of all pixels at the pixel threshold; None without masks.
        recall: Share of the anomalies that the threshold catches, by extent of the defect in
            pixels; empty without masks.
        rejected: Share of the normal images that it rejects.
        ms: Median time of an inspection, decoding aside.
        ms_per_megapixel: The same by the pixels of the image.
        mib: Peak of the process that inspects.
        mib_per_megapixel: What an inspection adds to it, by the pixels of the image.
        fit_seconds: Time of the fit.
    """

    layout: str
    settings: dict[str, Any]
    inputs: int
    image_auroc: float | None
    aupro: float | None
    segmentation_f1: float | None
    recall: dict[str, float]
    rejected: float
    ms: float
    ms_per_megapixel: float
    mib: float
    mib_per_megapixel: float
    fit_seconds: float


def main() -> None:
    """Train, inspect, print and write."""
    arguments = _parse()
    rows: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix='adet_benchmark_') as scratch, quiet_libraries():
        root = arguments.data_root or _draw(arguments, Path(scratch, 'data'))
        with progress_bars() as progress:
            for layout in arguments.layouts:
                config = TrainConfig(
                    model=arguments.model,
                    category=arguments.category,
                    data_root=root,
                    models_root=Path(scratch, layout),
                    backbone_weights=arguments.backbone_weights,
                    settings={**LAYOUTS[layout], **parse_settings(arguments.set)},
                )
                rows.append(_measure(layout, choose(config)[1], progress))
                result = {'category': arguments.category, 'model': arguments.model}
                text = json.dumps({**result, 'rows': [asdict(row) for row in rows]}, indent=2)
                arguments.out.write_text(text + '\n')
    print(table(rows))


def _draw(arguments: argparse.Namespace, root: Path) -> Path:
    width, height = map(int, arguments.size.split('x'))
    write_dataset(
        root,
        category=arguments.category,
        train=arguments.train,
        test_normal=arguments.test,
        test_anomaly=arguments.test,
        size=(width, height),
        seed=0,
        defect_size=(arguments.defect_size, arguments.defect_size),
    )
    return root


def _measure(layout: str, config: TrainConfig, progress: ProgressCallback) -> Measured:
    def tell(stage: str, done: int, total: int | None) -> None:
        progress(f'{layout}: {stage}', done, total)

    finished = train(config, progress=tell)
    export(finished.bundle, traced=finished.traced, progress=tell)
    test = config.data_root / 'test' / config.category
    normal, anomalous = (list_images(test / label) for label in LABELS)
    # A process of its own, without torch: its peak of memory is that of an inspection.
    script = Path(__file__).with_name('resolution_inspect.py')
    command = [
        sys.executable,
        str(script),
        str(finished.bundle.folder),
        *map(str, (*normal, *anomalous)),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    found = Inspected(**json.loads(done.stdout.splitlines()[-1]))
    metrics = finished.bundle.manifest.metrics
    marked = found.hits + found.misses
    both = 2 * found.hits + found.misses + found.false_alarms
    ms = float(np.median(found.ms))
    return Measured(
        layout=layout,
        settings=dict(config.settings),
        inputs=finished.bundle.geometry().inputs,
        image_auroc=metrics.get('image_auroc'),
        aupro=metrics.get('aupro'),
        segmentation_f1=2 * found.hits / both if marked else None,
        recall=recall_by_extent(anomalous, found.is_anomalous[len(normal) :]),
        rejected=float(np.mean(found.is_anomalous[: len(normal)])),
        ms=ms,
        ms_per_megapixel=ms / found.megapixels,
        mib=found.mib,
        mib_per_megapixel=(found.mib - found.loaded_mib) / found.megapixels,
        fit_seconds=finished.fit_seconds,
    )


def recall_by_extent(anomalous: Sequence[Path], caught: Sequence[bool]) -> dict[str, float]:
    """Share that was caught among the smallest third of the defects, the next one, the largest."""
    masks = Masks()
    extents, known = [], []
    for path, is_caught in zip(anomalous, caught, strict=True):
        size = read_image(path).size
        mask = masks.read_whole(path, size)
        if mask is not None and mask.any():
            extents.append(extent(mask) * size[1] / mask.shape[1])
            known.append(is_caught)
    if not extents:
        return {}
    order = np.argsort(extents, kind='stable')
    thirds = [third for third in np.array_split(order, 3) if third.size]
    names = [f'{extents[third[0]]:.0f} to {extents[third[-1]]:.0f}' for third in thirds]
    if len(set(names)) == 1:
        return {names[0]: float(np.mean(known))}
    return {
        name: float(np.mean(np.array(known)[third]))
        for name, third in zip(names, thirds, strict=True)
    }


def table(rows: Sequence[Measured]) -> str:
    """For people."""
    lines = [
        '| images as | inputs | image AUROC | AUPRO | SegF1 | recall by extent in pixels '
        '| good parts rejected | ms | ms/Mpx | MiB | MiB/Mpx |',
        '|---|---|---|---|---|---|---|---|---|---|---|',
    ]
    for row in rows:
        figures = (row.image_auroc, row.aupro, row.segmentation_f1)
        shown = ' | '.join('-' if one is None else f'{one:.3f}' for one in figures)
        recall = ', '.join(f'{name}: {share:.0%}' for name, share in row.recall.items())
        lines.append(
            f'| {row.layout} | {row.inputs} | {shown} | {recall or "-"} | {row.rejected:.0%} '
            f'| {row.ms:.0f} | {row.ms_per_megapixel:.0f} | {row.mib:.0f} '
            f'| {row.mib_per_megapixel:.0f} |'
        )
    return '\n'.join(lines)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', default='patchcore')
    parser.add_argument('--data-root', type=Path)
    parser.add_argument('--category', default='plate')
    parser.add_argument('--layouts', nargs='+', choices=LAYOUTS, default=list(LAYOUTS)[:-1])
    parser.add_argument('--size', default='2048x1536', help='of drawn images')
    parser.add_argument('--defect-size', type=int, default=8, help='of drawn defects, in pixels')
    parser.add_argument('--train', type=int, default=30, help='drawn images to learn from')
    parser.add_argument('--test', type=int, default=24, help='drawn test images of each class')
    parser.add_argument('--backbone-weights', default='auto')
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE')
    parser.add_argument('--out', type=Path, default=Path('resolution.json'))
    return parser.parse_args()


if __name__ == '__main__':
    main()
