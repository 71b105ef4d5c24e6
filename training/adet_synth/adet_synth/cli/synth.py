# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet synth``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from adet_core.cli.arguments import count
from adet_core.progress import progress_bars

HELP = 'draw a small labelled data set with masks, for demos and tests'
EXAMPLE = 'adet synth data --category plate --train 60 --test-normal 20 --test-anomaly 30'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('out', type=Path, metavar='OUT', help='folder to draw into')
    parser.add_argument(
        '--category',
        default='synth_plate',
        metavar='C',
        help='name of the category (default: %(default)s)',
    )
    for name, default, what in (
        ('--train', 60, 'normal images to learn from'),
        ('--test-normal', 20, 'normal images to test on'),
        ('--test-anomaly', 30, 'images of defects to test on'),
        ('--seed', 0, 'the same seed draws the same images'),
    ):
        parser.add_argument(
            name,
            type=count,
            default=default,
            metavar='S' if name == '--seed' else 'N',
            help=f'{what} (default: %(default)s)',
        )
    parser.add_argument(
        '--size',
        type=_size,
        default=256,
        metavar='PX|WxH',
        help='edge length in pixels, or width and height, e.g. 2048x1536 (default: %(default)s)',
    )
    parser.add_argument(
        '--defect-size',
        type=_extent,
        metavar='PX|A..B',
        help='draw small defects of this many pixels, e.g. 6..20, under a sharp lens',
    )


def _size(text: str) -> int | tuple[int, int]:
    edges = [count(edge) for edge in text.lower().split('x', 1)]
    return (edges[0], edges[1]) if len(edges) == 2 else edges[0]


def _extent(text: str) -> tuple[int, int]:
    ends = [count(end) for end in text.split('..', 1)]
    return ends[0], ends[-1]


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Draw; returns the folders."""
    from adet_synth import write_dataset

    with progress_bars() as progress:
        folders = write_dataset(
            arguments.out,
            category=arguments.category,
            train=arguments.train,
            test_normal=arguments.test_normal,
            test_anomaly=arguments.test_anomaly,
            size=arguments.size,
            seed=arguments.seed,
            defect_size=arguments.defect_size,
            on_progress=partial(progress, 'drawing'),
        )
    return {name: str(path) for name, path in asdict(folders).items()}


def show(result: dict[str, Any]) -> None:
    """Print where the images are."""
    for name, path in result.items():
        print(f'{name.replace("_", " "):14}{path}')
