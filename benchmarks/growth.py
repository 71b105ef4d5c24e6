# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What a larger bank, a larger image and more detectors cost: latency and memory.

    python benchmarks/growth.py --rounds 20

Every point is a process of its own that stays, and all points of a table are asked in turns. A
bank of another length is made of the trained one, with a little noise. Detectors beside each other
share the threads, and are asked at once. The memory is what the process holds beside what it held
before the detector was loaded.
Writes growth.json and prints three tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, ExitStack
from functools import partial
import json
import os
from pathlib import Path
from statistics import median, quantiles
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from adet_core.image import read_image
from adet_core.inference.detector import Detector
from adet_core.io.folders import list_images
from adet_synth import write_dataset

_BANKS = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
_SIZES = (256, 512, 768, 1024)
_BESIDE = (1, 2, 4)
# How they are trained for the table of sizes.
_SIZED = {
    'patchcore': ['max_bank=10000', 'coreset_ratio=0.5'],
    'padim': [],
    'vae': ['steps=2'],
    'efficientad': ['steps=2', 'teacher=distilled', 'natural_images=drawn', 'distill_pieces=8'],
}
_DRAWN = 'plate'
_WARM_UP = 2


class Point:
    """A detector in a process, which inspects an image whenever it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Wait until it is ready; see `running`."""
        self._process = process
        self.mib = float(self._read())
        self.times: list[float] = []

    def start(self) -> None:
        """Tell it to inspect one image."""
        assert self._process.stdin is not None
        print(flush=True, file=self._process.stdin)

    def finish(self, *, keep: bool) -> None:
        """Wait for its milliseconds."""
        taken = float(self._read())
        if keep:
            self.times.append(taken)

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            msg = 'a detector ended; its error is above'
            raise SystemExit(msg)
        return line


def main() -> None:
    """Train, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--tables', nargs='+', default=['bank', 'size', 'beside'])
    parser.add_argument('--models', nargs='+', default=list(_SIZED), help='of the table of sizes')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--out', type=Path, default=Path('growth.json'))
    parser.add_argument('--child', nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _serve(*arguments.child)
        return
    result: dict[str, Any] = {'threads': arguments.threads, 'cores': os.cpu_count()}
    ways: dict[str, Callable[[Path, int, int], list[dict[str, Any]]]] = {
        'bank': _banks,
        'size': partial(_sizes, arguments.models),
        'beside': _beside,
    }
    with tempfile.TemporaryDirectory(prefix='adet_benchmark_') as scratch:
        for table in arguments.tables:
            result[table] = ways[table](Path(scratch), arguments.threads, arguments.rounds)
            print(_table(table, result[table]), flush=True)
    arguments.out.write_text(json.dumps(result, indent=2) + '\n')


def _banks(root: Path, threads: int, rounds: int) -> list[dict[str, Any]]:
    bundle, images = _trained(root, 'patchcore', 256, ['coreset_ratio=0.2'])
    with ExitStack() as stack:
        points = {
            f'{length}': [stack.enter_context(_running(bundle, images, threads, length))]
            for length in _BANKS
        }
        return _in_turns(points, rounds)


def _sizes(models: Sequence[str], root: Path, threads: int, rounds: int) -> list[dict[str, Any]]:
    found = []
    # One model after the other: their largest bundles are gigabytes.
    for model in models:
        settings = _SIZED[model]
        with ExitStack() as stack:
            points = {
                f'{model}, {size} px': [
                    stack.enter_context(
                        _running(*_trained(root, model, size, settings), threads, 0)
                    )
                ]
                for size in _SIZES
            }
            found += _in_turns(points, rounds)
    return found


def _beside(root: Path, threads: int, rounds: int) -> list[dict[str, Any]]:
    bundle, images = _trained(root, 'padim', 256, [])
    with ExitStack() as stack:
        points = {
            f'{count} with {max(1, threads // count)} threads': [
                stack.enter_context(_running(bundle, images, max(1, threads // count), 0))
                for _ in range(count)
            ]
            for count in _BESIDE
        }
        return _in_turns(points, rounds)


def _trained(root: Path, model: str, size: int, settings: Sequence[str]) -> tuple[Path, Path]:
    """A bundle with its graph, and the folder of images to inspect."""
    # What a detector needs is imported above; this is torch.
    from adet_training.export import export
    from adet_training.parameters import parse_settings
    from adet_training.quiet import quiet_libraries
    from adet_training.train import train, TrainConfig

    data = root / f'data{size}'
    if not data.is_dir():
        # Fewer large images give as many patches.
        count = max(4, 60 * 256**2 // size**2)
        write_dataset(
            data, category=_DRAWN, train=count, test_normal=3, test_anomaly=3, size=size, seed=0
        )
    with quiet_libraries():
        config = TrainConfig(
            model=model,
            category=_DRAWN,
            data_root=data,
            models_root=root / f'models{size}',
            backbone_weights='random',
            settings=parse_settings([f'image_size={size}', *settings]),
        )
        bundle = train(config).bundle
        export(bundle)
    return bundle.folder, data / 'test'


@contextmanager
def _running(bundle: Path, images: Path, threads: int, length: int) -> Iterator[Point]:
    asked = [str(one) for one in (bundle, images, threads, length)]
    with subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, __file__, '--child', *asked],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Point(process)
        finally:
            process.kill()


def _serve(folder: str, images: str, threads: str, length: str) -> None:
    """Be a point: a bank of that length, or the bundle's own statistics if it is 0."""
    before = _resident_mib()
    detector = Detector.load(Path(folder), threads=int(threads))
    if int(length):
        rng = np.random.default_rng(0)
        bank = detector.bundle.statistics()['memory_bank']
        rows = bank[rng.integers(len(bank), size=int(length))]
        noise = rng.normal(scale=0.05 * bank.std(), size=rows.shape).astype(np.float32)
        detector.backend.bind({'memory_bank': rows + noise})
        del bank, rows, noise
    inspected = [read_image(path) for path in list_images(Path(images))]
    detector.inspect(inspected[0])
    print(_resident_mib() - before, flush=True)
    for number, _ in enumerate(sys.stdin):
        start = time.perf_counter()
        detector.inspect(inspected[number % len(inspected)])
        print((time.perf_counter() - start) * 1e3, flush=True)


def _resident_mib() -> float:
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('VmRSS:')) / 1024


def _in_turns(points: dict[str, list[Point]], rounds: int) -> list[dict[str, Any]]:
    """Ask all points of a table in turns; those that belong together at once."""
    for number in range(_WARM_UP + rounds):
        for together in points.values():
            for point in together:
                point.start()
            for point in together:
                point.finish(keep=number >= _WARM_UP)
    return [
        {
            'point': name,
            'mib': sum(one.mib for one in together),
            'ms': [one.times for one in together],
        }
        for name, together in points.items()
    ]


def _table(name: str, rows: list[dict[str, Any]]) -> str:
    lines = [f'| {name} | ms | beside the first | MiB |', '|---|---|---|---|']
    for row in rows:
        model = row['point'].partition(',')[0]
        first = next(one for one in rows if name != 'size' or one['point'].startswith(model))
        ours = [ms for times in row['ms'] for ms in times]
        theirs = first['ms'][0]
        # Neighbours in time are slowed alike.
        ratios = [ms / theirs[n % len(theirs)] for n, ms in enumerate(ours)]
        low, middle, high = quantiles(ratios, n=4)
        lines.append(
            f'| {row["point"]} | {median(ours):.1f} | {middle:.2f} ({low:.2f} to {high:.2f}) '
            f'| {row["mib"]:.0f} |'
        )
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
