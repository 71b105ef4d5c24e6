# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Reading and evaluating bags beside a loop that does nothing but inspect, in turns.

    python benchmarks/bags.py --bundle models/PaDiM --images 200

Images of 640 x 480 in colour, drawn at random, as MCAP and SQLite, raw and as JPEG. Per form and
round: frames per second of reading alone (decoded images), of the whole ``adet evaluate --bag``
without its start, and of the detector over the same images in memory. Writes bags.json.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from statistics import median
import tempfile
import time
from typing import Any

import numpy as np

from adet_core.image import Image
from adet_core.inference.detector import Detector
from adet_core.io.sources import Frame, PlainSource
from adet_evaluation.bags import BagOptions, BagSource, record_images
from adet_evaluation.evaluation import evaluate_source, load_detectors

_FORMS = (('mcap', 'none'), ('sqlite3', 'none'), ('mcap', 'jpeg'))


class _Images(PlainSource):
    """Textured images, always the same."""

    def __init__(self, count: int) -> None:
        self.total: int | None = count
        random = np.random.default_rng(0)
        coarse = random.integers(0, 255, (8, 60, 80, 3), np.uint8)
        self._kinds = [np.kron(one, np.ones((8, 8, 1), np.uint8)) for one in coarse]

    def __iter__(self) -> Any:
        for number in range(self.total or 0):
            pixels = self._kinds[number % len(self._kinds)]
            yield Frame(Image(pixels, 'bgr8'), f'{number}.png', 'normal')


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bundle', type=Path, required=True)
    parser.add_argument('--images', type=int, default=200)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--out', type=Path, default=Path('bags.json'))
    arguments = parser.parse_args()
    images = _Images(arguments.images)
    detectors = load_detectors([arguments.bundle])
    (detector,) = detectors.values()
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        bags = {}
        for storage, compression in _FORMS:
            path = Path(folder, f'{storage}_{compression}')
            options = BagOptions(start_ns=1, storage=storage, compression=compression)
            record_images(images, path, options)
            bags[f'{storage} {compression}'] = path
        for number in range(arguments.rounds):
            for form, path in bags.items():
                one = {
                    'round': number,
                    'form': form,
                    'read_hz': _rate(arguments.images, lambda p=path: _read(p)),
                    'evaluate_hz': _rate(
                        arguments.images,
                        lambda p=path: evaluate_source(BagSource(p), 'bag', detectors),
                    ),
                    'detector_hz': _rate(arguments.images, lambda: _inspect(detector, images)),
                }
                rounds.append(one)
                print(json.dumps(one))
    arguments.out.write_text(
        json.dumps({'cores': os.cpu_count(), 'rounds': rounds}, indent=2) + '\n'
    )
    print('| form | reading, frames/s | evaluating, frames/s | of the detector loop |')
    print('|---|---|---|---|')
    for form in bags:
        own = [one for one in rounds if one['form'] == form]
        shares = [one['evaluate_hz'] / one['detector_hz'] for one in own]
        cells = [_spread([one[key] for one in own]) for key in ('read_hz', 'evaluate_hz')]
        print(f'| {form} | {cells[0]} | {cells[1]} | {_spread(shares)} |')


def _read(path: Path) -> None:
    for frame in BagSource(path):
        assert frame.image is not None


def _inspect(detector: Detector, images: _Images) -> None:
    for frame in images:
        detector.inspect(frame.image)


def _rate(count: int, work: Any) -> float:
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def _spread(values: list[float]) -> str:
    return f'{median(values):.3g} ({min(values):.3g} to {max(values):.3g})'


if __name__ == '__main__':
    main()
