# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a change of category costs: the gap between two results, and memory per category.

    python benchmarks/categories.py A B --changes 40

A and B are exported bundles of two categories. Images come as fast as they are inspected, and
every tenth time the category changes before the next one. Four ways are asked in turns: no
change; both bundles in memory; one in memory, so that each change loads the other one; and a
bundle swapped by `load_bundle`'s own way. Memory is what the process holds (RSS) beside what it
held before, with one category and with each further one.
Writes categories.json and prints two tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import json
from pathlib import Path
import shutil
from statistics import median
import tempfile
import threading
import time
from typing import Any

import numpy as np

from adet_core.bundle import open_bundle
from adet_core.image import Image
from adet_core.inference.detector import Detector
from adet_core.inference.image_queue import Arrived
from adet_core.inference.inspection_service import InspectionService, Outcome
from adet_core.inference.products import Products
from adet_core.inference.recent_images import RecentImages

_EVERY = 10
_WARM_UP = 20
_BESIDE = 4


class Line:
    """A service that is given one image after the other."""

    def __init__(self, folders: Sequence[Path], most: int, threads: int, root: Path) -> None:
        self.folders = {open_bundle(one).manifest.category: one for one in folders}

        def load(folder: Path, beside: Sequence[Detector]) -> Detector:
            return Detector.load(folder, threads=threads, beside=beside)

        self.products = Products(load, folders, most=most, find=self.folders.__getitem__)
        recent = RecentImages(root, save='none', limit=1, float_range=(0.0, 1.0))
        self.service = InspectionService(self.products, recent, waiting_bytes=1 << 20)
        self._done = threading.Semaphore(0)
        self._thread = threading.Thread(target=self.service.run, args=(self._tell,))
        self._thread.start()

    def inspect(self, image: Image) -> float:
        """One image; returns the seconds from its arrival to its verdict."""
        start = time.perf_counter()
        self.service.submit(Arrived(1, 'lens', lambda: image))
        self._done.acquire()
        return time.perf_counter() - start

    def close(self) -> None:
        """End the thread."""
        self.service.stop()
        self._thread.join()
        self.service.close()

    def _tell(self, outcome: Outcome) -> None:
        assert not outcome.error, outcome.error
        self._done.release()


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('bundles', nargs=2, type=Path)
    parser.add_argument('--changes', type=int, default=40)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--out', type=Path, default=Path('categories.json'))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix='adet_benchmark_') as scratch:
        memory = _memory(arguments.bundles, arguments.threads, Path(scratch))
        gaps = _gaps(arguments.bundles, arguments.changes, arguments.threads, Path(scratch))
    found: dict[str, Any] = {'memory': memory, 'gaps': gaps, 'threads': arguments.threads}
    arguments.out.write_text(json.dumps(found, indent=2) + '\n')


def _gaps(
    bundles: Sequence[Path], changes: int, threads: int, scratch: Path
) -> dict[str, list[float]]:
    lines = {
        'no change': Line(bundles, 2, threads, scratch),
        'both in memory': Line(bundles, 2, threads, scratch),
        'one in memory': Line(bundles, 1, threads, scratch),
        'load_bundle': Line(bundles[:1], 2, threads, scratch),
    }
    image = Image(np.full((480, 640, 3), 120, np.uint8), 'bgr8')
    found: dict[str, list[float]] = {name: [] for name in ('a frame', *lines)}
    for line in lines.values():
        for _ in range(_WARM_UP):
            line.inspect(image)
    for turn in range(changes):
        for name, line in lines.items():
            found['a frame'] += [line.inspect(image) for _ in range(_EVERY - 1)]
            start = time.perf_counter()
            if name == 'load_bundle':
                line.products.swap(bundles[turn % 2])
            elif name != 'no change':
                line.service.select(list(line.folders)[(turn + 1) % 2])
            line.inspect(image)
            found[name].append(time.perf_counter() - start)
    for line in lines.values():
        line.close()
    print('| between two results | ms, median | longest | beside a frame |\n|---|---|---|---|')
    frame = median(found['a frame'])
    for name, seconds in found.items():
        middle, most = median(seconds), max(seconds)
        print(f'| {name} | {middle * 1e3:.1f} | {most * 1e3:.1f} | {middle / frame:.2f} |')
    return found


def _memory(bundles: Sequence[Path], threads: int, scratch: Path) -> list[float]:
    """RSS in MiB beside that before, with one more category each."""
    before, found = _resident_mib(), []
    detectors: list[Detector] = []
    image = Image(np.full((480, 640, 3), 120, np.uint8), 'bgr8')
    for number in range(_BESIDE):
        folder = shutil.copytree(bundles[number % 2], scratch / f'{number}')
        detectors.append(Detector.load(folder, threads=threads, beside=detectors))
        for _ in range(3):
            detectors[-1].inspect(image)
        found.append(_resident_mib() - before)
    print('| categories | MiB |\n|---|---|')
    for number, mib in enumerate(found, start=1):
        print(f'| {number} | {mib:.0f} |')
    print()
    return found


def _resident_mib() -> float:
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('VmRSS:')) / 1024


if __name__ == '__main__':
    main()
