# SPDX-FileCopyrightText: 2026 The adet authors
# SPDX-License-Identifier: Apache-2.0
"""``adet record``."""

from __future__ import annotations

import argparse
from pathlib import Path
import time
from typing import Any

HELP = 'write images and their labels as a rosbag'
EXAMPLE = 'adet record --images data/test/VisA_pipe_fryum --bag pipe_fryum'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        '--images',
        required=True,
        metavar='DIR',
        help='image folder, where normal and anomaly are labels; a video or bag will do too',
    )
    parser.add_argument('--bag', type=Path, required=True, metavar='OUT', help='folder to make')
    parser.add_argument(
        '--storage',
        choices=('mcap', 'sqlite3'),
        default='mcap',
        help='form of the bag (default: %(default)s)',
    )
    parser.add_argument(
        '--compression',
        choices=('none', 'png', 'jpeg'),
        default='none',
        help='sensor_msgs/CompressedImage instead of Image (default: %(default)s)',
    )
    parser.add_argument(
        '--rate',
        type=_rate,
        default=10.0,
        metavar='HZ',
        help='images per second of the recording (default: %(default)g)',
    )
    parser.add_argument(
        '--topic', default='image_raw', help='topic of the images (default: %(default)s)'
    )
    parser.add_argument(
        '--frame-id',
        default='camera',
        metavar='F',
        help='frame of the camera (default: %(default)s)',
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Record; returns what there is in the bag."""
    from adet_core.io.open_source import open_source
    from adet_core.progress import progress_bars
    from adet_evaluation.bags import BagOptions, record_images

    source = open_source(arguments.images)
    options = BagOptions(
        start_ns=time.time_ns(),
        rate=arguments.rate,
        topic=arguments.topic,
        frame_id=arguments.frame_id,
        storage=arguments.storage,
        compression=arguments.compression,
    )
    with progress_bars() as progress:
        made = record_images(source, arguments.bag, options, progress=progress)
    return {'bag': str(arguments.bag), **made._asdict()}


def show(result: dict[str, Any]) -> None:
    """Print what was recorded."""
    print(f'{result["bag"]}: {result["pictures"]} images on {result["topic"]}')
    if result['unreadable']:
        print(f'  {result["unreadable"]} could not be read; the bag says so of each')
    print(f'next: adet evaluate --bag {result["bag"]} --bundle models/PaDiM')


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate <= 1e6:
        msg = f'{text!r} is not a rate (more than 0)'
        raise argparse.ArgumentTypeError(msg)
    return rate
