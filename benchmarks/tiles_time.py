# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What tiles cost beside single images: an image in twelve tiles, and its twelve pieces alone.

    python benchmarks/tiles_time.py --turns 40

Trains PatchCore on drawn images of 5 megapixels in 4 x 3 tiles, each an input of 256 x 256 pixels.
Then one such image is inspected, and its twelve pieces one by one with the same graph and memory
bank, in turns and with one thread. What is compared is processor time, which others on the machine
hardly change. Writes tiles_time.json.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
import json
from pathlib import Path
import tempfile
import time

import numpy as np
import numpy.typing as npt

from adet_core.geometry import Geometry
from adet_core.image import Image, read_image
from adet_core.inference.detector import Detector
from adet_core.io.folders import list_images
from adet_synth import write_dataset
from adet_training.export import export
from adet_training.quiet import quiet_libraries
from adet_training.train import train, TrainConfig

_SIZE, _TILE = (2592, 1944), 648
# As large a bank as a training on many images has.
_SETTINGS = {'tiles': _TILE, 'overlap': 0.0, 'coreset_ratio': 0.42, 'max_bank': 10_000}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--turns', type=int, default=30)
    parser.add_argument('--out', type=Path, default=Path('tiles_time.json'))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix='adet_benchmark_') as scratch, quiet_libraries():
        tiled, image = _trained(Path(scratch))
        taken = _in_turns(tiled, image, arguments.turns)
    result = {'inputs': tiled.geometry.inputs, 'turns': arguments.turns, 'ms': taken.tolist()}
    arguments.out.write_text(json.dumps(result, indent=2) + '\n')
    in_tiles, alone = taken.T
    print(f'an image in {tiled.geometry.inputs} tiles: {_spread(in_tiles)} ms of processor time')
    print(f'its pieces one by one: {_spread(alone)} ms; ratio {_spread(in_tiles / alone)}')


def _trained(scratch: Path) -> tuple[Detector, Image]:
    counts = {'train': 4, 'test_normal': 0, 'test_anomaly': 0}
    write_dataset(scratch / 'data', category='part', size=_SIZE, seed=0, **counts)
    config = TrainConfig(
        model='patchcore',
        category='part',
        data_root=scratch / 'data',
        models_root=scratch,
        backbone_weights='auto',
        settings=_SETTINGS,
    )
    run = train(config)
    export(run.bundle, traced=run.traced)
    detector = Detector.load(run.bundle.folder, backend='onnxruntime', threads=1)
    return detector, read_image(list_images(scratch / 'data' / 'train' / 'part')[0])


def _in_turns(tiled: Detector, image: Image, turns: int) -> npt.NDArray[np.float64]:
    """Milliseconds of the image and of its pieces, ``(turns, 2)``."""
    folder = tiled.bundle.folder
    single = Detector.load(folder, backend='onnxruntime', threads=1, beside=[tiled])
    single.geometry = Geometry(replace(tiled.geometry.spec, tiles=None, source=None))
    pieces = [
        Image(np.ascontiguousarray(image.pixels[y : y + _TILE, x : x + _TILE]), image.encoding)
        for y in range(0, _SIZE[1], _TILE)
        for x in range(0, _SIZE[0], _TILE)
    ]
    taken = []
    for _ in range(turns + 1):
        start = time.process_time()
        tiled.inspect(image)
        middle = time.process_time()
        for piece in pieces:
            single.inspect(piece)
        taken.append([middle - start, time.process_time() - middle])
    return 1e3 * np.array(taken[1:])


def _spread(values: npt.NDArray[np.float64]) -> str:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f'{middle:.3g} ({low:.3g} to {high:.3g})'


if __name__ == '__main__':
    main()
