# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What tiles cost beside single images: an image in twelve tiles, and its twelve pieces alone.

    python benchmarks/tiles_time.py --bundle demo/models/PatchCore --turns 40

Takes the graph and the statistics of an exported bundle that was trained without tiles. A colour
image of 5 megapixels is inspected in 4 x 3 tiles, then its twelve pieces one by one, in turns and
with one thread. What is compared is processor time, which others on the machine hardly change.
Prints the peak of memory, too: before, with the whole image as one input, and with tiles of
``--tile`` pixels. Writes tiles_time.json.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
import json
from pathlib import Path
import time

import cv2
import numpy as np
import numpy.typing as npt
from resolution_inspect import peak_mib

from adet_core.geometry import Geometry, TileSpec
from adet_core.image import Image
from adet_core.inference.detector import Detector

_SIZE, _TILE = (2592, 1944), 648


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bundle', type=Path, required=True)
    parser.add_argument('--turns', type=int, default=30)
    parser.add_argument('--tile', type=int, default=256, help='of which memory is measured')
    parser.add_argument('--out', type=Path, default=Path('tiles_time.json'))
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (81, 108, 3), np.uint8)
    image = Image(cv2.resize(coarse, _SIZE, interpolation=cv2.INTER_CUBIC), 'bgr8')
    detector = Detector.load(arguments.bundle, backend='onnxruntime', threads=1)
    plain = detector.geometry
    peaks = {'loaded': peak_mib()}
    for name, geometry in (('whole', plain), ('in tiles', _tiled(plain, arguments.tile, 0.125))):
        detector.geometry = geometry
        # Twice: the result of the image before is still there, as in a node.
        found = [detector.inspect(image), detector.inspect(image)]
        peaks[name] = peak_mib()
        del found
    taken = _in_turns(detector, plain, image, arguments.turns)
    result = {'peaks': peaks, 'turns': arguments.turns, 'ms': taken.tolist()}
    arguments.out.write_text(json.dumps(result, indent=2) + '\n')
    in_tiles, alone = taken.T
    print(f'an image in twelve tiles: {_spread(in_tiles)} ms of processor time')
    print(f'its pieces one by one: {_spread(alone)} ms; ratio {_spread(in_tiles / alone)}')
    for name, mib in peaks.items():
        print(f'peak of memory, {name}: {mib:.0f} MiB')


def _tiled(plain: Geometry, tile: int, overlap: float) -> Geometry:
    tiles = TileSpec(width=tile, overlap=overlap)
    return Geometry(replace(plain.spec, source=_SIZE, tiles=tiles))


def _in_turns(
    detector: Detector, plain: Geometry, image: Image, turns: int
) -> npt.NDArray[np.float64]:
    """Milliseconds of the image and of its pieces, ``(turns, 2)``."""
    tiled = _tiled(plain, _TILE, 0.0)
    pieces = [
        Image(np.ascontiguousarray(image.pixels[y : y + _TILE, x : x + _TILE]), image.encoding)
        for y in range(0, _SIZE[1], _TILE)
        for x in range(0, _SIZE[0], _TILE)
    ]
    taken = []
    for _ in range(turns + 1):
        detector.geometry = tiled
        start = time.process_time()
        detector.inspect(image)
        middle = time.process_time()
        detector.geometry = plain
        for piece in pieces:
            detector.inspect(piece)
        taken.append([middle - start, time.process_time() - middle])
    return 1e3 * np.array(taken[1:])


def _spread(values: npt.NDArray[np.float64]) -> str:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f'{middle:.3g} ({low:.3g} to {high:.3g})'


if __name__ == '__main__':
    main()
