# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Two bundles beside each other: their time for the same images, and how far apart they are.

    python benchmarks/two_bundles.py RUN/pytorch OTHER_RUN/pytorch --source data/test/Demo_plate

Such as one bundle exported by two versions of adet, or in two precisions. Both predict each image
in turns, so that neighbours in time are compared; the time is that of the graph, without reading
and resizing. Differences are shares of the first one's score range.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
import time

import numpy as np
import numpy.typing as npt

from adet_core.image import Image, read_image
from adet_core.inference.detector import Detector
from adet_core.io.folders import list_images

_REST_S = 0.02


def main() -> None:
    """Time, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('bundles', type=Path, nargs=2, metavar='BUNDLE')
    parser.add_argument('--source', type=Path, required=True, help='a folder of images')
    parser.add_argument('--images', type=int, default=24)
    parser.add_argument('--rounds', type=int, default=4)
    parser.add_argument('--threads', type=int, default=0)
    parser.add_argument('--backend', default='onnxruntime')
    arguments = parser.parse_args()
    backend, threads = arguments.backend, arguments.threads
    both = [Detector.load(one, backend=backend, threads=threads) for one in arguments.bundles]
    paths = list_images(arguments.source)
    chosen = np.linspace(0, len(paths) - 1, min(arguments.images, len(paths))).astype(int)
    wall: list[list[float]] = []
    processor: list[list[float]] = []
    apart: list[tuple[float, float]] = []
    for number in range(arguments.rounds + 1):
        for index in chosen:
            image = read_image(paths[index])
            taken = [_predict(detector, image) for detector in both]
            if number:
                wall.append([one[0] for one in taken])
                processor.append([one[1] for one in taken])
            else:
                (_, _, scores, maps), (_, _, other_scores, other_maps) = taken
                differences = np.abs(scores - other_scores).max(), np.abs(maps - other_maps).max()
                apart.append((float(differences[0]), float(differences[1])))
    for what, times in (('time', wall), ('processor time', processor)):
        first, second = (median(column) * 1e3 for column in zip(*times, strict=True))
        low, middle, high = np.percentile([a / b for a, b in times], (25, 50, 75))
        ratio = f'first / second {middle:.2f} ({low:.2f} to {high:.2f})'
        print(f'{what}: {first:.1f} and {second:.1f} ms, {ratio}')
    span = both[0].bundle.manifest.score_range.span
    for what, values in zip(('scores', 'maps'), zip(*apart, strict=True), strict=True):
        middle, most = median(values) / span, max(values) / span
        print(f'{what}: {middle:.2g} of the score range apart in the median, {most:.2g} at most')


def _predict(
    detector: Detector, image: Image
) -> tuple[float, float, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Seconds on the clock and of the processor, scores and maps."""
    canvas, _ = detector.geometry.place(image)
    time.sleep(_REST_S)
    used, start = time.process_time(), time.perf_counter()
    found = detector.run([canvas])
    return time.perf_counter() - start, time.process_time() - used, found.scores, found.maps


if __name__ == '__main__':
    main()
