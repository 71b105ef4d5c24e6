#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""Make the images of the documentation: draw a data set, train, inspect, photograph the report.

    tools/docs_images.py
    tools/docs_images.py --bundle models/PaDiM --images data/test/plate    # trained before

The result in docs/images is what a real model says of drawn images; images.json beside it names
the model, the weights and the figures. The report needs chromium (``apt install chromium``).
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
import json
import math
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from adet_core import Detector, Image, open_bundle, read_image
from adet_core.image import to_bgr

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / 'docs' / 'images'
CATEGORY = 'synth_plate'
TRAIN, TEST_NORMAL, TEST_ANOMALY = 60, 20, 30
_EDGE, _GAP, _STRIP = 224, 6, 26

Pixels = npt.NDArray[np.uint8]


def adet(*words: object) -> dict[str, Any]:
    """Run one command of adet, and return the object that it prints with --json.

    Raises:
        SystemExit: The command failed, and has said why.
    """
    command = [sys.executable, '-m', 'adet_core', *map(str, words), '--json']
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(done.returncode)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def make_model(folder: Path, model: str, weights: str) -> tuple[Path, Path]:
    """Draw images, and train on them; returns the bundle and the test images."""
    data, models = folder / 'data', folder / 'models'
    counts = ('--train', TRAIN, '--test-normal', TEST_NORMAL, '--test-anomaly', TEST_ANOMALY)
    adet('synth', data, '--category', CATEGORY, *counts, '--seed', 0)
    roots = ('--data-root', data, '--models-root', models)
    chosen = ('--model', model, '--category', CATEGORY, '--backbone-weights', weights)
    trained = adet('train', *chosen, *roots, '--seed', 0)
    deployed = adet('deploy', trained['run_dir'], '--models-root', models)
    return Path(deployed['bundle_dir']), data / 'test' / CATEGORY


def examples(test: Path) -> list[Path]:
    """One normal image, and one of each kind of defect."""
    kinds: dict[str, Path] = {}
    for path in sorted((test / 'anomaly').glob('**/*.png')):
        kinds.setdefault(path.stem.rstrip('0123456789_'), path)
    return [min((test / 'normal').glob('**/*.png')), *kinds.values()]


def column(detector: Detector, path: Path) -> Pixels:
    """An image above what the detector sees in it, and its score below."""
    image: Image = read_image(path)
    found = detector.inspect(image)
    # The strip below says what a caption would.
    overlay = detector.overlay(image, replace(found, p_value=math.nan))
    tiles = [cv2.resize(each, (_EDGE, _EDGE)) for each in (to_bgr(image), overlay)]
    strip = np.full((_STRIP, _EDGE, 3), 255, np.uint8)
    kind = path.stem.rstrip('0123456789_') or path.parent.name
    verdict = 'anomaly' if found.is_anomalous else 'normal'
    text = f'{kind}: {verdict} {found.normalised_score:.2f}'
    colour = (0, 0, 190) if found.is_anomalous else (0, 120, 0)
    place, font = (4, _STRIP - 8), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(strip, text, place, font, 0.45, colour, 1, cv2.LINE_AA)
    gap = np.full((_GAP, _EDGE, 3), 255, np.uint8)
    return np.vstack([tiles[0], gap, tiles[1], strip])


def draw_overlays(bundle: Path, test: Path, out: Path, count: int = 5) -> None:
    """Write the sheet of images and overlays."""
    detector = Detector.load(bundle, backend='onnxruntime')
    columns = [column(detector, path) for path in examples(test)[:count]]
    gap = np.full((columns[0].shape[0], _GAP, 3), 255, np.uint8)
    parts = [part for each in columns for part in (each, gap)][:-1]
    cv2.imwrite(str(out), np.hstack(parts), [cv2.IMWRITE_JPEG_QUALITY, 88])


def find_chromium() -> str:
    """The browser that photographs the report.

    Raises:
        SystemExit: It is not installed.
    """
    chromium = shutil.which('chromium') or shutil.which('chromium-browser')
    if chromium is None:
        raise SystemExit('error: chromium: not found; apt install chromium')
    return chromium


def photograph(page: Path, out: Path) -> None:
    """Photograph an HTML report from its threshold to its curves."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=find_chromium())
        tab = browser.new_page(viewport={'width': 1120, 'height': 800}, color_scheme='light')
        tab.goto(page.as_uri())
        tab.wait_for_load_state('networkidle')
        top = (tab.locator('h2', has_text='Threshold').bounding_box() or {'y': 24})['y'] - 24
        clip: Any = {'x': 0, 'y': top, 'width': 1120, 'height': 1180}
        tab.screenshot(path=out, type='jpeg', quality=80, full_page=True, clip=clip)
        browser.close()


def main() -> None:
    """Make all images."""
    parser = argparse.ArgumentParser(description='Make the images in docs/images.')
    parser.add_argument('--backbone-weights', default='auto', metavar='auto|imagenet|FILE')
    parser.add_argument('--model', default='padim')
    parser.add_argument('--bundle', type=Path, help='an exported bundle, instead of a training')
    parser.add_argument('--images', type=Path, help='with --bundle: its labelled test images')
    parser.add_argument('--out', type=Path, default=IMAGES, help='default: docs/images')
    given = parser.parse_args()
    # Before a training, not after it.
    find_chromium()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        made = (given.bundle, given.images)
        if given.bundle is None:
            made = make_model(folder, given.model, given.backbone_weights)
        make_images(*made, folder / 'report', given.out)


def make_images(bundle: Path, test: Path, report: Path, out: Path) -> None:
    """Inspect the test images with a bundle; write overlays, report and images.json."""
    draw_overlays(bundle, test, out / 'overlays.jpg')
    adet('evaluate', '--images', test, '--bundle', bundle, '--report', report)
    photograph(report / 'report.html', out / 'report.jpg')
    manifest = open_bundle(bundle).manifest
    told = {
        'model': manifest.model,
        'backbone': asdict(manifest.backbone) if manifest.backbone else None,
        'dataset': asdict(manifest.dataset),
        'metrics': dict(manifest.metrics),
    }
    (out / 'images.json').write_text(json.dumps(told, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
