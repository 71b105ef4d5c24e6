# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""What alignment brings where parts lie anywhere, and light normalisation where a lamp drifts.

    python benchmarks/placement.py alignment --model padim          # on parts drawn for it
    python benchmarks/placement.py light --data-root data --category MT_tile

``alignment`` draws parts, shifts them or turns them by any angle, and trains with and without
alignment. ``light`` trains with and without normalisation on held-out normal images alone, and
inspects the test images as they are and 15 % brighter and darker. Prints a table.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
import tempfile
import time
from typing import Any

import cv2
import numpy as np

from adet_core.image import Image, read_image
from adet_core.inference.detector import Detector
from adet_core.io.folders import LABELS, list_images
from adet_core.metrics import auroc
from adet_core.progress import progress_bars, ProgressCallback
from adet_synth import DEFECTS, draw_anomalous, draw_normal, write_dataset
from adet_training.changes import CHANGES
from adet_training.export import export
from adet_training.parameters import parse_settings
from adet_training.quiet import quiet_libraries
from adet_training.train import Run, train, TrainConfig

_CATEGORY = 'plate'
# Edges of a drawn part and of the ground it lies on, and how far it may be shifted.
_PART, _GROUND, _SHIFT = 256, 400, 30
_SHIFT_ANGLE = 4
_CHANGES = ('as they are', 'brighter', 'darker')


def main() -> None:
    """Train, inspect and print."""
    arguments = _parse()
    rows = _alignment if arguments.what == 'alignment' else _light
    with (
        tempfile.TemporaryDirectory(prefix='adet_benchmark_') as scratch,
        quiet_libraries(),
        progress_bars() as progress,
    ):
        lines = list(rows(arguments, Path(scratch), progress))
    print('\n'.join(lines))


def _alignment(
    arguments: argparse.Namespace, scratch: Path, progress: ProgressCallback
) -> Iterator[str]:
    yield '| parts are | align | image AUROC | AUPRO | ms to align |'
    yield '|---|---|---|---|---|'
    for how, most in (('shift', _SHIFT_ANGLE), ('turn', 180)):
        root = scratch / how
        _write_moved(root, most, arguments)
        for align in ('off', how):
            run = _trained(arguments, root, scratch / how / align, progress, align=align)
            metrics = run.bundle.manifest.metrics
            yield (
                f'| {"shifted" if how == "shift" else "turned"} | {align} '
                f'| {metrics["image_auroc"]:.3f} | {metrics["aupro"]:.3f} '
                f'| {_ms_to_align(run, root):.1f} |'
            )


def _write_moved(root: Path, most: float, arguments: argparse.Namespace) -> None:
    """A data set of drawn parts that lie anywhere on a dark ground, with masks."""
    test = root / 'test' / _CATEGORY
    rng = np.random.default_rng(0)
    folders = (root / 'train' / _CATEGORY, *(test / name for name in (*LABELS, 'masks')))
    for folder in folders:
        folder.mkdir(parents=True)
    for folder, split, count in (
        (folders[0], 0, arguments.train),
        (folders[1], 1, arguments.test),
        (folders[2], 2, arguments.test),
    ):
        for index in range(count):
            matrix = _lie(rng, most)
            name = f'{index:04}.png'
            if split < 2:
                pixels = draw_normal((0, split, index), _PART)
            else:
                bad = draw_anomalous((0, split, index), _PART, DEFECTS[index % len(DEFECTS)])
                pixels = bad.image
                cv2.imwrite(str(folders[3] / name), _moved(bad.mask, matrix, 0))
            cv2.imwrite(str(folder / name), _moved(pixels[..., ::-1], matrix, 20))


def _lie(rng: np.random.Generator, most: float) -> Any:
    matrix = cv2.getRotationMatrix2D((_PART / 2, _PART / 2), rng.uniform(-most, most), 1)
    matrix[:, 2] += (_GROUND - _PART) / 2 + rng.uniform(-_SHIFT, _SHIFT, 2)
    return matrix


def _moved(pixels: Any, matrix: Any, ground: int) -> Any:
    flags = cv2.INTER_NEAREST if pixels.ndim == 2 else cv2.INTER_LINEAR
    size = (_GROUND, _GROUND)
    return cv2.warpAffine(pixels, matrix, size, flags=flags, borderValue=(ground,) * 3)


def _ms_to_align(run: Run, root: Path) -> float:
    reference = run.bundle.geometry().reference
    if reference is None:
        return 0.0
    taken = []
    for path in list_images(root / 'test' / _CATEGORY / LABELS[0]):
        image = read_image(path)
        start = time.perf_counter()
        reference.align(image)
        taken.append(time.perf_counter() - start)
    return 1e3 * float(np.median(taken))


def _light(
    arguments: argparse.Namespace, scratch: Path, progress: ProgressCallback
) -> Iterator[str]:
    root = arguments.data_root
    if root is None:
        root = scratch / 'data'
        counts = {'train': 150, 'test_normal': arguments.test, 'test_anomaly': arguments.test}
        write_dataset(root, category=arguments.category, size=256, seed=0, **counts)
    yield '| set | light | images | image AUROC | good parts rejected | missed |'
    yield '|---|---|---|---|---|---|'
    for light in (False, True):
        folder = scratch / str(light)
        run = _trained(arguments, root, folder, progress, light=light, threshold='normal')
        export(run.bundle, traced=run.traced, progress=progress)
        detector = Detector.load(run.bundle.folder, backend='onnxruntime')
        for name in _CHANGES:
            scores = [_scores(detector, root, arguments, label, name) for label in LABELS]
            rejected, caught = (float((one >= detector.threshold).mean()) for one in scores)
            labels = np.repeat([False, True], [one.size for one in scores])
            area = auroc(np.concatenate(scores), labels)
            yield (
                f'| {arguments.model}, {arguments.category} | {"on" if light else "off"} | {name} '
                f'| {area:.3f} | {rejected:.1%} | {1 - caught:.0%} |'
            )


def _scores(
    detector: Detector, root: Path, arguments: argparse.Namespace, label: str, change: str
) -> Any:
    folder = root / 'test' / arguments.category / label
    found = []
    for path in list_images(folder)[: arguments.test]:
        image = read_image(path)
        if change != _CHANGES[0]:
            image = Image(CHANGES[change](image.pixels), image.encoding)
        found.append(detector.inspect(image).score)
    return np.array(found)


def _trained(
    arguments: argparse.Namespace,
    root: Path,
    folder: Path,
    progress: ProgressCallback,
    **settings: Any,
) -> Run:
    category = arguments.category if arguments.what == 'light' else _CATEGORY
    config = TrainConfig(
        model=arguments.model,
        category=category,
        data_root=root,
        models_root=folder,
        backbone_weights=arguments.backbone_weights,
        settings={**settings, **parse_settings(arguments.set)},
    )
    return train(config, progress=progress)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('what', choices=('alignment', 'light'))
    parser.add_argument('--model', default='padim')
    parser.add_argument('--data-root', type=Path, help='for light')
    parser.add_argument('--category', default=_CATEGORY)
    parser.add_argument('--train', type=int, default=60, help='drawn images to learn from')
    parser.add_argument('--test', type=int, default=40, help='test images of each class')
    parser.add_argument('--backbone-weights', default='auto')
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE')
    return parser.parse_args()


if __name__ == '__main__':
    main()
